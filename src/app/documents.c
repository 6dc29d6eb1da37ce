#include "documents.h"

#include "edgible/fd.h"
#include "edgible/map.h"
#include "edgible/mem.h"
#include "edgible/source_directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What is being read. */
struct reading {
    struct buf *text; /* NULL: not wanted */
    struct app_docs *docs;
    struct map *names; /* of the applications so far, to the file that has it */
    size_t left;       /* bytes that the rest may have */
    bool is_first;
};

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *) a, *(char *const *) b);
}

/* The files of a directory that a source directory would read. */
static int list_folder(const char *path, struct strv *files, struct err *err)
{
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return err_set(err, errno, "open '%s'", path);
    }
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (source_directory_takes(entry->d_name)) {
            strv_add_take(files, xasprintf("%s/%s", path, entry->d_name));
        }
    }
    (void) closedir(dir);
    if (files->count > 0) {
        qsort(files->items, files->count, sizeof(*files->items), compare_names);
    }
    return 0;
}

/* Each file is a stream of its own: directives, and a first document without a `---`, are fine. */
static void add_text(struct reading *reading, const char *data, size_t len)
{
    static const char mark[] = "\xef\xbb\xbf";
    struct buf *text = reading->text;
    if (!reading->is_first) {
        size_t skip = len >= 3 && memcmp(data, mark, 3) == 0 ? 3 : 0;
        data += skip;
        len -= skip;
        if (text->len > 0 && text->data[text->len - 1] != '\n') {
            buf_add_char(text, '\n');
        }
        if (len < 3 || memcmp(data, "---", 3) != 0) {
            buf_add_str(text, "...\n");
        }
    }
    reading->is_first = false;
    buf_add(text, data, len);
}

/* A name that a document of another file has. Inside one file the parser says it. */
static void check_names(struct reading *reading, struct app_docs *found, char *file)
{
    for (size_t i = 0; i < found->count; i++) {
        struct app_doc *doc = &found->docs[i];
        const char *other = doc->name != NULL ? map_get(reading->names, doc->name) : NULL;
        if (other != NULL) {
            diag_add(&doc->diag, DIAG_ERROR, file, doc->line, 1, "metadata.name",
                     "the application '%s' is in '%s' too", doc->name, other);
            app_spec_free(steal_ptr(&doc->spec));
        }
    }
    for (size_t i = 0; i < found->count; i++) {
        if (found->docs[i].name != NULL && !map_has(reading->names, found->docs[i].name)) {
            map_put(reading->names, found->docs[i].name, file);
        }
    }
}

/* Its documents go behind those that are there. */
static void move_docs(struct app_docs *docs, struct app_docs *found)
{
    if (found->count > 0) {
        docs->cap = docs->count + found->count;
        docs->docs = xrealloc(docs->docs, docs->cap, sizeof(*docs->docs));
        memcpy(docs->docs + docs->count, found->docs, found->count * sizeof(*found->docs));
        docs->count += found->count;
        found->count = 0;
    }
    diag_append(&docs->diag, &found->diag);
    docs->workload_count = found->workload_count;
    docs->document_count = found->document_count;
    docs->memory_bytes = found->memory_bytes;
    docs->faulty = found->faulty;
    docs->text_bytes += found->text_bytes;
    docs->is_empty = docs->is_empty && found->is_empty;
}

static int read_one(struct reading *reading, char *file, struct err *err)
{
    CLEANUP(free) char *data = NULL;
    size_t len = 0;
    bool is_stdin = strcmp(file, "-") == 0;
    int rc = is_stdin ? fd_read_all(STDIN_FILENO, reading->left, &data, &len, err)
                      : fd_read_file(AT_FDCWD, file, reading->left, &data, &len, err);
    if (rc < 0) {
        return is_stdin ? err_prefix(err, "cannot read standard input")
                        : err_prefix(err, "cannot read '%s'", file);
    }
    reading->left -= len;
    if (reading->text != NULL) {
        add_text(reading, data, len);
    }
    CLEANUP(app_docs)
    struct app_docs found = {
        .workload_count = reading->docs->workload_count,
        .document_count = reading->docs->document_count,
        .memory_bytes = reading->docs->memory_bytes,
        .faulty = reading->docs->faulty,
    };
    appspec_parse(is_stdin ? "<stdin>" : file, data, len, &found);
    check_names(reading, &found, file);
    move_docs(reading->docs, &found);
    return 0;
}

int documents_read(const struct strv *names, size_t max_bytes, struct buf *text,
                   struct app_docs *docs, struct err *err)
{
    CLEANUP(strv) struct strv files = {0};
    CLEANUP(map) struct map *known = map_new();
    for (size_t i = 0; i < names->count; i++) {
        struct stat st = {0};
        bool is_folder = stat(names->items[i], &st) == 0 && S_ISDIR(st.st_mode);
        if (is_folder) {
            CLEANUP(strv) struct strv found = {0};
            if (list_folder(names->items[i], &found, err) < 0) {
                return -1;
            }
            for (size_t k = 0; k < found.count; k++) {
                strv_add(&files, found.items[k]);
            }
        } else {
            strv_add(&files, names->items[i]);
        }
    }
    struct reading reading = {
        .text = text, .docs = docs, .names = known, .left = max_bytes, .is_first = true};
    docs->is_empty = true;
    for (size_t i = 0; i < files.count; i++) {
        if (read_one(&reading, files.items[i], err) < 0) {
            return -1;
        }
    }
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
