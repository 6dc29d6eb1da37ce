/*
 * raw_child: what spawn and keeper share, for src/sys only: to make a process that is a copy of one
 * thread of this program, with system calls alone to go on with.
 */
#ifndef EDGIBLE_SYS_RAW_CHILD_H
#define EDGIBLE_SYS_RAW_CHILD_H

#include "edgible/err.h"

#include <sys/types.h>

/* Calls create(arg) with every signal blocked and the heap kept from the child: no handler of the
 * agent's may run there, where it shares the pipes that handlers write to. -1 with ERR_HOST where
 * signals cannot be blocked, else what create() returns, whose errno stays. */
pid_t raw_child_make(pid_t (*create)(void *arg), void *arg, struct err *err);

/* The highest descriptor there can be, and one, as far as they are closed one by one. */
unsigned raw_child_descriptors(void);

/* For the child: closes first to last. Where the kernel has no close_range, not from upto on, which
 * is raw_child_descriptors() of the parent. */
void raw_child_close(unsigned first, unsigned last, unsigned upto);

#endif
