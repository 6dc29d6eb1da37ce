/*
 * watch: notices changes in one directory (inotify).
 */
#ifndef EDGIBLE_WATCH_H
#define EDGIBLE_WATCH_H

#include "edgible/err.h"
#include "edgible/loop.h"
#include "edgible/mem.h"

enum watch_change {
    WATCH_WRITING,  /* a file was made or written to, and may be open still */
    WATCH_COMPLETE, /* a file was closed after writing, or moved here */
    WATCH_TOUCHED,  /* a file's attributes changed */
    WATCH_REMOVED,  /* a file was removed or moved away */
    WATCH_LOST,     /* the directory itself is gone or unmounted: the watch has ended */
    WATCH_UNKNOWN,  /* changes were missed: look at everything */
};

struct watch;

/* fn gets the name of the file, "" where the directory is meant; valid during the call. */
typedef void (*watch_fn)(void *arg, enum watch_change change, const char *name);

struct watch *watch_new(struct loop *loop, const char *directory, watch_fn fn, void *arg,
                        struct err *err);
void watch_free(struct watch *watch);
DEFINE_CLEANUP(watch, struct watch, watch_free)

#endif
