/*
 * work: one function that takes long, on a thread of its own, while the loop goes on.
 */
#ifndef EDGIBLE_WORK_H
#define EDGIBLE_WORK_H

#include "edgible/err.h"
#include "edgible/loop.h"
#include "edgible/mem.h"

#include <stdbool.h>

struct work;

struct work_params {
    struct loop *loop;       /* borrowed; outlives the work; NULL: done() is never called */
    void (*run)(void *arg);  /* on the thread, with every signal blocked */
    void (*done)(void *arg); /* on the loop's thread, after run(); may call work_free() */
    void (*free_arg)(void *arg);
    void *arg; /* owned by the work; run() touches nothing else that can change */
};

/* NULL where no thread can be made; arg is still the caller's then. Codes: errno. */
struct work *work_start(const struct work_params *params, struct err *err);
/* Waits for the end of run(), for that long at most. True: it is over, and done() is not called. */
bool work_wait(struct work *work, mono_ms longest);
/* Never blocks: while run() is under way the thread is left behind, and frees arg when it is over.
 * done() is not called after this. */
void work_free(struct work *work);
DEFINE_CLEANUP(work, struct work, work_free)

#endif
