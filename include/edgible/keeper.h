/*
 * keeper: a small process that holds the reading ends of log pipes. While it lives, a workload that
 * prints after its agent was killed is not ended by SIGPIPE: it waits once its pipe is full, and
 * the next agent finds the reading end here. So the workload's own end can be write-only, and the
 * next agent needs no right to look into the workload.
 *
 * The keeper is a child of the agent in its session, without capabilities, named `edgible-keeper`,
 * and takes no signals but SIGKILL and SIGSTOP. It sleeps until it is told something. Once its
 * agent is gone it ends by itself when nobody can write to any pipe that it holds; where a pipe has
 * output that nobody has read, a minute after that.
 */
#ifndef EDGIBLE_KEEPER_H
#define EDGIBLE_KEEPER_H

#include "edgible/err.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* How many reading ends a keeper holds at most. */
#define KEEPER_SLOTS 16384U

struct keeper {
    pid_t pid; /* 0: none */
    uint64_t start_ticks;
    int pidfd;  /* owned, as is the next one */
    int socket; /* readable once the keeper is gone */
};

/* A reading end that this process has open. */
struct keeper_end {
    unsigned slot;
    int number; /* of the descriptor */
    uint64_t inode;
};

/* Makes the process, which holds these from the start: it inherits them, so that nobody can keep it
 * from them. The ends are sorted by number. *ret is unchanged where that fails, with ERR_HOST. */
int keeper_start(const struct keeper_end *ends, size_t count, struct keeper *ret,
                 struct err *err) MUST_CHECK;
/* Holds a copy of the reading end under that number, and lets go of what it held there. fd -1 only
 * lets go. -1 where the keeper does not take it, or cannot be sent it: ETOOMANYREFS where the
 * user's processes have as many descriptors on their way as may be. */
int keeper_hold(const struct keeper *keeper, unsigned slot, int fd, struct err *err) MUST_CHECK;
/* Ends it: nothing that it holds is needed any more. Waits for it for a moment at most: who locks a
 * pipe can keep it from ending. */
void keeper_end(struct keeper *keeper);
/* Closes this side alone: what it holds is for the next agent. */
void keeper_leave(struct keeper *keeper);

/* What a keeper of an earlier agent holds. */
struct keeper_pipes {
    pid_t pid;
    uint64_t start_ticks;
    struct keeper_pipe {
        uint64_t inode;
        int number; /* of the descriptor, in the keeper */
    } * items;      /* sorted by inode; owned */
    size_t count;
};

/* Looks into the keeper with that pid that began at start_ticks. -1 with ESRCH where it is gone,
 * else with errno's code. */
int keeper_look(pid_t pid, uint64_t start_ticks, struct keeper_pipes *ret,
                struct err *err) MUST_CHECK;
/* The pipes that this process itself has open. */
int keeper_look_at_own(struct keeper_pipes *ret, struct err *err) MUST_CHECK;
/* The number of a descriptor of that pipe; -1: there is none. */
int keeper_find_number(const struct keeper_pipes *pipes, uint64_t inode);
/* A copy of the reading end, non-blocking, of the pipe with that inode; the caller closes. -1: it
 * is not among them any more. */
int keeper_copy_pipe(const struct keeper_pipes *pipes, uint64_t inode);
/* Ends that keeper. */
void keeper_end_earlier(const struct keeper_pipes *pipes);
void keeper_pipes_fini(struct keeper_pipes *pipes);

#endif
