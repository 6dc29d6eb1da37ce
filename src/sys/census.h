/*
 * census: one look at all processes, indexed; for src/sys only (killtree is its face).
 *
 * The walk costs three system calls a process. What costs more (environment, user) is read only
 * for the few processes that are asked about, and kept.
 */
#ifndef EDGIBLE_SYS_CENSUS_H
#define EDGIBLE_SYS_CENSUS_H

#include "edgible/cgroup.h"
#include "edgible/killtree.h"
#include "edgible/proc.h"

/* Positions in `procs`, sorted by one key of the processes there. */
struct census_index {
    size_t *order;
};

enum census_key { CENSUS_BY_PARENT, CENSUS_BY_GROUP, CENSUS_BY_SESSION, CENSUS_KEY_COUNT };

/* What a process's environment says of whose it is; strings "" where it says nothing. */
struct census_cookie {
    char *application, *workload, *device, *check; /* owned */
};

/* Which of several targets a process shows evidence for. The orphan module keeps its result here,
 * since it asks for each target that stops. All zero: not searched yet. */
struct census_witness {
    const struct killtree_target *among; /* and how many; never looked into */
    size_t among_count;
    size_t index; /* whose, where strength is not 0 */
    pid_t leader; /* its */
    int strength;
};

struct census_details; /* what was looked up already, a process each */

struct census {
    int proc_fd;
    pid_t self;
    struct proc_stat *procs; /* sorted by pid */
    size_t count;
    struct census_index by[CENSUS_KEY_COUNT];
    struct census_details *details;
    int64_t *environ_wait_ms; /* what is left of it; owned, as the details are */
};

/* A run of positions whose key is `value`: census->by[key].order[first] … [first + count - 1]. */
struct census_run {
    const size_t *positions;
    size_t count;
};
struct census_run census_find_run(const struct census *census, enum census_key key, pid_t value);

/* The position of pid, or census->count where it was not there. */
size_t census_find_pid(const struct census *census, pid_t pid);

/* True where the parent chain leads to this process (which itself is not its own descendant). */
bool census_is_descendant(const struct census *census, size_t position);

/* NULL where it cannot be read. Valid as long as the census. */
const struct census_cookie *census_cookie(const struct census *census, size_t position);

/* The inode of the pipe that its stdout or stderr is, where that is open for reading and writing
 * (as only an agent opens pipes); 0 else. */
uint64_t census_log_pipe(const struct census *census, size_t position);

/* The name of the group in the root's folder that the process is in, directly or below; NULL where
 * it is in none. Always ask with the same root. Valid as long as the census. */
const char *census_cgroup(const struct census *census, size_t position,
                          const struct cgroup_root *root);

/* For the orphan module to fill. Valid as long as the census. */
struct census_witness *census_witness(const struct census *census, size_t position);

/* True where its name is that of an agent's binary. */
bool census_is_agent(const struct census *census, size_t position);

/* The real uid; false where it cannot be read. */
bool census_read_uid(const struct census *census, size_t position, uid_t *ret_uid);

#endif
