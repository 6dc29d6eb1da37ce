#include "source_docs.h"

#include "edgible/buf.h"

#include <stdlib.h>
#include <string.h>

/* Past so many, further errors are left out of an event. */
#define EVENT_ERROR_BYTES 1024
/* So many lines about warnings a source has in the log in such a time. */
#define WARNINGS_MAX 100
#define WARNINGS_MS 60000

static void free_apps(struct app_spec **apps, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        app_spec_free(apps[i]);
    }
    free(apps);
}

void source_docs_forget_problems(struct source_docs *docs)
{
    for (size_t i = 0; i < docs->problem_count; i++) {
        free(docs->problems[i].application);
        strv_fini(&docs->problems[i].errors);
        strv_fini(&docs->problems[i].warnings);
    }
    free(steal_ptr(&docs->problems));
    docs->problem_count = 0;
}

void source_docs_init(struct source_docs *docs, const char *origin, struct source_load *load)
{
    *docs = (struct source_docs){.origin = xstrdup(origin), .load = load};
}

/* What it takes of its source from now on. */
static void set_own(struct source_docs *docs, const struct source_load *own)
{
    docs->load->documents += own->documents - docs->own.documents;
    docs->load->workloads += own->workloads - docs->own.workloads;
    docs->load->memory_bytes += own->memory_bytes - docs->own.memory_bytes;
    docs->load->bytes += own->bytes - docs->own.bytes;
    docs->load->faulty += own->faulty - docs->own.faulty;
    docs->own = *own;
}

void source_docs_fini(struct source_docs *docs)
{
    set_own(docs, &(struct source_load){0});
    free_apps(docs->apps, docs->app_count);
    source_docs_forget_problems(docs);
    free(docs->origin);
    *docs = (struct source_docs){0};
}

static struct source_problem *add_problem(struct source_docs *docs, const char *application)
{
    docs->problems = xrealloc(docs->problems, docs->problem_count + 1, sizeof(*docs->problems));
    struct source_problem *problem = &docs->problems[docs->problem_count++];
    *problem = (struct source_problem){.application = xstrdup_or_null(application)};
    return problem;
}

/* --- saying what is wrong -------------------------------------------------------------------- */

static void say_rejected(struct events *events, const char *application, const char *errors,
                         const char *message)
{
    struct event event = {
        .type = EVENT_REJECTED,
        .level = LOG_ERROR,
        .application = application,
        .fields = (struct log_field[]){{"status", "rejected"}, {"errors", errors}, {0}},
    };
    events_emit(events, &event, "%s", message);
}

static void count_again(struct source_docs *docs)
{
    struct source_load own = {
        .documents =
            docs->app_count > docs->document_count ? docs->app_count : docs->document_count,
        .bytes = docs->text_bytes,
        .faulty = docs->problem_count,
    };
    for (size_t i = 0; i < docs->app_count; i++) {
        own.workloads += docs->apps[i]->workload_count;
        own.memory_bytes += docs->apps[i]->memory_bytes;
    }
    set_own(docs, &own);
}

void source_docs_refuse(struct source_docs *docs, struct events *events, const char *sentence)
{
    source_docs_forget_problems(docs);
    CLEANUP(free)
    char *message =
        xasprintf("'%s' %s; what it said before stays in force", docs->origin, sentence);
    strv_add(&add_problem(docs, NULL)->errors, message);
    say_rejected(events, NULL, message, message);
    count_again(docs);
}

/* A document can have 20 of them, a source 1,000 documents, and all may come anew each second. */
static void log_warning(struct source_load *load, const char *line)
{
    if (loop_now() >= load->warn_again) {
        load->warn_again = loop_now() + WARNINGS_MS;
        load->warnings_left = WARNINGS_MAX;
    }
    if (load->warnings_left > 0) {
        load->warnings_left--;
        log_warn("source", "%s%s", line,
                 load->warnings_left > 0 ? "" : " (further warnings of a minute are left out)");
    }
}

/* The text is of an event, and all errors are in the lines. What only warns may well say why
 * something is missing. */
static void join_errors(struct source_load *load, const struct diag *diag, struct buf *text,
                        struct strv *lines, struct strv *warnings)
{
    size_t told = 0;
    for (size_t i = 0; i < diag->count; i++) {
        CLEANUP(free) char *line = diag_item_text(&diag->items[i]);
        if (diag->items[i].severity == DIAG_WARNING) {
            log_warning(load, line);
            strv_add(warnings, line);
        } else {
            strv_add(lines, line);
            if (text->len < EVENT_ERROR_BYTES) {
                buf_printf(text, "%s%s", text->len > 0 ? "\n" : "", line);
                told = lines->count;
            }
        }
    }
    if (told < lines->count) {
        buf_printf(text, "\nerrors left out here: %zu", lines->count - told);
    }
}

