/*
 * source_reading: reads texts of documents, long ones on a thread beside the loop.
 */
#ifndef EDGIBLE_SOURCE_READING_H
#define EDGIBLE_SOURCE_READING_H

#include "edgible/appspec.h"
#include "edgible/loop.h"
#include "edgible/mem.h"

/* So much is read at once, in a few milliseconds on a small device. A text costs as much as so many
 * bytes, were it empty. */
#define SOURCE_READING_SHORT_BYTES (32UL * 1024)
#define SOURCE_READING_TEXT_BYTES 128

/* What all documents of a source, or some of them, take. */
struct source_load {
    size_t documents; /* as they were read last, or the versions that are in force where more */
    size_t workloads;
    size_t memory_bytes; /* about, of what they were read as */
    size_t bytes;        /* of their texts, as they were taken last */
    size_t faulty;       /* of the documents, with errors */
    /* Lines about warnings that may still be logged before `warn_again`. */
    size_t warnings_left;
    mono_ms warn_again;
};

struct source_text {
    char *origin;     /* owned */
    const char *text; /* lives as long as `keep` */
    size_t len;
    bool is_single;         /* it may have one document */
    struct source_load own; /* of its documents before, which no longer counts */
    struct app_docs docs;   /* what was read */
};

struct source_reading;

struct source_reading_params {
    struct loop *loop;         /* borrowed */
    struct source_text *texts; /* taken over, with all that they own */
    size_t count;
    struct source_load taken; /* by all documents of the source before */
    void *keep;               /* what the texts point into; taken over */
    void (*free_keep)(void *keep);
    /* The documents may be taken out of the texts; all else goes after the call. */
    void (*done)(void *arg, struct source_text *texts, size_t count);
    void *arg;
};

/* What is short is read inside this call, and done() is called there; else *slot is the reading
 * until done() is called from the loop. *slot must be NULL. */
void source_reading_start(const struct source_reading_params *params, struct source_reading **slot);
/* Never blocks; done() is not called after this. */
void source_reading_free(struct source_reading *reading);

#endif
