/* edgible stack diff, status, teardown. */
#include "cmd_stack.h"

#include "client.h"
#include "documents.h"
#include "edgible/depgraph.h"
#include "edgible/mem.h"
#include "not_taken.h"
#include "plane.h"
#include "table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_BODY_BYTES (2UL * 1024 * 1024)
#define POLL_MS 200
#define POLL_FIRST_MS 10
#define DEFAULT_TIMEOUT_MS 60000

static const char *or_empty(const char *text)
{
    return text != NULL ? text : "";
}

int stack_read(const struct command_options *options, struct stack *stack)
{
    const struct strv *files = &options->files;
    struct err err = {0};
    char text[ERR_MSG_MAX];
    CLEANUP(free)
    char *what = files->count == 1 ? xasprintf("'%s'", files->items[0])
                                   : xasprintf("the %zu files", files->count);
    const char *verb = files->count == 1 ? "is" : "are";
    if (documents_read(files, MAX_BODY_BYTES, &stack->text, &stack->docs, &err) < 0) {
        return client_fail(EXIT_NOT_OK, "%s", err_text(&err, text, sizeof(text)));
    }
    documents_print_diag(&stack->docs);
    if (app_docs_error_count(&stack->docs) > 0) {
        return client_fail(EXIT_NOT_OK, "%s %s invalid; nothing was sent", what, verb);
    }
    if (stack->docs.count == 0) {
        return client_fail(EXIT_NOT_OK, "there is no document in %s", what);
    }
    if (options->plane != NULL) {
        plane_learn(options->plane, &stack->docs);
    }
    return EXIT_OK;
}

void cleanup_stack(struct stack *stack)
{
    app_docs_fini(&stack->docs);
    buf_fini(&stack->text);
}

