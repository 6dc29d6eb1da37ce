/*
 * log_keeper: sees to it that a process beside the agent holds the reading end of each log pipe
 * (keeper.h), that there is another one when it is killed, and that the next agent finds them.
 */
#ifndef EDGIBLE_LOG_KEEPER_H
#define EDGIBLE_LOG_KEEPER_H

#include "edgible/loop.h"
#include "edgible/persist.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct log_keeper;

/* Looks up what the keepers of earlier agents hold. No process is made before the first pipe. */
struct log_keeper *log_keeper_new(struct loop *loop, struct persist *persist);
/* The next agent finds what it holds. */
void log_keeper_free(struct log_keeper *keeper);
/* Before log_keeper_free(): all workloads have ended, and nothing is left for a next agent. */
void log_keeper_end(struct log_keeper *keeper);

/* Of the process, a child of this one; 0: there is none. */
pid_t log_keeper_pid(const struct log_keeper *keeper);

/* Has the reading end with that inode held from now on, instead of the one with the inode
 * `instead` (0: none). False where nobody holds it: then the workload must hold it itself. */
bool log_keeper_hold(struct log_keeper *keeper, int read_end, uint64_t inode, uint64_t instead);
/* Lets go of it. */
void log_keeper_drop(struct log_keeper *keeper, uint64_t inode);

/* A copy of the reading end, non-blocking, of a pipe that an earlier keeper holds; the caller
 * closes. -1: none does. */
int log_keeper_find(const struct log_keeper *keeper, uint64_t inode);
/* The same of a process of the user that no keeper knows, whose own end is opened anew: on a
 * thread, since a process can keep its pipe locked for ever. -1 with errno's code; ETIMEDOUT where
 * it does. */
int log_keeper_reopen(pid_t pid, uint64_t inode, uid_t user, struct err *err);
/* All workloads of earlier agents are adopted. Their keepers are ended, but for one that holds a
 * pipe of a workload that was not adopted. */
void log_keeper_end_earlier(struct log_keeper *keeper);

#endif
