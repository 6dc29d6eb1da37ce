/*
 * documents: v3 documents from files, for the commands that read them.
 */
#ifndef EDGIBLE_DOCUMENTS_H
#define EDGIBLE_DOCUMENTS_H

#include "edgible/appspec.h"
#include "edgible/buf.h"
#include "edgible/err.h"

/* Most that a command reads of files that it does not send. */
#define DOCUMENTS_MAX_BYTES (64UL * 1024 * 1024)

/*
 * Reads what the command line names with -f, in this order: files, directories (of which every file
 * that a source directory would read, by name), and standard input for "-". *docs has the documents
 * of all, each with the name of its own file; what is wrong inside is there, too. *text gets the
 * files as one stream; NULL: not wanted. All of them together may have max_bytes.
 */
int documents_read(const struct strv *names, size_t max_bytes, struct buf *text,
                   struct app_docs *docs, struct err *err) MUST_CHECK;

/* To stderr, a line each. */
void documents_print_items(const struct diag *diag);
/* Everything of the stream and its documents. */
void documents_print_diag(const struct app_docs *docs);

#endif