static void say_diag(struct source_docs *docs, struct events *events, const char *application,
                     const struct diag *diag)
{
    CLEANUP(buf) struct buf text = {0};
    CLEANUP(strv) struct strv lines = {0};
    CLEANUP(strv) struct strv warnings = {0};
    join_errors(docs->load, diag, &text, &lines, &warnings);
    if (lines.count == 0) {
        return;
    }
    struct source_problem *problem = add_problem(docs, application);
    strv_copy(&problem->errors, &lines);
    strv_copy(&problem->warnings, &warnings);
    CLEANUP(buf) struct buf message = {0};
    buf_printf(&message, "%s is rejected, what ran before goes on: %s",
               application != NULL ? application : "a document", lines.items[0]);
    if (diag->error_count > 1) {
        buf_printf(&message, "; and %zu more", diag->error_count - 1);
    }
    say_rejected(events, application, text.data, message.data);
}

/* --- taking ------------------------------------------------------------------------------------
 */

/* An application of this name that they had, taken out of the old list; NULL where none. */
static struct app_spec *take_old(struct source_docs *docs, const char *name)
{
    for (size_t i = 0; i < docs->app_count; i++) {
        if (docs->apps[i] != NULL && strcmp(docs->apps[i]->name, name) == 0) {
            return steal_ptr(&docs->apps[i]);
        }
    }
    return NULL;
}

/* Puts the documents in the old ones' place. An invalid document keeps the last good version of
 * its name; where it cannot be told which applications are meant, all that are missing stay. */
static void replace_apps(struct source_docs *docs, struct app_docs *parsed, bool keep_missing)
{
    keep_missing = keep_missing || parsed->diag.error_count > 0;
    struct app_spec **apps = xcalloc(parsed->count + docs->app_count, sizeof(struct app_spec *));
    size_t app_count = 0;
    for (size_t i = 0; i < parsed->count; i++) {
        struct app_doc *doc = &parsed->docs[i];
        struct app_spec *old = doc->name != NULL ? take_old(docs, doc->name) : NULL;
        if (doc->spec != NULL) {
            apps[app_count++] = steal_ptr(&doc->spec);
            app_spec_free(old);
        } else if (old != NULL) {
            apps[app_count++] = old;
        }
        keep_missing = keep_missing || (doc->spec == NULL && doc->name == NULL);
    }
    for (size_t i = 0; i < docs->app_count && keep_missing; i++) {
        if (docs->apps[i] != NULL) {
            apps[app_count++] = steal_ptr(&docs->apps[i]);
        }
    }
    free_apps(docs->apps, docs->app_count);
    docs->apps = apps;
    docs->app_count = app_count;
    docs->text_bytes = parsed->text_bytes;
    docs->document_count = parsed->count;
}

static struct source_load load_elsewhere(const struct source_docs *docs)
{
    return (struct source_load){
        .documents = docs->load->documents - docs->own.documents,
        .faulty = docs->load->faulty - docs->own.faulty,
        .workloads = docs->load->workloads - docs->own.workloads,
        .memory_bytes = docs->load->memory_bytes - docs->own.memory_bytes,
    };
}

bool source_docs_has_room(const struct source_docs *docs)
{
    struct source_load elsewhere = load_elsewhere(docs);
    return docs->is_short_of_room && (elsewhere.documents < docs->no_room_beside.documents ||
                                      elsewhere.workloads < docs->no_room_beside.workloads ||
                                      elsewhere.memory_bytes < docs->no_room_beside.memory_bytes);
}

struct source_text source_docs_text(const struct source_docs *docs, const char *text, size_t len)
{
    return (struct source_text){
        .origin = xstrdup(docs->origin),
        .text = text,
        .len = len,
        .own = docs->own,
    };
}

void source_docs_read(const struct source_docs *docs, const char *text, size_t len,
                      const struct source_reading_params *params, struct source_reading **slot)
{
    struct source_reading_params all = *params;
    all.texts = xcalloc(1, sizeof(*all.texts));
    *all.texts = source_docs_text(docs, text, len);
    all.count = 1;
    all.taken = *docs->load;
    source_reading_start(&all, slot);
}

