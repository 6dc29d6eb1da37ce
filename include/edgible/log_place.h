/*
 * log_place: where a rotating log stands, for those who read it while it is written: which of its
 * files is the current one, and how many bytes went into those before. Written by the pump's
 * thread, read by any other.
 */
#ifndef EDGIBLE_LOG_PLACE_H
#define EDGIBLE_LOG_PLACE_H

#include "edgible/mem.h"

#include <stdbool.h>
#include <stdint.h>

struct log_place;

struct log_standing {
    bool is_busy;       /* it is just being rotated: nothing else here is to be relied on */
    bool is_closed;     /* nobody writes it any more */
    uint64_t inode;     /* of the current file; 0: none is open */
    uint64_t rotations; /* so many files were before it: number n is `file`.(rotations - n) */
    uint64_t start;     /* bytes in all of those, from when this place was made on */
    uint64_t epoch;     /* changes whenever somebody else took the file away or cut it off */
};

/* One reference. */
struct log_place *log_place_new(void);
struct log_place *log_place_ref(struct log_place *place);
void log_place_unref(struct log_place *place);
DEFINE_CLEANUP(log_place, struct log_place, log_place_unref)

struct log_standing log_place_read(struct log_place *place);

/* Of who writes it. */
void log_place_begin(struct log_place *place);
/* The current file is that one; old_bytes went into the one before, or, where that is not known to
 * have been complete, it is another's work (is_ours false). */
void log_place_move(struct log_place *place, uint64_t inode, uint64_t old_bytes, bool is_ours);
void log_place_end(struct log_place *place);
void log_place_close(struct log_place *place);

#endif
