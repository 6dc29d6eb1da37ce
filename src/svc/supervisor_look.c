/* Who is supervised, for those who ask, and what is asked of one. */
#include "supervisor_private.h"

#include <string.h>

bool supervisor_restart(struct supervisor *sup, const char *application, const char *workload)
{
    bool any = false;
    list_each (it, &sup->members) {
        const struct member *m = list_entry(it, struct member, link);
        if (!member_is_leaving(m) && strcmp(workload_application(m->workload), application) == 0 &&
            (workload == NULL || strcmp(workload_spec(m->workload)->name, workload) == 0)) {
            workload_restart(m->workload);
            any = true;
        }
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
