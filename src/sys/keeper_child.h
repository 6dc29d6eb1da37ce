/* The keeper's own side: system calls only, since it has no heap. */
#ifndef EDGIBLE_KEEPER_CHILD_H
#define EDGIBLE_KEEPER_CHILD_H

#include "edgible/keeper.h"

#include <poll.h>

#define KEEPER_NAME "edgible-keeper"

struct keeper_plan {
    int socket;                         /* the keeper's end */
    struct pollfd *held;                /* KEEPER_SLOTS of them, zeroed */
    struct keeper_end *ends;            /* what it holds from the start, sorted by number */
    size_t count;                       /* of these */
    size_t bytes;                       /* of the memory that both are in */
    unsigned close_upto;                /* see raw_child_close() */
    uintptr_t arguments, arguments_end; /* addresses; 0: not known */
};

/* For a process just made; does not return. */
_Noreturn void keeper_child_run(const struct keeper_plan *plan);

#endif
