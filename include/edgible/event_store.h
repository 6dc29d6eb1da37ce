/*
 * event_store: the last events of the device, as lines of JSON in files of this boot
 * (<runtimeDir>/events/<number of the first>.jsonl), so that they outlive the agent. Memory is
 * needed for their list alone.
 */
#ifndef EDGIBLE_EVENT_STORE_H
#define EDGIBLE_EVENT_STORE_H

#include "edgible/buf.h"
#include "edgible/err.h"
#include "edgible/mem.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define EVENT_STORE_MAX_EVENTS 10000
#define EVENT_STORE_MAX_BYTES (16UL * 1024 * 1024)

struct event_store;

/* Takes over what an earlier agent left; a line that was cut off is dropped. */
struct event_store *event_store_open(const char *dir, struct err *err);
void event_store_close(struct event_store *store);
DEFINE_CLEANUP(event_store, struct event_store, event_store_close)

/* 0: it holds none. */
uint64_t event_store_last_seq(const struct event_store *store);
/* Below this number nothing is kept any more; last + 1 where there is none. */
uint64_t event_store_first_seq(const struct event_store *store);

/* line is one JSON object without a line feed that begins with `{"seq":SEQ,`; seq is higher than
 * all before. What no longer fits the bounds is dropped at the other end. */
int event_store_add(struct event_store *store, uint64_t seq, const char *line, size_t len,
                    struct err *err) MUST_CHECK;

/* Where somebody stands who reads. Zeroed but for next_seq: begins there. */
struct event_cursor {
    uint64_t next_seq;
    uint64_t segment; /* the first number in the file it stands in; 0: none yet */
    off_t offset;     /* of the first byte after ahead */
    struct buf ahead; /* read already */
    size_t taken;     /* of ahead */
};

void event_cursor_fini(struct event_cursor *cursor);
/* The next line, without its line feed, valid until the next call; NULL: there is none now. Passes
 * over what has been dropped. */
const char *event_store_next(const struct event_store *store, struct event_cursor *cursor,
                             size_t *ret_len);

#endif
