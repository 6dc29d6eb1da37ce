/*
 * spawn_child: what the new process does between clone and exec, for src/sys/spawn.c only.
 *
 * The child is a copy of one thread of a program with several: locks of the C library may be held
 * for ever. So it makes system calls only, those that the C library does more than that for
 * (setresuid and its kin signal all threads; _exit runs sanitizer hooks) by number.
 */
#ifndef EDGIBLE_SYS_SPAWN_CHILD_H
#define EDGIBLE_SYS_SPAWN_CHILD_H

#include "edgible/spawn.h"

#include <stdbool.h>

/* Everything the child needs, decided before it exists. */
/* Numbers below this are what the child keeps: stdio, the handshake, the executable, the sandbox.
 */
#define SPAWN_KEPT_FDS 6

struct child_plan {
    const struct spawn_request *request;
    struct syscall_filter *filter; /* a copy of the request's; NULL: none */
    int handshake_fd;              /* ≥ 3, close-on-exec */
    int agent_fd;                  /* the agent's end of it */
    bool join_cgroup;              /* clone3 did not put it there */
    bool reset_oom;                /* the agent's oom_score_adj is below 0 */
    bool reset_nice;               /* the agent's nice value is below 0 */
    unsigned close_upto; /* where close_range is missing: highest descriptor + 1 to close */
};

/* Sets the process up and executes the program; what fails goes to the handshake. */
_Noreturn void spawn_child_run(const struct child_plan *plan);

#endif
