/* edgible stack … */
#include "commands.h"
#include "documents.h"
#include "edgible/admission.h"
#include "edgible/buf.h"
#include "edgible/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static size_t valid_count(const struct app_docs *docs)
{
    size_t count = 0;
    for (size_t i = 0; i < docs->count; i++) {
        count += docs->docs[i].spec != NULL ? 1 : 0;
    }
    return count;
}

static void print_text(const struct app_docs *docs)
{
    size_t count = valid_count(docs);
    (void) printf("%zu application%s\n", count, count == 1 ? "" : "s");
    for (size_t i = 0; i < docs->count; i++) {
        const struct app_spec *app = docs->docs[i].spec;
        if (app == NULL) {
            continue;
        }
        (void) printf("%s:", app->name);
        for (size_t k = 0; k < app->workload_count; k++) {
            (void) printf("%s %s (%s)", k > 0 ? "," : "", app->workloads[k].name,
                          app->workloads[k].type);
        }
        (void) printf("\n");
    }
}

static void add_string(struct buf *out, const char *s)
{
    buf_add_char(out, '"');
    buf_add_json_escaped(out, s);
    buf_add_char(out, '"');
}

static void add_app(struct buf *out, const struct app_spec *app)
{
    buf_add_str(out, "{\"name\":");
    add_string(out, app->name);
    buf_add_str(out, ",\"workloads\":[");
    for (size_t i = 0; i < app->workload_count; i++) {
        buf_add_str(out, i > 0 ? ",{\"name\":" : "{\"name\":");
        add_string(out, app->workloads[i].name);
        buf_add_str(out, ",\"type\":");
        add_string(out, app->workloads[i].type);
        buf_add_char(out, '}');
    }
    buf_add_str(out, "]}");
}

static void add_items(struct buf *out, const struct diag *diag, enum diag_severity severity,
                      bool *any)
{
    for (size_t i = 0; i < diag->count; i++) {
        if (diag->items[i].severity == severity) {
            CLEANUP(free) char *line = diag_item_text(&diag->items[i]);
            if (*any) {
                buf_add_char(out, ',');
            }
            *any = true;
            add_string(out, line);
        }
    }
}

static void add_all_items(struct buf *out, const struct app_docs *docs, enum diag_severity severity)
{
    bool any = false;
    for (size_t i = 0; i < docs->count; i++) {
        add_items(out, &docs->docs[i].diag, severity, &any);
    }
    add_items(out, &docs->diag, severity, &any);
}

static void print_json(const struct app_docs *docs, bool valid)
{
    CLEANUP(buf) struct buf out = {0};
    buf_printf(&out, "{\"valid\":%s,\"applications\":[", valid ? "true" : "false");
    bool any = false;
    for (size_t i = 0; i < docs->count; i++) {
        if (docs->docs[i].spec != NULL) {
            buf_add_str(&out, any ? "," : "");
            any = true;
            add_app(&out, docs->docs[i].spec);
        }
    }
    buf_add_str(&out, "],\"errors\":[");
    add_all_items(&out, docs, DIAG_ERROR);
    buf_add_str(&out, "],\"warnings\":[");
    add_all_items(&out, docs, DIAG_WARNING);
    buf_add_str(&out, "]}");
    (void) printf("%s\n", out.data);
}

static bool may_be_same(const char *a, const char *b)
{
    return a == NULL || b == NULL || strcmp(a, b) == 0;
}

/* Of documents before it that one device may have beside it. */
static void check_logs(struct app_docs *docs, size_t doc)
{
    struct app_doc *own = &docs->docs[doc];
    CLEANUP(map) struct map *known = map_new();
    for (size_t i = 0; i < doc && own->spec != NULL; i++) {
        struct app_spec *other = docs->docs[i].spec;
        if (other != NULL && may_be_same(own->spec->device_name, other->device_name) &&
            may_be_same(own->spec->device_id, other->device_id)) {
            map_put(known, other->name, other);
        }
    }
    CLEANUP(free)
    char *refusal = own->spec != NULL ? admission_log_refusal(".", own->spec, known) : NULL;
    if (refusal != NULL) {
        diag_add(&own->diag, DIAG_ERROR, own->spec->file, own->line, 1, "spec.workloads", "%s",
                 refusal);
        app_spec_free(steal_ptr(&own->spec));
    }
}

/* What the path of a log leads to on this machine; NULL where that is a file, or not there. */
static const char *find_device_kind(const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0) {
        return NULL;
    }
    return S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode) ? "a device"
           : S_ISFIFO(st.st_mode)                     ? "a FIFO"
           : S_ISSOCK(st.st_mode)                     ? "a socket"
                                                      : NULL;
}

/* The agent would refuse it when it opens the log; here it is told before anything is deployed. */
static void check_devices(struct app_doc *doc)
{
    struct app_spec *app = doc->spec;
    bool is_refused = false;
    for (size_t i = 0; app != NULL && i < app->workload_count; i++) {
        const struct workload_spec *w = &app->workloads[i];
        const char *kind = w->log_file != NULL && !workload_spec_has_no_log(w)
                               ? find_device_kind(w->log_file)
                               : NULL;
        if (kind != NULL) {
            diag_add(&doc->diag, DIAG_ERROR, app->file, w->line, 1, "spec.workloads.logFile",
                     "workload '%s': '%.200s' is %s or a link to one: name a file, leave logFile "
                     "out, or use " APPSPEC_NO_LOG " to keep no log",
                     w->name, w->log_file, kind);
            is_refused = true;
        }
    }
    if (is_refused) {
        app_spec_free(steal_ptr(&doc->spec));
    }
}

int cmd_stack_validate(const struct command_options *options)
{
    CLEANUP(app_docs) struct app_docs docs = {0};
    struct err err = {0};
    char text[ERR_MSG_MAX];
    if (documents_read(&options->files, DOCUMENTS_MAX_BYTES, NULL, &docs, &err) < 0) {
        (void) fprintf(stderr, "edgible: %s\n", err_text(&err, text, sizeof(text)));
        return EXIT_NOT_OK;
    }
    for (size_t i = 0; i < docs.count; i++) {
        check_logs(&docs, i);
        check_devices(&docs.docs[i]);
    }
    bool valid = app_docs_error_count(&docs) == 0 && !docs.is_empty;
    if (options->json) {
        print_json(&docs, valid);
        return valid ? EXIT_OK : EXIT_NOT_OK;
    }
    documents_print_diag(&docs);
    if (docs.is_empty) {
        (void) fprintf(stderr, "edgible: '%s'%s is empty: there is no document to validate\n",
                       options->files.items[0], options->files.count > 1 ? ", as all others," : "");
    }
    print_text(&docs);
    return valid ? EXIT_OK : EXIT_NOT_OK;
}
