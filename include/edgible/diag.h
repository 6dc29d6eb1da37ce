/*
 * diag: what is wrong in a document, all of it, each with its place.
 * A line reads `app.yaml:14:16: spec.workloads[0].command[2]: expected a string, found a mapping`.
 */
#ifndef EDGIBLE_DIAG_H
#define EDGIBLE_DIAG_H

#include <stdbool.h>
#include <stddef.h>

/* Past this many of one document, one last item says that there are more. */
#define DIAG_MAX 20
/* Longest message and path where a diag's max is set. */
#define DIAG_SHORT_MAX 200

enum diag_severity { DIAG_ERROR, DIAG_WARNING };

struct diag_item {
    enum diag_severity severity;
    char *file;    /* owned, as are the rest */
    size_t line;   /* from 1; 0 where the whole file is meant */
    size_t column; /* from 1, in characters */
    char *path;    /* "" where the whole document is meant */
    char *message;
};

struct diag {
    struct diag_item *items;
    size_t count;
    size_t cap;
    size_t error_count; /* of all that were added, also those that are not kept */
    size_t max;         /* set by the owner: so few are kept, and short; 0: DIAG_MAX of them */
    size_t added;       /* by diag_add(), kept or not */
    size_t omitted;     /* of them, past the bound: what is not kept */
    size_t omitted_at;  /* index + 1 of the item that says so; 0: none */
};

void cleanup_diag(struct diag *diag);
void diag_fini(struct diag *diag);
/* Adds one, made fit to print: one line, no control characters, at most 1 KiB. Past DIAG_MAX an
 * error takes the place of a warning. */
void diag_add(struct diag *diag, enum diag_severity severity, const char *file, size_t line,
              size_t column, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 7, 8)));
/* True where a further warning would not be kept, so that working out its text is a waste. */
bool diag_is_full(const struct diag *diag);
/* By line and column; what stands at one place stays in its order. */
void diag_sort(struct diag *diag);
/* Adds all of from's items as diag_add() does: no more are kept than of one document. */
void diag_add_all(struct diag *diag, const struct diag *from);
/* Appends copies of all of from's items. */
void diag_append(struct diag *diag, const struct diag *from);
/* The item as one line, without a newline; the caller frees. Warnings carry "warning: " before
 * the message. */
char *diag_item_text(const struct diag_item *item);

#endif
