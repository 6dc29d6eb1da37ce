#include "documents.h"

#include "edgible/fd.h"
#include "edgible/mem.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_INPUT_BYTES (64UL * 1024 * 1024)

int documents_read(const char *path, struct app_docs *docs, struct err *err)
{
    CLEANUP(free) char *data = NULL;
    size_t len = 0;
    bool is_stdin = strcmp(path, "-") == 0;
    int rc = is_stdin ? fd_read_all(STDIN_FILENO, MAX_INPUT_BYTES, &data, &len, err)
                      : fd_read_file(AT_FDCWD, path, MAX_INPUT_BYTES, &data, &len, err);
    if (rc < 0) {
        return err_prefix(err, "cannot read %s", is_stdin ? "standard input" : "the documents");
    }
    appspec_parse(is_stdin ? "<stdin>" : path, data, len, docs);
    return 0;
}

void documents_print_items(const struct diag *diag)
{
    for (size_t i = 0; i < diag->count; i++) {
        CLEANUP(free) char *line = diag_item_text(&diag->items[i]);
        (void) fprintf(stderr, "%s\n", line);
    }
}

void documents_print_diag(const struct app_docs *docs)
{
    for (size_t i = 0; i < docs->count; i++) {
        documents_print_items(&docs->docs[i].diag);
    }
    documents_print_items(&docs->diag);
}
