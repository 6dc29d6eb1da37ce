/* Who is supervised, for those who ask, and what is asked of one. */
#include "edgible/proc.h"
#include "supervisor_private.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

mono_ms supervisor_grace_left(const struct supervisor *sup, mono_ms now)
{
    mono_ms longest = 0;
    list_each (it, &sup->members) {
        const struct member *m = list_entry(it, struct member, link);
        mono_ms left = workload_grace_end(m->workload) - now;
        longest = left > longest ? left : longest;
    }
    return longest;
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
    list_each (it, &sup->members) {
        workload_follow_policy(list_entry(it, struct member, link)->workload);
    }
}

void supervisor_set_helper(struct supervisor *sup, pid_t pid)
{
    sup->helper = pid;
}

/* --- who is in a sandbox -------------------------------------------------------------------------
 */

#define PARENTS_MAX 64
#define PIDS_MAX 4096

/* The workload that a process, or one of its parents, shows to be of; NULL: none of them does. */
static const struct member *find_by_parents(const struct supervisor *sup, pid_t pid)
{
    struct proc_stat at = {.ppid = pid};
    for (int i = 0; i < PARENTS_MAX && at.ppid > 1 && at.ppid != getpid(); i++) {
        if (proc_read_stat(at.ppid, &at, NULL) < 0) {
            return NULL;
        }
        list_each (it, &sup->members) {
            const struct member *m = list_entry(it, struct member, link);
            struct killtree_target target;
            if (workload_kill_target(m->workload, &target) &&
                (at.pid == target.leader || at.sid == target.leader || at.pgid == target.leader)) {
                return m;
            }
        }
    }
    return NULL;
}

static bool has_sandbox(const struct member *m)
{
    return workload_spec(m->workload)->sandbox.present;
}

/* An orphan, which left its session: looked for as a stop would. */
static bool is_orphan_in_sandbox(const struct supervisor *sup, pid_t pid)
{
    CLEANUP(sweep_targets) struct sweep_targets t = {0};
    CLEANUP(census) struct census *census = census_take(NULL);
    CLEANUP(free) pid_t *pids = xcalloc(PIDS_MAX, sizeof(*pids));
    sweep_collect_targets(sup, &t);
    list_each (it, &sup->members) {
        const struct member *m = list_entry(it, struct member, link);
        struct killtree_target target;
        if (census == NULL || !has_sandbox(m) || !workload_kill_target(m->workload, &target)) {
            continue;
        }
        size_t count = killtree_find(census, &target, t.items, t.count, pids, PIDS_MAX);
        for (size_t i = 0; i < count && i < PIDS_MAX; i++) {
            if (pids[i] == pid) {
                return true;
            }
        }
    }
    return false;
}

bool supervisor_has_in_sandbox(const struct supervisor *sup, pid_t pid)
{
    bool any = false;
    list_each (it, &sup->members) {
        any = any || has_sandbox(list_entry(it, struct member, link));
    }
    const struct member *by_parents = any ? find_by_parents(sup, pid) : NULL;
    if (by_parents != NULL) {
        return has_sandbox(by_parents);
    }
    return any && is_orphan_in_sandbox(sup, pid);
}
