/*
 * documents: v3 documents from files, for the commands that read them.
 */
#ifndef EDGIBLE_DOCUMENTS_H
#define EDGIBLE_DOCUMENTS_H

#include "edgible/appspec.h"
#include "edgible/err.h"

/* Reads path, or standard input where it is "-". What is wrong inside is in *docs. */
int documents_read(const char *path, struct app_docs *docs, struct err *err) MUST_CHECK;

/* To stderr, a line each. */
void documents_print_items(const struct diag *diag);
/* Everything of the stream and its documents. */
void documents_print_diag(const struct app_docs *docs);

#endif
