/*
 * logfile: a rotating log file that cuts at line ends, survives removal, truncation and full
 * disks, and mends what a crash in the middle of a rotation left behind.
 *
 * No threads and no clock of its own: every call may block on the disk, one at a time. Once it has
 * been opened, writing cannot fail: what finds no room is dropped and counted, and a line in the
 * log says so as soon as there is room. What happened meanwhile comes back as LOGFILE_ bits.
 */
#ifndef EDGIBLE_LOGFILE_H
#define EDGIBLE_LOGFILE_H

#include "edgible/err.h"
#include "edgible/log_owner.h"
#include "edgible/log_place.h"
#include "edgible/mem.h"
#include "edgible/strv.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A line may grow to this even where files are smaller, and the file with it; only a longer one is
 * split. */
#define LOGFILE_LINE_BYTES ((size_t) 1024 * 1024)

/* The highest number of a rotated file. */
#define LOGFILE_ROTATED_MAX 100

struct logfile;
struct pump_log; /* where it goes and how it is rotated: edgible/pump.h */

enum logfile_happening {
    LOGFILE_ROTATED = 1 << 0,
    LOGFILE_REOPENED = 1 << 1, /* it had been removed, moved or cut off by somebody else */
    LOGFILE_FULL = 1 << 2,     /* from now on output is dropped: logfile_drop_reason() */
    LOGFILE_ROOM = 1 << 3,     /* there is room again: logfile_dropped_bytes() */
};

struct logfile_counters {
    uint64_t bytes_written, bytes_dropped, rotations; /* of the workload's own bytes */
};

/* Copies log; opens nothing. */
struct logfile *logfile_new(const struct pump_log *log);
void logfile_free(struct logfile *lf);
DEFINE_CLEANUP(logfile, struct logfile, logfile_free)

/*
 * Opens the file, with the folders it needs, and mends the chain of rotated ones. A disk that is
 * full or read-only is not an error: LOGFILE_FULL is set in *ret_happened and output is dropped
 * until there is room. After an error output is dropped until a later logfile_open() succeeds.
 */
int logfile_open(struct logfile *lf, int64_t now_ms, unsigned *ret_happened,
                 struct err *err) MUST_CHECK;
/* The next logfile_open() judges the file anew, and goes on where it is the same. */
void logfile_close(struct logfile *lf);
/* Tells of each file that it goes on to; borrowed, NULL: to nobody. */
void logfile_set_place(struct logfile *lf, struct log_place *place);
/* Takes over limits and owner; the file must be the same, and where the owner or what is allowed is
 * another, it must be closed. True where fewer rotated files are kept than before: who writes the
 * log removes the others with logfile_trim(), or opens it anew. */
bool logfile_set_limits(struct logfile *lf, const struct pump_log *log);
/* Removes the rotated files beyond the limit. */
void logfile_trim(struct logfile *lf);
/* Writes or drops len bytes; returns LOGFILE_ bits. */
unsigned logfile_write(struct logfile *lf, const char *data, size_t len, int64_t now_ms);
/* Looks whether somebody else took the file away, and makes it anew. */
unsigned logfile_check(struct logfile *lf, int64_t now_ms);
/* False where somebody else took it away; true while output is dropped for want of a file. */
bool logfile_is_in_place(const struct logfile *lf);
/* When logfile_tick() wants to be called; -1: not at all. */
int64_t logfile_next_tick_ms(const struct logfile *lf);
/* Tries again whether there is room. */
unsigned logfile_tick(struct logfile *lf, int64_t now_ms);

/* A new run begins: its output starts on a new line unless it continues the one before, and
 * logfile_tail() is of this run. */
void logfile_begin_run(struct logfile *lf, bool continues);
/* Adds the last lines of the run, at most PUMP_TAIL_LINES and PUMP_TAIL_BYTES. */
void logfile_tail(const struct logfile *lf, struct strv *lines);

/* Watches the folder that the file is in, as its owner finds it: inotify_add_watch(2), or -1. */
int logfile_watch_folder(const struct logfile *lf, int inotify_fd, uint32_t mask);

const char *logfile_path(const struct logfile *lf);
/* With whose rights; borrowed. */
const struct log_owner *logfile_owner(const struct logfile *lf);
/* The device it is on, or will be once it is made; does not touch the disk beyond looking. */
dev_t logfile_device(const struct logfile *lf);
struct logfile_counters logfile_counters(const struct logfile *lf);
/* errno and text of the latest LOGFILE_FULL. */
int logfile_drop_reason(const struct logfile *lf, const char **ret_text);
/* How much the latest LOGFILE_ROOM speaks of. */
uint64_t logfile_dropped_bytes(const struct logfile *lf);

#endif
