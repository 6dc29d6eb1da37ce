/*
 * cgroup: cgroup v2 groups for workloads, where the system has them and lets us: used for exact
 * membership (cgroup.procs), emptiness (cgroup.events) and killing (cgroup.kill). Never required.
 */
#ifndef EDGIBLE_CGROUP_H
#define EDGIBLE_CGROUP_H

#include "edgible/err.h"
#include "edgible/mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cgroup_root;

/*
 * Finds the cgroup v2 mount, and in this process's own cgroup, or beside it where systemd put this
 * process into a sub-group of what it delegated, makes the folder `edgible-<tag>`; NULL with a
 * reason where that cannot be done (no cgroup v2, no permission). A folder that an earlier agent
 * left is taken over, without the empty groups in it.
 */
struct cgroup_root *cgroup_root_open(const char *tag, struct err *err);
/* Forgets it; removes empty groups, and the folder where none is left. */
void cgroup_root_free(struct cgroup_root *root);
DEFINE_CLEANUP(cgroup_root, struct cgroup_root, cgroup_root_free)
/* For looks into its groups on another thread: freeing the copy removes nothing. */
struct cgroup_root *cgroup_root_copy(const struct cgroup_root *root);
/* Absolute path of the folder. */
const char *cgroup_root_path(const struct cgroup_root *root);

/*
 * Makes the group and returns a descriptor of it for clone3; the caller closes it. name is
 * `<application>.<workload>`. One that is there is made anew where it is empty, else taken as it
 * is: *ret_is_fresh, if not NULL, tells. On Linux 6.18 a group that was once killed by cgroup.kill
 * kills whatever clone3 puts into it from then on (its kill_seq is held against that of the
 * parent's group), but not what joins by cgroup.procs.
 */
int cgroup_make(const struct cgroup_root *root, const char *name, bool *ret_is_fresh,
                struct err *err) MUST_CHECK;

enum cgroup_controller { CGROUP_MEMORY, CGROUP_CPU, CGROUP_PIDS, CGROUP_CONTROLLER_COUNT };

/* Limits of groups can be set: the controller is delegated to us. */
bool cgroup_has_controller(const struct cgroup_root *root, enum cgroup_controller controller);
/* Bytes, thousandths of a CPU, or processes, for the group that fd is of. A group whose memory is
 * at its limit is killed as a whole. */
int cgroup_set_limit(const struct cgroup_root *root, int fd, enum cgroup_controller controller,
                     int64_t value, struct err *err) MUST_CHECK;
/* How many of its processes the out-of-memory killer ended; -1 where the kernel does not say. */
int64_t cgroup_read_oom_kills(const struct cgroup_root *root, const char *name);

/* True where a living process is in the group (or below). False also where there is none. */
bool cgroup_is_populated(const struct cgroup_root *root, const char *name);

/* The number by which the kernel tells of the group (INET_DIAG_CGROUP_ID); 0 where there is none.
 */
uint64_t cgroup_id(const struct cgroup_root *root, const char *name);
/* CPU time of all that ran in it; -1 where the kernel does not say. */
int64_t cgroup_read_cpu_ms(const struct cgroup_root *root, const char *name);

/* The processes in the group and below: at most max are written, the count written is returned.
 * With max 0 it only counts. */
size_t cgroup_list_pids(const struct cgroup_root *root, const char *name, pid_t *pids, size_t max);

/* SIGKILL to all in the group and below by cgroup.kill (Linux 5.14); -1 where there is none. */
int cgroup_kill(const struct cgroup_root *root, const char *name, struct err *err) MUST_CHECK;

/* Removes an empty group, sub-groups that the workload made included; true where it is gone. */
bool cgroup_remove(const struct cgroup_root *root, const char *name);

#endif
