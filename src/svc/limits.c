#include "limits.h"

#include <sys/resource.h>
#include <unistd.h>

static void add_rlimit(struct spawn_request *request, int resource, int64_t value)
{
    struct rlimit limit = {.rlim_cur = (rlim_t) value, .rlim_max = (rlim_t) value};
    request->rlimits[request->rlimit_count++] =
        (struct spawn_rlimit){.resource = resource, .limit = limit};
}

static enum limit_state by_cgroup(const struct cgroup_root *cgroups, int cgroup_fd,
                                  enum cgroup_controller controller, int64_t value)
{
    bool is_set = cgroups != NULL && cgroup_fd >= 0 &&
                  cgroup_set_limit(cgroups, cgroup_fd, controller, value, NULL) == 0;
    return is_set ? LIMIT_BY_CGROUP : LIMIT_NOT_IN_FORCE;
}

static enum limit_state limit_open_files(int64_t value, struct spawn_request *request)
{
    rlim_t hard = request->open_files.rlim_max;
    bool fits = hard == RLIM_INFINITY || (rlim_t) value <= hard;
    if (fits || geteuid() == 0) {
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
            add_rlimit(request, RLIMIT_DATA, limits->memory_bytes);
            states[LIMIT_MEMORY] = LIMIT_BY_RLIMIT;
        }
    }
    if (limits->cpu_millis != UNSET) {
        states[LIMIT_CPU] = by_cgroup(cgroups, cgroup_fd, CGROUP_CPU, limits->cpu_millis);
    }
    if (limits->processes != UNSET) {
        states[LIMIT_PROCESSES] = by_cgroup(cgroups, cgroup_fd, CGROUP_PIDS, limits->processes);
        /* The kernel does not hold root to RLIMIT_NPROC. */
        if (states[LIMIT_PROCESSES] == LIMIT_NOT_IN_FORCE && creds->uid != 0) {
            add_rlimit(request, RLIMIT_NPROC, limits->processes);
            states[LIMIT_PROCESSES] = LIMIT_BY_RLIMIT;
        }
    }
    if (limits->open_files != UNSET) {
        states[LIMIT_OPEN_FILES] = limit_open_files(limits->open_files, request);
    }
}
