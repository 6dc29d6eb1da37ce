/* Answers that take a look at the system: one look for all requests that wait for it. */
#include "api_private.h"

#include <stdlib.h>

struct waiting {
    struct list link; /* in api.asking, then in api.asked */
    struct api_call call;
    api_fn *run;
};

static struct waiting *first_of(const struct list *list)
{
    return list_entry(list->next, struct waiting, link);
}

static void free_waiting(struct waiting *w)
{
    list_remove(&w->link);
    free(w->call.args[0]);
    free(w);
}

static void on_seen(void *arg)
{
    struct api *api = arg;
    loop_timer_arm(api->answer_timer, 0);
}

/* The application that is asked for alone, by its name; NULL: all, which does as well. */
static const char *only_application(const struct api *api)
{
    struct reconcile_app app;
    const char *name = first_of(&api->asking)->call.args[0];
    bool is_alone = api->asking.next == api->asking.prev;
    return is_alone && name != NULL && reconcile_find_app(api->params.reconcile, name, &app) ? name
                                                                                             : NULL;
}

static void begin(struct api *api)
{
    const char *application = only_application(api);
    while (!list_is_empty(&api->asking)) {
        struct waiting *w = first_of(&api->asking);
        list_remove(&w->link);
        list_add_tail(&api->asked, &w->link);
    }
    probe_start(&api->probe, api->params.supervisor, application, on_seen, api);
}

/* One answer a turn. */
static void on_timer(void *arg)
{
    struct api *api = arg;
    struct waiting *w = first_of(&api->asked);
    api->seen = api->probe;
    w->run(api, &w->call);
    api->seen = NULL;
    free_waiting(w);
    if (!list_is_empty(&api->asked)) {
        loop_timer_arm(api->answer_timer, 0);
        return;
    }
    probe_free(steal_ptr(&api->probe));
    if (!list_is_empty(&api->asking)) {
        begin(api);
    }
}

void api_look(struct api *api, const struct api_call *call, api_fn *run)
{
    struct waiting *w = xcalloc(1, sizeof(*w));
    w->call.request = call->request;
    w->call.args[0] = xstrdup_or_null(call->args[0]);
    w->run = run;
    list_add_tail(&api->asking, &w->link);
    server_hold(call->request);
    if (api->probe == NULL) {
        begin(api);
    }
}

void api_looks_init(struct api *api)
{
    list_init(&api->asking);
    list_init(&api->asked);
    api->answer_timer = loop_timer_new(api->params.loop, on_timer, api);
}

void api_looks_fini(struct api *api)
{
    list_each (it, &api->asking) {
        free_waiting(list_entry(it, struct waiting, link));
    }
    list_each (it, &api->asked) {
        free_waiting(list_entry(it, struct waiting, link));
    }
    probe_free(api->probe);
    loop_timer_free(api->answer_timer);
}
