/* Answers that take a look at the system for each of many workloads: in turns, one after the other.
 */
#include "api_private.h"

#include <stdlib.h>

/* So many are looked at in a few milliseconds. */
#define FEW 100

struct look {
    struct list link; /* in api.looks */
    struct api_call call;
    unsigned what;
    api_fn *run;
    struct overview_look *look; /* NULL: it has not begun */
    bool is_over;
};

static void free_look(struct look *l)
{
    list_remove(&l->link);
    overview_look_free(l->look);
    free(l->call.args[0]);
    free(l);
}

/* The application that is asked for, by its name; else all, which does as well. */
static void begin(const struct api *api, struct look *l)
{
    struct reconcile_app app;
    const char *name = l->call.args[0];
    bool is_name = name != NULL && reconcile_find_app(api->params.reconcile, name, &app);
    l->look = overview_look_new(api->params.supervisor, is_name ? name : NULL, l->what);
}

static void on_timer(void *arg)
{
    struct api *api = arg;
    struct look *l = list_entry(api->looks.next, struct look, link);
    if (l->look == NULL) {
        begin(api, l);
    }
    if (!l->is_over) {
        l->is_over = overview_look_go_on(l->look, api->params.supervisor);
    } else { /* in a turn of its own */
        api->look = l->look;
        l->run(api, &l->call);
        api->look = NULL;
        free_look(l);
    }
    if (!list_is_empty(&api->looks)) {
        loop_timer_arm(api->look_timer, 0);
    }
}

void api_look(struct api *api, const struct api_call *call, unsigned what, api_fn *run)
{
    if (supervisor_workload_count(api->params.supervisor) <= FEW) {
        run(api, call);
        return;
    }
    struct look *l = xcalloc(1, sizeof(*l));
    l->call.request = call->request;
    l->call.args[0] = xstrdup_or_null(call->args[0]);
    l->what = what;
    l->run = run;
    list_add_tail(&api->looks, &l->link);
    server_hold(call->request);
    loop_timer_arm(api->look_timer, 0);
}

void api_looks_init(struct api *api)
{
    list_init(&api->looks);
    api->look_timer = loop_timer_new(api->params.loop, on_timer, api);
}

void api_looks_fini(struct api *api)
{
    list_each (it, &api->looks) {
        free_look(list_entry(it, struct look, link));
    }
    loop_timer_free(api->look_timer);
}
