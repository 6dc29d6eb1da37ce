/* Who is supervised, for those who ask, and what is asked of one. */
#include "supervisor_private.h"

#include <string.h>

/* Whether some of its workloads have to wait for others of it. */
static bool has_order(const struct supervisor *sup, const char *application)
{
    list_each (it, &sup->members) {
        const struct member *m = list_entry(it, struct member, link);
        if (strcmp(workload_application(m->workload), application) == 0 &&
            workload_spec(m->workload)->depends_on.count > 0) {
            return true;
        }
    }
    return false;
}

bool supervisor_restart(struct supervisor *sup, const char *application, const char *workload)
{
    bool any = false;
    bool in_order = workload == NULL && has_order(sup, application);
    list_each (it, &sup->members) {
        struct member *m = list_entry(it, struct member, link);
        if (m->removing || m->suspending ||
            strcmp(workload_application(m->workload), application) != 0 ||
            (workload != NULL && strcmp(workload_spec(m->workload)->name, workload) != 0)) {
            continue;
        }
        any = true;
        if (m->renewing) {
            continue;
        }
        if (!in_order) {
            workload_restart(m->workload);
            continue;
        }
        gate_begin_renewal(m);
        if (!m->renewing) {
            gate_start(sup, m);
        }
    }
    if (in_order) {
        stop_order_rank(sup);
        stop_order_advance(sup);
    }
    return any;
}

const struct workload *supervisor_find(const struct supervisor *sup, const char *application,
                                       const char *workload)
{
    CLEANUP(free) char *key = xasprintf("%s/%s", application, workload);
    const struct member *m = map_get(sup->by_key, key);
    return m != NULL ? m->workload : NULL;
}

const struct stop_times *supervisor_stop_times(const struct supervisor *sup)
{
    return &sup->stop_times;
}

bool supervisor_has_leaving(const struct supervisor *sup)
{
    return sup->leaving_count > 0 || sup->shutting_down;
}

void supervisor_each(const struct supervisor *sup, const char *application, supervisor_fn *fn,
                     void *arg)
{
    list_each (it, &sup->members) {
        const struct member *m = list_entry(it, struct member, link);
        if (application == NULL || strcmp(workload_application(m->workload), application) == 0) {
            fn(arg, m->workload);
        }
    }
}

void supervisor_set_policy(struct supervisor *sup, const struct policy_config *policy)
{
    sup->ctx.policy = policy;
}

void supervisor_set_helper(struct supervisor *sup, pid_t pid)
{
    sup->helper = pid;
}