mono_ms stack_now(void)
{
    struct timespec ts = {0};
    (void) clock_gettime(CLOCK_MONOTONIC, &ts);
    return (mono_ms) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void stack_pause(unsigned looks)
{
    long ms = looks < POLL_MS / POLL_FIRST_MS ? POLL_FIRST_MS * (long) looks : POLL_MS;
    struct timespec pause = {.tv_nsec = ms * 1000000L};
    (void) nanosleep(&pause, NULL);
}

mono_ms stack_timeout(const struct command_options *options)
{
    return options->timeout_ms >= 0 ? options->timeout_ms : DEFAULT_TIMEOUT_MS;
}

/* --- order ---------------------------------------------------------------------------------------
 */

static size_t index_of(const struct app_docs *docs, const char *name)
{
    for (size_t i = 0; i < docs->count; i++) {
        if (strcmp(docs->docs[i].spec->name, name) == 0) {
            return i;
        }
    }
    return docs->count;
}

struct ranked {
    size_t rank, index;
};

static int compare_ranks(const void *a, const void *b)
{
    const struct ranked *x = a;
    const struct ranked *y = b;
    if (x->rank != y->rank) {
        return x->rank < y->rank ? -1 : 1;
    }
    return (x->index > y->index) - (x->index < y->index);
}

void stack_names(const struct stack *stack, bool reversed, struct strv *names)
{
    const struct app_docs *docs = &stack->docs;
    size_t edge_max = 0;
    size_t edges = 0;
    for (size_t i = 0; i < docs->count; i++) {
        edge_max += docs->docs[i].spec->depends_on.count;
    }
    CLEANUP(free) struct depgraph_edge *list = xcalloc(edge_max + 1, sizeof(*list));
    CLEANUP(free) size_t *ranks = xcalloc(docs->count, sizeof(*ranks));
    CLEANUP(free) struct ranked *order = xcalloc(docs->count, sizeof(*order));
    for (size_t i = 0; i < docs->count; i++) {
        const struct strv *on = &docs->docs[i].spec->depends_on;
        for (size_t k = 0; k < on->count; k++) {
            size_t to = index_of(docs, on->items[k]);
            if (to < docs->count) {
                list[edges++] = (struct depgraph_edge){.from = i, .to = to};
            }
        }
    }
    (void) depgraph_stop_ranks(docs->count, list, edges, ranks);
    for (size_t i = 0; i < docs->count; i++) {
        order[i] = (struct ranked){.rank = ranks[i], .index = i};
    }
    qsort(order, docs->count, sizeof(*order), compare_ranks);
    for (size_t i = 0; i < docs->count; i++) {
        size_t at = reversed ? i : docs->count - 1 - i; /* the rank is that of stopping */
        strv_add(names, docs->docs[order[at].index].spec->name);
    }
}

/* --- diff ----------------------------------------------------------------------------------------
 */

static void print_fields(const struct json *fields, const char *indent)
{
    for (const struct json *f = json_first(fields); f != NULL; f = json_next(f)) {
        CLEANUP(free) char *clean = client_clean(or_empty(json_item_string(f)));
        (void) printf("%s%s\n", indent, clean);
    }
}

static const char *describe_change(const char *change)
{
    static const char *const words[][2] = {
        {"add",     "is added"                              },
        {"remove",  "is removed"                            },
        {"restart", "changes, and is restarted"             },
        {"live",    "changes, and runs on without a restart"},
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (strcmp(words[i][0], change) == 0) {
            return words[i][1];
        }
    }
    return change;
}

void stack_print_plan(const struct json *plan)
{
    for (const struct json *app = json_first(plan); app != NULL; app = json_next(app)) {
        const char *action = or_empty(json_string(app, "action"));
        (void) printf("%s: %s\n", or_empty(json_string(app, "name")),
                      strcmp(action, "create") == 0   ? "is new"
                      : strcmp(action, "update") == 0 ? "changes"
                                                      : "unchanged");
        print_fields(json_get(app, "fields"), "  ");
        for (const struct json *w = json_first(json_get(app, "workloads")); w != NULL;
             w = json_next(w)) {
            const char *kind = or_empty(json_string(w, "change"));
            if (strcmp(kind, "unchanged") != 0) {
                (void) printf("  %s %s\n", or_empty(json_string(w, "name")), describe_change(kind));
                print_fields(json_get(w, "fields"), "    ");
            }
        }
    }
}

int cmd_stack_diff(const struct command_options *options)
{
    CLEANUP(stack) struct stack stack = {0};
    CLEANUP(json) struct json *plan = NULL;
    int code = stack_read(options, &stack);
    if (code == EXIT_OK) {
        code = client_call(options, "PUT", "/v1/applications?dryRun=true", &stack.text, 0, &plan);
    }
    if (code != EXIT_OK) {
        return code;
    }
    bool differs = false;
    for (const struct json *app = json_first(plan); app != NULL; app = json_next(app)) {
        differs = differs || strcmp(or_empty(json_string(app, "action")), "unchanged") != 0;
    }
    if (options->json) {
        client_print_json(plan);
    } else {
        stack_print_plan(plan);
    }
    return differs ? EXIT_NOT_OK : EXIT_OK;
}

/* --- status --------------------------------------------------------------------------------------
 */

static void add_rows(struct table *table, const struct json *app)
{
    const char *name = or_empty(json_string(app, "name"));
    const struct json *workloads = json_get(app, "workloads");
    for (const struct json *w = json_first(workloads); w != NULL; w = json_next(w)) {
        const char *cells[] = {name, or_empty(json_string(w, "name")),
                               or_empty(json_string(w, "status")),
                               or_empty(json_string(w, "reason"))};
        table_add(table, cells);
    }
    CLEANUP(free) char *error = not_taken_errors(app);
    if (error != NULL || json_first(workloads) == NULL) { /* what runs is the version before */
        const char *status = error != NULL ? "rejected" : or_empty(json_string(app, "status"));
        const char *cells[] = {name, "-", status, or_empty(error)};
        table_add(table, cells);
    }
}

static bool is_asked_for(const struct strv *names, const struct json *app)
{
    return names->count == 0 || strv_has(names, or_empty(json_string(app, "name")));
}

int cmd_stack_status(const struct command_options *options)
{
    static const char *const titles[] = {"APPLICATION", "WORKLOAD", "STATUS", "REASON", NULL};
    CLEANUP(stack) struct stack stack = {0};
    CLEANUP(strv) struct strv names = {0};
    CLEANUP(json) struct json *apps = NULL;
    CLEANUP(json) struct json *found = json_array();
    CLEANUP(table) struct table *table = table_new(titles);
    int code = options->files.count > 0 ? stack_read(options, &stack) : EXIT_OK;
    if (code == EXIT_OK && options->files.count > 0) {
        stack_names(&stack, false, &names);
    }
    code = code == EXIT_OK ? client_get(options, "/v1/applications", &apps) : code;
    if (code != EXIT_OK) {
        return code;
    }
    size_t count = 0;
    for (const struct json *app = json_first(apps); app != NULL; app = json_next(app)) {
        if (is_asked_for(&names, app)) {
            CLEANUP(free) char *text = json_text(app);
            text[strlen(text) - 1] = '\0';
            json_add_raw(found, text);
            add_rows(table, app);
            count++;
        }
    }
    if (options->json) {
        client_print_json(found);
    } else {
        table_print_out(table);
    }
    code = not_taken_show(options, NOT_TAKEN_UNLISTED, names.count > 0 ? &names : NULL);
    if (code != EXIT_OK) {
        return code;
    }
    if (count < names.count) {
        return client_fail(EXIT_NOT_OK, "%zu of the %zu applications are not deployed",
                           names.count - count, names.count);
    }
    return EXIT_OK;
}

/* --- teardown ------------------------------------------------------------------------------------
 */

static int wait_until_gone(const struct command_options *options, const char *name, mono_ms until)
{
    CLEANUP(free) char *path = client_app_path(name, "");
    for (unsigned looks = 1;; looks++) {
        CLEANUP(json) struct json *app = NULL;
        long status = 0;
        int code = client_find(options, path, &status, &app);
        if (code != EXIT_OK || status == 404) {
            return code;
        }
        if (stack_now() >= until) {
            return client_fail(EXIT_NOT_OK,
                               "'%s' is not gone yet, it is %s; `edgible application "
                               "why -i %s` says what it waits for",
                               name, or_empty(json_string(app, "status")), name);
        }
        stack_pause(looks);
    }
}

int cmd_stack_teardown(const struct command_options *options)
{
    CLEANUP(stack) struct stack stack = {0};
    CLEANUP(strv) struct strv names = {0};
    int code = EXIT_OK;
    if ((options->files.count == 0) == (options->name == NULL)) {
        return command_usage_error("stack teardown: one of -f FILE and --name APP is wanted");
    }
    if (options->files.count > 0) {
        code = stack_read(options, &stack);
        if (code == EXIT_OK) {
            stack_names(&stack, true, &names);
        }
    } else {
        strv_add(&names, options->name);
    }
    mono_ms until = stack_now() + stack_timeout(options);
    for (size_t i = 0; i < names.count && code == EXIT_OK; i++) {
        CLEANUP(free) char *path = client_app_path(names.items[i], "");
        code = client_call(options, "DELETE", path, NULL, 0, NULL);
        if (code == EXIT_OK && !options->no_wait) {
            code = wait_until_gone(options, names.items[i], until);
        }
        if (code == EXIT_OK && !options->json) {
            (void) printf("%s %s\n", names.items[i],
                          options->no_wait ? "is being removed" : "is removed");
            (void) fflush(stdout);
        }
    }
    if (code == EXIT_OK && options->json) {
        CLEANUP(json) struct json *removed = json_array();
        for (size_t i = 0; i < names.count; i++) {
            json_add_string(removed, names.items[i]);
        }
        client_print_json(removed);
    }
    return code;
}