static const struct app_spec *find_app(const struct source_docs *docs, const char *name)
{
    for (size_t i = 0; i < docs->app_count; i++) {
        if (strcmp(docs->apps[i]->name, name) == 0) {
            return docs->apps[i];
        }
    }
    return NULL;
}

static const struct app_doc *find_valid(const struct app_docs *parsed, const char *name)
{
    for (size_t i = 0; i < parsed->count; i++) {
        const struct app_doc *doc = &parsed->docs[i];
        if (doc->spec != NULL && strcmp(doc->name, name) == 0) {
            return doc;
        }
    }
    return NULL;
}

/* What they would take where all stays that was not replaced. */
static struct source_load load_with(const struct source_docs *docs, const struct app_docs *parsed)
{
    struct source_load all = load_elsewhere(docs);
    for (size_t i = 0; i < parsed->count; i++) {
        const struct app_spec *spec = parsed->docs[i].spec;
        all.documents += spec != NULL ? 1 : 0;
        all.workloads += spec != NULL ? spec->workload_count : 0;
        all.memory_bytes += spec != NULL ? spec->memory_bytes : 0;
    }
    for (size_t i = 0; i < docs->app_count; i++) {
        if (find_valid(parsed, docs->apps[i]->name) == NULL) {
            all.documents++;
            all.workloads += docs->apps[i]->workload_count;
            all.memory_bytes += docs->apps[i]->memory_bytes;
        }
    }
    return all;
}

/* Old versions of invalid documents stay, and count: where the new ones do not fit beside them,
 * those that grow are refused. */
static void refuse_growth(const struct source_docs *docs, struct app_docs *parsed,
                          bool keep_missing)
{
    struct source_load all = load_with(docs, parsed);
    bool stays = keep_missing || app_docs_error_count(parsed) > 0;
    if (!stays ||
        (all.documents <= APPSPEC_MAX_DOCUMENTS && all.workloads <= APPSPEC_MAX_SOURCE_WORKLOADS &&
         all.memory_bytes <= APPSPEC_MAX_SOURCE_BYTES)) {
        return;
    }
    for (size_t i = 0; i < parsed->count; i++) {
        struct app_doc *doc = &parsed->docs[i];
        const struct app_spec *old = doc->spec != NULL ? find_app(docs, doc->name) : NULL;
        if (doc->spec != NULL && (old == NULL || doc->spec->workload_count > old->workload_count ||
                                  doc->spec->memory_bytes > old->memory_bytes)) {
            diag_add(&doc->diag, DIAG_ERROR, docs->origin, doc->line, 1, "",
                     "there is no room for it beside the versions of other documents that stay in "
                     "force");
            app_spec_free(steal_ptr(&doc->spec));
            parsed->is_short_of_room = true;
        }
    }
}

void source_docs_take(struct source_docs *docs, struct events *events, struct app_docs *parsed,
                      bool keep_missing)
{
    refuse_growth(docs, parsed, keep_missing);
    docs->is_short_of_room = parsed->is_short_of_room;
    docs->no_room_beside = load_elsewhere(docs);
    source_docs_forget_problems(docs);
    say_diag(docs, events, NULL, &parsed->diag);
    for (size_t i = 0; i < parsed->count; i++) {
        say_diag(docs, events, parsed->docs[i].name, &parsed->docs[i].diag);
    }
    replace_apps(docs, parsed, keep_missing);
    count_again(docs);
    docs->is_known = docs->is_known || !keep_missing;
}

/* --- what is asked of them -----------------------------------------------------------------------
 */

bool source_docs_has_app(const struct source_docs *docs, const char *name)
{
    return find_app(docs, name) != NULL;
}

void source_docs_add_doubts(const struct source_docs *docs, struct source_view *view)
{
    bool is_unsure = !docs->is_known;
    for (size_t i = 0; i < docs->problem_count; i++) {
        const char *name = docs->problems[i].application;
        is_unsure = is_unsure || name == NULL;
        if (name != NULL && !source_docs_has_app(docs, name)) {
            strv_add(&view->kept, name);
        }
    }
    if (is_unsure) {
        strv_add(&view->unsure, docs->origin);
    }
}

void source_docs_each_problem(const struct source_docs *docs, source_problem_fn *fn, void *arg)
{
    for (size_t i = 0; i < docs->problem_count; i++) {
        const struct source_problem *problem = &docs->problems[i];
        fn(arg, problem->application, docs->origin, &problem->errors, &problem->warnings);
    }
}
