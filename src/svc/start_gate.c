/* The order of starting: what depends on something starts once that runs, and what has the log of
 * another one once that has stopped. */
#include "supervisor_private.h"

#include <stdlib.h>
#include <string.h>

/* An application that others depend on, as far as the look has come. */
struct awaited {
    const struct member *first;
    const struct member *not_ready; /* its first workload that is not; NULL: all are */
    bool seen;                      /* by who looks for a circle */
};

static bool is_ready(const struct member *m)
{
    return !member_is_leaving(m) && workload_ready_in(m->workload) == 0;
}

/* Of what waits itself so much is told: a chain of a thousand would else be told a thousand times,
 * and those that wait for each other would tell a longer one with each look. */
#define CHAIN_BYTES 400

/* "which is backoff: exited with status 1". The caller frees. */
static char *state_sentence(const struct member *m)
{
    CLEANUP(free) char *reason = workload_reason(m->workload);
    if (workload_is_held(m->workload) && reason != NULL && strlen(reason) > CHAIN_BYTES) {
        return xasprintf("which is pending: %.*s...", CHAIN_BYTES, reason);
    }
    if (workload_status(m->workload) == STATUS_RUNNING) {
        return xstrdup(workload_ready_in(m->workload) > 0
                           ? "which has just begun to run"
                           : "which has to complete first (its restart policy is never)");
    }
    return xasprintf("which is %s%s%s", status_name(workload_status(m->workload)),
                     reason != NULL ? ": " : "", reason != NULL ? reason : "");
}

static char *wait_for_workload(const struct supervisor *sup, const struct member *m,
                               const char *name)
{
    CLEANUP(free) char *key = xasprintf("%s/%s", workload_application(m->workload), name);
    const struct member *to = map_get(sup->by_key, key);
    if (to == NULL) {
        return xasprintf("waits for workload '%s', which does not run here", name);
    }
    if (is_ready(to)) {
        return NULL;
    }
    CLEANUP(free) char *state = state_sentence(to);
    return xasprintf("waits for workload '%s', %s", name, state);
}

static void forget_seen(struct map *apps)
{
    size_t at = 0;
    void *value = NULL;
    while (map_next(apps, &at, NULL, &value)) {
        ((struct awaited *) value)->seen = false;
    }
}

/* Whether `name` waits for `own`, by itself or through others. Recursion is bounded by the number
 * of applications. */
static bool waits_for(struct map *apps, const char *name, const char *own)
{
    struct awaited *app = map_get(apps, name);
    if (app == NULL || app->seen || app->not_ready == NULL ||
        !workload_is_held(app->not_ready->workload)) {
        return false;
    }
    app->seen = true;
    const struct strv *on = workload_app_depends_on(app->first->workload);
    for (size_t i = 0; i < on->count; i++) {
        if (strcmp(on->items[i], own) == 0 || waits_for(apps, on->items[i], own)) {
            return true;
        }
    }
    return false;
}

static char *wait_for_application(struct map *apps, const char *own, const char *name)
{
    const struct awaited *app = map_get(apps, name);
    if (app == NULL) {
        return xasprintf("waits for application '%s', of which nothing runs here", name);
    }
    if (app->not_ready == NULL) {
        return NULL;
    }
    /* Documents with a circle are refused. Versions can make one all the same: where one was
     * refused, and the version before runs on, which another has come to depend on since. */
    forget_seen(apps);
    if (waits_for(apps, name, own)) {
        return NULL;
    }
    CLEANUP(free) char *state = state_sentence(app->not_ready);
    return xasprintf("waits for application '%s', workload '%s', %s", name,
                     workload_spec(app->not_ready->workload)->name, state);
}

/* Documents with one log for two are refused; one that stops still writes to it. */
static char *wait_for_log(const struct supervisor *sup, const struct member *m)
{
    list_each (it, &sup->members) {
        const struct member *other = list_entry(it, struct member, link);
        if (workload_waits_for_log(m->workload, other->workload)) {
            return xasprintf("waits for the end of '%s', which has the same log: it is %s",
                             other->key, status_name(workload_status(other->workload)));
        }
    }
    return NULL;
}

