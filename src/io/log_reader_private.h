/*
 * The inside of log_reader, shared by log_reader.c (what the two threads hand each other) and
 * log_reader_file.c (the files).
 */
#ifndef EDGIBLE_LOG_READER_PRIVATE_H
#define EDGIBLE_LOG_READER_PRIVATE_H

#include "edgible/log_reader.h"
#include "edgible/logfile.h"
#include "pump_log.h"

/* The log as its reader's thread sees it: where it is read, and what comes next. */
struct log_files {
    char *path;
    struct logfile *way; /* the way to the folder, with whose rights; writes nothing */
    unsigned max_files;
    struct log_place *place; /* NULL: nobody writes it, as far as is known */
    /* Rotated files to be read before the current one, the oldest last. */
    int older[LOG_READER_MAX_BACK_FILES];
    size_t older_count;
    off_t older_offset; /* in the oldest */
    int fd;             /* of the file that is read; -1: none is there yet */
    uint64_t inode;
    uint64_t offset;
    bool is_managed; /* the following are known */
    uint64_t number; /* of the file, as log_standing.rotations counts */
    uint64_t start;  /* bytes before it */
    uint64_t epoch;
    bool is_drained; /* a rotation was seen, and the file's end after it */
    int inotify_fd;  /* -1: cannot be had */
};

enum files_next {
    FILES_MORE,  /* read again */
    FILES_WAIT,  /* nothing new; the inotify descriptor or a while tells when */
    FILES_RETRY, /* ask again in a moment: it is just being rotated */
};

/* log is copied, a reference of place is taken. */
void log_files_init(struct log_files *files, const struct pump_log *log, struct log_place *place);
void log_files_fini(struct log_files *files);
/* To the beginning of the last `lines` lines. */
int log_files_seek_back(struct log_files *files, size_t lines, struct err *err) MUST_CHECK;
/* To a place that was read before. Where its file is gone, to the oldest of those after it. */
void log_files_seek_to(struct log_files *files, const struct log_position *to);
/* What is read next. */
struct log_position log_files_position(const struct log_files *files);
/* To the beginning of the current file. */
void log_files_seek_current(struct log_files *files);
/* After a change of the owner or of what is allowed: a file that cannot be opened any more is let
 * go of. */
void log_files_judge_again(struct log_files *files);
/* Bytes read; 0: at the end of the file. */
ssize_t log_files_read(struct log_files *files, char *data, size_t max, struct err *err);
/* At the end of a file: what is next. *missed receives the bytes that are gone. */
enum files_next log_files_advance(struct log_files *files, uint64_t *missed);
/* Whether the inotify descriptor tells of all that can follow. Not so where somebody took the file
 * away: its writer makes another once it notices. */
bool log_files_is_told(const struct log_files *files);

#endif
