/*
 * log_reader: reads a workload's log for somebody who watches: the last lines, then, where it
 * follows, what is added, over rotations. One thread a reader does all file work, so that a disk
 * that hangs holds up no one but who reads from it.
 *
 * All functions are the loop thread's; only `notify` is called from the reader's own.
 */
#ifndef EDGIBLE_LOG_READER_H
#define EDGIBLE_LOG_READER_H

#include "edgible/err.h"
#include "edgible/mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LOG_READER_BUFFER_BYTES (128UL * 1024)
#define LOG_READER_MAX_LINES 100000
#define LOG_READER_MAX_BACK_BYTES (64UL * 1024 * 1024) /* read backwards to find the last lines */

struct log_reader;

/* A rotation that the pump has done: the file with inode old_inode is complete with old_bytes, and
 * the one with new_inode (the same where the file was cut off instead) follows it. */
struct log_rotation {
    uint64_t old_inode, new_inode;
    uint64_t old_bytes;
};

struct log_reader_params {
    const char *file;   /* absolute; copied. Need not exist: then it is empty so far */
    unsigned max_files; /* rotated ones: file.1 (the newest) … */
    size_t lines;       /* the last so many, at most LOG_READER_MAX_LINES; over rotated files */
    bool follow;
    void (*notify)(void *arg); /* log_reader_take() has more to say; from any thread */
    void *arg;
};

struct log_reader *log_reader_new(const struct log_reader_params *params, struct err *err);
/* Never blocks: a thread that hangs on a disk is left behind, and frees what is left when it comes
 * back. notify is not called after this. */
void log_reader_free(struct log_reader *reader);
DEFINE_CLEANUP(log_reader, struct log_reader, log_reader_free)

/*
 * Copies at most max bytes; 0: none now, notify will be called; -1: that was all, or, where err is
 * set, it cannot be read. One that does not keep up until rotation removes what it has not read
 * yet finds a line "[edgible: N bytes of the log missed]" in place of it; N is exact.
 */
ssize_t log_reader_take(struct log_reader *reader, char *data, size_t max, struct err *err);

/* Told of each rotation, in order, from log_reader_new() on. */
void log_reader_rotated(struct log_reader *reader, const struct log_rotation *rotation);
/* From now on the log is another file: what is left of the old one comes first. */
void log_reader_set_file(struct log_reader *reader, const char *file, unsigned max_files);

#endif
