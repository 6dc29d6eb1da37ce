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
#include "edgible/log_owner.h"
#include "edgible/log_place.h"
#include "edgible/mem.h"
#include "edgible/strv.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LOG_READER_BUFFER_BYTES (128UL * 1024)
#define LOG_READER_MAX_LINES 100000
/* So far back the last lines are looked for: bytes, and files. */
#define LOG_READER_MAX_BACK_BYTES (64UL * 1024 * 1024)
#define LOG_READER_MAX_BACK_FILES 16

struct log_reader;

/* A place in a log, over rotations; all 0: before its first file was made. */
struct log_position {
    uint64_t inode, offset;
};

struct log_reader_params {
    const char *file;           /* absolute; copied. Need not exist: then it is empty so far */
    struct log_owner owner;     /* with whose rights it is read */
    const struct strv *allowed; /* as in struct pump_log; where it is not NULL, only what an agent
                                   wrote is read */
    unsigned max_files;         /* rotated ones: file.1 (the newest) … */
    struct log_place *place;    /* a reference is taken; NULL: nobody writes it just now */
    size_t lines; /* the last so many, over rotated files; at most LOG_READER_MAX_LINES */
    const struct log_position *from; /* from there on, instead of the last lines; NULL: not so */
    bool framed; /* each piece begins with a line "INODE OFFSET LENGTH": where its bytes are, which
                    follow. The first piece is empty; an INODE of 0: the bytes are not of the log */
    bool follow;
    void (*notify)(void *arg); /* log_reader_take() has more to say; from the reader's thread */
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

/* The log may be another file, or be written by another: what is left of the old one comes first.
 * Nothing where it is all the same. */
void log_reader_set_file(struct log_reader *reader, const char *file, const struct log_owner *owner,
                         const struct strv *allowed, unsigned max_files, struct log_place *place);

#endif
