/*
 * source_docs: the documents of one file, URL or key, and what they said when they were last valid.
 */
#ifndef EDGIBLE_SOURCE_DOCS_H
#define EDGIBLE_SOURCE_DOCS_H

#include "edgible/source.h"

/* What is wrong with a document, or, where application is NULL, with the whole or a document whose
 * name could not be read. */
struct source_problem {
    char *application;
    struct strv errors;
};

struct source_docs {
    char *origin;           /* path, URL or key */
    bool is_known;          /* read as a whole at least once */
    struct app_spec **apps; /* owned */
    size_t app_count;
    struct source_problem *problems; /* as they were read last */
    size_t problem_count;
};

void source_docs_init(struct source_docs *docs, const char *origin);
void source_docs_fini(struct source_docs *docs);

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
