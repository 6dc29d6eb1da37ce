/*
 * source_file: one file of the directory source, and what it said when it was last valid.
 */
#ifndef EDGIBLE_SOURCE_FILE_H
#define EDGIBLE_SOURCE_FILE_H

#include "source_docs.h"
#include "source_private.h"

#include <sys/stat.h>

#define SOURCE_MAX_FILE_BYTES (8UL * 1024 * 1024)

struct source_file {
    char *name;
    struct stat seen; /* as it was when it was read, or could not be */
    bool is_read;
    bool is_present;    /* in the scan under way */
    mono_ms changed_at; /* when it was last seen to change */
    mono_ms written_at; /* last write that inotify told of, without a close after it; 0: none */
    bool is_closed;     /* inotify told of a close or a move after the last write */
    bool wait_said;
    int said_errno; /* the trouble that was said last, so that it is not said at each rescan */
    struct source_docs docs;
    struct source_reading *reading; /* under way; NULL: none */
    bool is_beside;                 /* refresh() said so */
    /* Called from the loop once a file that is read beside it has been read. */
    void (*on_read)(void *arg);
    void *arg;
    struct events *events; /* borrowed */
};

enum source_read {
    SOURCE_READ_SAME,   /* nothing new */
    SOURCE_READ_LOADED, /* the documents may have changed */
    SOURCE_READ_WAIT,   /* somebody writes to it: ask again soon */
    SOURCE_READ_BESIDE, /* it is read beside the loop: on_read() is called */
};

/* source outlives it. on_read is set by the caller. */
struct source_file *source_file_new(const char *directory, const char *name, struct source *source);
void source_file_free(struct source_file *file);

/* Reads it where it changed and is complete. Says what is wrong, once. */
enum source_read source_file_refresh(struct source_file *file, const struct source *source);
/* A reading under way counts for nothing: it is begun anew with the next call of
 * source_file_refresh(). */
void source_file_drop_reading(struct source_file *file);
/* A file that was the signed set and is gone: what it held stays. */
void source_file_keep(struct source_file *file, struct events *events);

#endif
