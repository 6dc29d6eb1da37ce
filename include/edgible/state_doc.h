/*
 * state_doc: the documents that the agent keeps for itself, one JSON object a file: which
 * applications it has accepted, and with what each workload was last started. Format:
 * docs/state.md. Pure.
 */
#ifndef EDGIBLE_STATE_DOC_H
#define EDGIBLE_STATE_DOC_H

#include "edgible/appspec.h"
#include "edgible/docread.h"
#include "edgible/err.h"
#include "edgible/json_doc.h"

/* What is written, and the newest that is read. */
#define STATE_DOC_VERSION 1
/* Each byte of a v3 document of 1 MiB may be written as six; one that version 0.1.0 took may have
 * expanded to 4 MiB. */
#define STATE_DOC_BOUND_FACTOR 32
#define STATE_DOC_MAX_BYTES (32UL * 1024 * 1024)

/* How a document was found. */
enum state_doc_result {
    STATE_DOC_READ,
    STATE_DOC_CORRUPT, /* not such a document: err says what is wrong with it */
    STATE_DOC_NEWER,   /* of a version that only a newer agent can read: to be left alone */
};

/* An object with its version set. */
struct json *state_doc_new(void);

/* Reads a document's members into the struct at target. `name` is for the message. */
enum state_doc_result state_doc_read(const char *name, const char *text, size_t len,
                                     const struct doc_field *fields, void *target,
                                     struct err *err) MUST_CHECK;

/* A version was given up for the one before. */
struct rolled_back {
    int64_t from, to;
    char *reason;   /* NULL: it was not; owned */
    char *document; /* a hash of the document that was given up: it is not tried again; owned */
};

/* An application as it was accepted. */
struct app_record {
    struct app_spec *app; /* owned; as its document says, defaults not filled in */
    int64_t generation;
    char *source;            /* the file it stood in */
    bool removing;           /* it is no longer wanted; what is left of it is being stopped */
    bool suspended;          /* it is to stay, and not to run */
    int64_t last_generation; /* the highest that was given out; 0: generation is */
    struct app_spec *good;   /* what it goes back to while `app` is on trial; NULL: nothing */
    int64_t good_generation;
    struct rolled_back rolled_back;
};

void cleanup_app_record(struct app_record *record);
char *app_record_text(const struct app_record *record);
/* *record must be zeroed; the caller finishes it, also after an error. */
enum state_doc_result app_record_read(const char *name, const char *text, size_t len,
                                      struct app_record *record, struct err *err) MUST_CHECK;

/* A workload as it was last started, or changed without a restart. */
struct unit {
    char *application;
    int64_t generation;         /* of the application */
    struct workload_spec *spec; /* owned; defaults filled in */
    struct strv app_depends_on; /* of the application: the order of stopping */
};

void cleanup_unit(struct unit *unit);
char *unit_text(const char *application, int64_t generation, const struct strv *app_depends_on,
                const struct workload_spec *spec);
/* *unit must be zeroed; the caller finishes it, also after an error. */
enum state_doc_result unit_read(const char *name, const char *text, size_t len, struct unit *unit,
                                struct err *err) MUST_CHECK;

#endif
