/*
 * source_docs: the documents of one file, URL or key, and what they said when they were last valid.
 */
#ifndef EDGIBLE_SOURCE_DOCS_H
#define EDGIBLE_SOURCE_DOCS_H

#include "edgible/source.h"
#include "source_reading.h"

/* What is wrong with a document, or, where application is NULL, with the whole or a document whose
 * name could not be read. */
struct source_problem {
    char *application;
    struct strv errors, warnings;
};

struct source_docs {
    struct source_load *load; /* its source's; borrowed */
    struct source_load own;   /* this one's part of it */
    size_t text_bytes;        /* of what was taken last */
    size_t document_count;    /* in it */
    /* Where is_short_of_room: what the other documents took when one of these was refused, as it
     * did not fit beside them. */
    struct source_load no_room_beside;
    bool is_short_of_room;
    char *origin;           /* path, URL or key */
    bool is_known;          /* read as a whole at least once */
    struct app_spec **apps; /* owned */
    size_t app_count;
    struct source_problem *problems; /* as they were read last */
    size_t problem_count;
};

/* load counts all documents of the source, and outlives them. */
void source_docs_init(struct source_docs *docs, const char *origin, struct source_load *load);
void source_docs_fini(struct source_docs *docs);

/* Their text, to be read. text is borrowed. */
struct source_text source_docs_text(const struct source_docs *docs, const char *text, size_t len);
/* Has the text read, which lies in params->keep: fills in what params lacks of that, and starts. */
void source_docs_read(const struct source_docs *docs, const char *text, size_t len,
                      const struct source_reading_params *params, struct source_reading **slot);
/* A document was refused as it did not fit beside the others, and they take less now:
 * it must be read again. */
bool source_docs_has_room(const struct source_docs *docs);
/* Puts what was parsed in the old documents' place, and says what is wrong. An invalid document
 * keeps the last good version of its name; where it cannot be told which applications are meant,
 * or where keep_missing, all that are missing stay. */
void source_docs_take(struct source_docs *docs, struct events *events, struct app_docs *parsed,
                      bool keep_missing);
/* Nothing can be read of them: says so, and keeps what was there. */
void source_docs_refuse(struct source_docs *docs, struct events *events, const char *sentence);
/* Nothing is wrong any more, or no documents are left. */
void source_docs_forget_problems(struct source_docs *docs);

/* Adds to the view what is not known of them. */
void source_docs_add_doubts(const struct source_docs *docs, struct source_view *view);
void source_docs_each_problem(const struct source_docs *docs, source_problem_fn *fn, void *arg);
bool source_docs_has_app(const struct source_docs *docs, const char *name);

#endif
