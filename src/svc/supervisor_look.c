/* Who is supervised, for those who ask, and what is asked of one. */
#include "edgible/cgroup.h"
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
#define LOOKS_MAX 3

enum lineage {
    OF_WORKLOAD, /* a child, session or group of a workload's first process, or a child of such */
    OF_AGENT,    /* the agent's own child: an orphan, of some workload that it does not show */
    OF_INIT,     /* nothing of the agent's, or an orphan that an earlier agent left */
    OF_OUTSIDE,  /* of another PID namespace, by way of its parents */
    UNKNOWN      /* it changes while it is looked at, or has more parents than are looked at */
};

/* As long as it is there, also as a zombie, its number, session and group are no other's. */
static bool is_there(const struct killtree_target *target)
{
    return target->start_ticks == 0 || proc_read_start_ticks(target->leader) == target->start_ticks;
}

static const struct member *find_by_leader(const struct supervisor *sup, const struct proc_stat *at)
{
    list_each (it, &sup->members) {
        const struct member *m = list_entry(it, struct member, link);
        struct killtree_target target;
        if (workload_kill_target(m->workload, &target) &&
            (at->pid == target.leader || at->sid == target.leader || at->pgid == target.leader) &&
            is_there(&target)) {
            return m;
        }
        pid_t check = workload_check_pid(m->workload);
        if (check != 0 && (at->pid == check || at->sid == check || at->pgid == check)) {
            return m;
        }
    }
    return NULL;
}

/* Its parent's, which was its parent when it was read: then its PID was no other's. */
static int read_parent(const struct proc_stat *child, struct proc_stat *ret)
{
    struct proc_stat again;
    if (proc_read_stat(child->ppid, ret, NULL) < 0 ||
        proc_read_stat(child->pid, &again, NULL) < 0) {
        return -1;
    }
    return again.ppid == child->ppid && again.start_ticks == child->start_ticks ? 0 : -1;
}

static enum lineage find_lineage(const struct supervisor *sup, pid_t pid, const struct member **ret)
{
    struct proc_stat at;
    if (proc_read_stat(pid, &at, NULL) < 0) {
        return UNKNOWN;
    }
    for (int i = 0; i < PARENTS_MAX; i++) {
        *ret = find_by_leader(sup, &at);
        if (*ret != NULL) {
            return OF_WORKLOAD;
        }
        if (at.ppid == getpid()) {
            return OF_AGENT;
        }
        if (at.ppid <= 1) {
            return at.ppid == 1 ? OF_INIT : OF_OUTSIDE;
        }
        struct proc_stat parent;
        if (read_parent(&at, &parent) < 0) {
            return UNKNOWN;
        }
        at = parent;
    }
    return UNKNOWN;
}

static bool is_in_cgroup(const struct member *m, pid_t pid)
{
    struct killtree_target target;
    if (!workload_kill_target(m->workload, &target) || target.cgroups == NULL) {
        return false;
    }
    CLEANUP(free) pid_t *pids = xcalloc(PIDS_MAX, sizeof(*pids));
    size_t count = cgroup_list_pids(target.cgroups, target.cgroup, pids, PIDS_MAX);
    for (size_t i = 0; i < count && i < PIDS_MAX; i++) {
        if (pids[i] == pid) {
            return true;
        }
    }
    return false;
}

/* Where it is in the group of a workload without a sandbox, and cannot have moved itself there. */
static bool is_in_open_cgroup(const struct supervisor *sup, pid_t pid)
{
    if (sandboxed_may_move(sup)) {
        return false;
    }
    list_each (it, &sup->members) {
        const struct member *m = list_entry(it, struct member, link);
        if (!workload_is_in_sandbox(m->workload) && is_in_cgroup(m, pid)) {
            return true;
        }
    }
    return false;
}

bool supervisor_had_sandbox(const struct supervisor *sup)
{
    return sup->had_sandbox || sandboxed_had_earlier(sup);
}

bool supervisor_may_be_in_sandbox(const struct supervisor *sup, pid_t pid, uid_t uid)
{
    const struct member *m = NULL;
    enum lineage lineage = UNKNOWN;
    for (int i = 0; i < LOOKS_MAX && lineage == UNKNOWN; i++) {
        lineage = find_lineage(sup, pid, &m);
    }
    switch (lineage) {
    case OF_WORKLOAD:
        return workload_is_in_sandbox(m->workload);
    case OF_OUTSIDE:
        return false;
    case OF_INIT: /* so are orphans that an earlier agent left; only root changes its user */
        return sandboxed_may_be_earlier(sup, uid) && !is_in_open_cgroup(sup, pid);
    case OF_AGENT:
    case UNKNOWN:
        break;
    }
    return !is_in_open_cgroup(sup, pid);
}
