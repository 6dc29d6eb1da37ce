/*
 * spawn_block: what a child needs to see, apart from the heap, for src/sys/spawn.c only.
 *
 * A fork costs as much as there is memory to copy the page tables of, and again for each page that
 * the parent writes to afterwards. The agent's memory is its heap, of which the child needs nothing
 * but the request. So the request is copied out, and the heap is not given to children at all: a
 * spawn costs the same however large the agent grows, and its thread need not stand still until
 * exec is through, as it would with vfork.
 */
#ifndef EDGIBLE_SYS_SPAWN_BLOCK_H
#define EDGIBLE_SYS_SPAWN_BLOCK_H

#include "edgible/spawn.h"

#include <stddef.h>

struct spawn_block {
    void *memory; /* mapped */
    size_t size;
    struct spawn_request request; /* its pointers point into memory */
    struct creds creds;
    struct syscall_filter filter;
};

/* Copies the request; -1 with ERR_HOST where there is no memory. The caller finishes it. */
int spawn_block_init(struct spawn_block *block, const struct spawn_request *request,
                     struct err *err) MUST_CHECK;
void spawn_block_fini(struct spawn_block *block);
void cleanup_spawn_block(struct spawn_block *block);

/*
 * Until spawn_show_heap() no child gets the heap as it is now. Only a child that was made by the
 * system call itself can live without it: fork(3) of glibc writes to the heap in the child. So the
 * heap is hidden for the creation alone, and every other fork of the process has it.
 */
void spawn_hide_heap(void);
void spawn_show_heap(void);

#endif
