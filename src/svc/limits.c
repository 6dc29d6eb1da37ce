#include "limits.h"

#include <sys/resource.h>
#include <unistd.h>

static enum limit_state by_cgroup(const struct cgroup_root *cgroups, int cgroup_fd,
                                  enum cgroup_controller controller, int64_t value)
{
    bool is_set = cgroups != NULL && cgroup_fd >= 0 &&
                  cgroup_set_limit(cgroups, cgroup_fd, controller, value, NULL) == 0;
    return is_set ? LIMIT_BY_CGROUP : LIMIT_NOT_IN_FORCE;
}

/* Whether the kernel lets us have, and so give, such a hard limit: above our own it is a right that
 * root may be without, and past fs.nr_open nobody has as many files. The soft one stays as it is
 * meanwhile. */
static bool may_give(int resource, rlim_t value)
{
    struct rlimit now;
    if (getrlimit((__rlimit_resource_t) resource, &now) < 0) {
        return false;
    }
    struct rlimit raised = {.rlim_cur = now.rlim_cur, .rlim_max = value};
    return value <= now.rlim_max || (setrlimit((__rlimit_resource_t) resource, &raised) == 0 &&
                                     setrlimit((__rlimit_resource_t) resource, &now) == 0);
}

/* Where it may not be given a lower one holds already. */
static enum limit_state by_rlimit(struct spawn_request *request, int resource, int64_t value)
{
    struct rlimit limit = {.rlim_cur = (rlim_t) value, .rlim_max = (rlim_t) value};
    if (!may_give(resource, (rlim_t) value)) {
        return LIMIT_NOT_IN_FORCE;
    }
    request->rlimits[request->rlimit_count++] =
        (struct spawn_rlimit){.resource = resource, .limit = limit};
    return LIMIT_BY_RLIMIT;
}

static enum limit_state limit_open_files(int64_t value, struct spawn_request *request)
{
    rlim_t hard = request->open_files.rlim_max;
    bool fits = hard == RLIM_INFINITY || (rlim_t) value <= hard;
    if (fits || may_give(RLIMIT_NOFILE, (rlim_t) value)) {
        request->open_files = (struct rlimit){(rlim_t) value, (rlim_t) value};
        return LIMIT_BY_RLIMIT;
    }
    return LIMIT_NOT_IN_FORCE; /* a lower one holds, which this agent may not raise */
}

void limits_apply(const struct limits_spec *limits, const struct cgroup_root *cgroups,
                  int cgroup_fd, const struct creds *creds, struct spawn_request *request,
                  enum limit_state *states)
{
    for (int i = 0; i < LIMIT_COUNT; i++) {
        states[i] = LIMIT_NONE;
    }
    if (limits->memory_bytes != UNSET) {
        states[LIMIT_MEMORY] = by_cgroup(cgroups, cgroup_fd, CGROUP_MEMORY, limits->memory_bytes);
        if (states[LIMIT_MEMORY] == LIMIT_NOT_IN_FORCE) {
            states[LIMIT_MEMORY] = by_rlimit(request, RLIMIT_DATA, limits->memory_bytes);
        }
    }
    if (limits->cpu_millis != UNSET) {
        states[LIMIT_CPU] = by_cgroup(cgroups, cgroup_fd, CGROUP_CPU, limits->cpu_millis);
    }
    if (limits->processes != UNSET) {
        states[LIMIT_PROCESSES] = by_cgroup(cgroups, cgroup_fd, CGROUP_PIDS, limits->processes);
        /* The kernel does not hold root to RLIMIT_NPROC. */
        if (states[LIMIT_PROCESSES] == LIMIT_NOT_IN_FORCE && creds->uid != 0) {
            states[LIMIT_PROCESSES] = by_rlimit(request, RLIMIT_NPROC, limits->processes);
        }
    }
    if (limits->open_files != UNSET) {
        states[LIMIT_OPEN_FILES] = limit_open_files(limits->open_files, request);
    }
}