/* What it waits for, as a sentence; NULL: nothing. The caller frees. */
static char *what_it_waits_for(const struct supervisor *sup, struct map *apps,
                               const struct member *m)
{
    const struct strv *on = &workload_spec(m->workload)->depends_on;
    char *wait = NULL;
    for (size_t i = 0; i < on->count && wait == NULL; i++) {
        wait = wait_for_workload(sup, m, on->items[i]);
    }
    const struct strv *on_apps = workload_app_depends_on(m->workload);
    for (size_t i = 0; i < on_apps->count && wait == NULL; i++) {
        wait = wait_for_application(apps, workload_application(m->workload), on_apps->items[i]);
    }
    return wait != NULL ? wait : wait_for_log(sup, m);
}

/* One pass over all, so that a chain of a thousand costs a thousand such passes and no more. */
static struct map *look_at_applications(const struct supervisor *sup)
{
    struct map *apps = map_new();
    list_each (it, &sup->members) {
        const struct member *m = list_entry(it, struct member, link);
        const char *name = workload_application(m->workload);
        struct awaited *app = map_get(apps, name);
        if (app == NULL) {
            app = xcalloc(1, sizeof(*app));
            app->first = m;
            map_put(apps, name, app);
        }
        if (app->not_ready == NULL && !is_ready(m)) {
            app->not_ready = m;
        }
    }
    return apps;
}

/* Where something has just begun to run, looks again once it counts. */
static void look_again_later(struct supervisor *sup)
{
    mono_ms soonest = -1;
    list_each (it, &sup->members) {
        const struct member *m = list_entry(it, struct member, link);
        mono_ms in = workload_ready_in(m->workload);
        if (in > 0 && (soonest < 0 || in < soonest)) {
            soonest = in;
        }
    }
    if (soonest > 0) {
        loop_timer_arm(sup->gate_timer, loop_now() + soonest);
    }
}

static void on_gate(void *arg)
{
    struct supervisor *sup = arg;
    struct map *apps = look_at_applications(sup);
    sup->held_count = 0;
    list_each (it, &sup->members) {
        struct member *m = list_entry(it, struct member, link);
        if (!workload_is_held(m->workload) || member_is_leaving(m)) {
            continue;
        }
        CLEANUP(free) char *wait = what_it_waits_for(sup, apps, m);
        if (wait == NULL) {
            workload_start(m->workload);
        } else {
            sup->held_count++;
            workload_hold(m->workload, wait);
        }
    }
    map_free_all(apps);
    if (sup->held_count > 0) {
        look_again_later(sup);
    }
}

void gate_start(struct supervisor *sup, struct member *m)
{
    bool depends = workload_spec(m->workload)->depends_on.count > 0 ||
                   workload_app_depends_on(m->workload)->count > 0;
    bool is_stopped = workload_state(m->workload) == WL_STOPPED;
    CLEANUP(free) char *wait = is_stopped && !depends ? wait_for_log(sup, m) : NULL;
    if (!is_stopped || (!depends && wait == NULL)) {
        workload_start(m->workload);
        return;
    }
    sup->held_count++;
    workload_hold(m->workload, wait != NULL ? wait : "waits for what it depends on");
    gate_look_again(sup);
}

void gate_begin_renewal(struct member *m)
{
    if (workload_is_at_rest(m->workload)) {
        workload_stop(
            m->workload); /* one that failed or completed: gate_start() holds stopped ones */
    } else if (!m->renewing) {
        m->renewing = true;
        m->stop_sent = false;
    }
}

void gate_end_renewal(struct supervisor *sup, struct member *m)
{
    m->renewing = false;
    m->stop_sent = false;
    workload_stop(m->workload); /* it may have failed or completed before its turn */
    gate_start(sup, m);
}

void gate_look_again(struct supervisor *sup)
{
    if (sup->held_count > 0) {
        loop_timer_arm(sup->gate_timer, 0);
    }
}

void gate_init(struct supervisor *sup)
{
    sup->gate_timer = loop_timer_new(sup->params.loop, on_gate, sup);
}

void gate_fini(struct supervisor *sup)
{
    loop_timer_free(sup->gate_timer);
}
