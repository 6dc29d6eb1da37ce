/* edgible stack deploy: puts the applications, and shows how they come up. */
#include "client.h"
#include "cmd_stack.h"
#include "edgible/mem.h"
#include "terminal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A workload is taken for up once it has run so long: what ends at once never was. */
#define SETTLED_S 1.0
/* A report over a control plane comes a second after the start, and the next one much later. */
#define SETTLED_REPORTED_S 0.3
/* A device that comes back may report before it is said to be there. */
#define BACK_MS 2000
#define LOG_LINES 20

enum part { PART_WAITS, PART_UP, PART_BROKEN };

/* One deploy that is being watched. */
struct watching {
    const struct command_options *options;
    struct strv names;
    struct strv said; /* "app/workload status", as it was printed last; by lines */
    bool rewrites;    /* on a terminal: the lines are written over */
    size_t shown;     /* lines that stand there */
    mono_ms began, until;
    bool any_broken, any_waits;
    char *broken_app, *broken_workload; /* the first one; of a refused document no workload */
    char *refused;                      /* why it is refused; NULL: none is */
    char *not_run; /* the first one that this agent does not run, and its type; NULL: none */
};

static const char *or_empty(const char *text)
{
    return text != NULL ? text : "";
}

static enum part judge(const struct watching *watch, const struct json *w)
{
    double settled_s = watch->options->plane != NULL ? SETTLED_REPORTED_S : SETTLED_S;
    const char *status = or_empty(json_string(w, "status"));
    bool is_away = strcmp(status, "unknown") == 0 && stack_now() - watch->began >= BACK_MS;
    if (strcmp(status, "failed") == 0 || strcmp(status, "rejected") == 0 || is_away) {
        return PART_BROKEN;
    }
    if (strcmp(status, "running") == 0) {
        return json_number(w, "uptimeSeconds", 0) >= settled_s ? PART_UP : PART_WAITS;
    }
    bool is_up = strcmp(status, "completed") == 0 || strcmp(status, "unsupported") == 0;
    return is_up ? PART_UP : PART_WAITS;
}

/* --- showing -------------------------------------------------------------------------------------
 */

static void show_line(struct watching *watch, const char *app, const struct json *w)
{
    const char *status = or_empty(json_string(w, "status"));
    const char *reason = json_string(w, "reason");
    CLEANUP(free)
    char *line = xasprintf("%s/%s %s%s%s", app, or_empty(json_string(w, "name")), status,
                           reason != NULL ? ": " : "", or_empty(reason));
    CLEANUP(free) char *clean = client_clean(line);
    double elapsed = (double) (stack_now() - watch->began) / 1000;
    if (watch->rewrites) {
        terminal_control("\033[2K");
        client_color(watch->options, status);
        (void) printf("%-6.1f s  %.70s\n", elapsed, clean);
        client_color_end(watch->options);
        watch->shown++;
    } else if (!strv_has(&watch->said, clean)) {
        strv_add(&watch->said, clean);
        (void) printf("%.1f s  %s\n", elapsed, clean);
    }
}

static void take_workload(struct watching *watch, const char *app, const struct json *w)
{
    enum part part = judge(watch, w);
    watch->any_waits = watch->any_waits || part == PART_WAITS;
    if (part == PART_BROKEN && !watch->any_broken) {
        watch->any_broken = true;
        watch->broken_app = xstrdup(app);
        watch->broken_workload = xstrdup(or_empty(json_string(w, "name")));
    }
    if (watch->not_run == NULL && strcmp(or_empty(json_string(w, "status")), "unsupported") == 0) {
        watch->not_run = xasprintf("%s/%s is of type '%s'", app, or_empty(json_string(w, "name")),
                                   or_empty(json_string(w, "type")));
    }
    if (!watch->options->json) {
        show_line(watch, app, w);
    }
}

static int look_at(struct watching *watch, const char *name)
{
    CLEANUP(free) char *path = client_app_path(name, "");
    CLEANUP(json) struct json *app = NULL;
    int code = client_get(watch->options, path, &app);
    const struct json *workloads = json_get(app, "workloads");
    if (code != EXIT_OK) {
        return code;
    }
    if (strcmp(or_empty(json_string(app, "targetState")), "suspended") == 0) {
        if (!strv_has(&watch->said, name)) {
            strv_add(&watch->said, name);
            (void) fprintf(stderr,
                           "edgible: %s is suspended, and stays so; `edgible application "
                           "update -i %s --target-state running` starts it\n",
                           name, name);
        }
        return EXIT_OK;
    }
    const char *error = json_item_string(json_first(json_get(app, "errors")));
    if (error != NULL && !watch->any_broken) { /* what runs, if anything, is the version before */
        watch->any_broken = true;
        watch->refused = xasprintf(
            "application '%s' is refused by the device: %s%s", name, error,
            json_number(app, "generation", 0) > 0 ? "; the version before stays in force" : "");
    }
    for (const struct json *w = json_first(workloads); w != NULL; w = json_next(w)) {
        take_workload(watch, name, w);
    }
    return EXIT_OK;
}

static int look(struct watching *watch)
{
    if (watch->rewrites && watch->shown > 0) {
        CLEANUP(free) char *up = xasprintf("\033[%zuA", watch->shown);
        terminal_control(up);
    }
    watch->shown = 0;
    watch->any_waits = false;
    int code = EXIT_OK;
    for (size_t i = 0; i < watch->names.count && code == EXIT_OK; i++) {
        code = look_at(watch, watch->names.items[i]);
    }
    (void) fflush(stdout);
    return code;
}

/* --- what went wrong -----------------------------------------------------------------------------
 */

static int to_stderr(void *arg, const char *data, size_t len)
{
    (void) arg;
    return fwrite(data, 1, len, stderr) == len ? 0 : -1;
}

/* What a report has of its log. */
static void print_last_output(const struct json *workload)
{
    const struct json *output = json_get(json_get(workload, "lastExit"), "output");
    if (json_first(output) != NULL) {
        (void) fprintf(stderr, "The last lines of its log:\n");
    }
    for (const struct json *line = json_first(output); line != NULL; line = json_next(line)) {
        CLEANUP(free) char *clean = client_clean(or_empty(json_item_string(line)));
        (void) fprintf(stderr, "%s\n", clean);
    }
}

static int fail_broken(const struct watching *watch)
{
    CLEANUP(free) char *path = client_app_path(watch->broken_app, "");
    CLEANUP(json) struct json *app = NULL;
    const char *reason = NULL;
    const struct json *broken = NULL;
    if (client_get(watch->options, path, &app) == EXIT_OK) {
        for (const struct json *w = json_first(json_get(app, "workloads")); w != NULL;
             w = json_next(w)) {
            if (strcmp(or_empty(json_string(w, "name")), watch->broken_workload) == 0) {
                reason = json_string(w, "reason");
                broken = w;
            }
        }
    }
    (void) client_fail(EXIT_NOT_OK, "%s/%s did not come up: %s", watch->broken_app,
                       watch->broken_workload, reason != NULL ? reason : "it is refused");
    if (watch->options->plane != NULL) {
        print_last_output(broken);
        return EXIT_NOT_OK;
    }
    CLEANUP(free)
    char *rest = xasprintf("/workloads/%s/logs?lines=%d", watch->broken_workload, LOG_LINES);
    CLEANUP(free) char *log = client_app_path(watch->broken_app, rest);
    (void) fprintf(stderr, "The last lines of its log:\n");
    (void) client_stream(watch->options, log, "text/plain", to_stderr, NULL);
    return EXIT_NOT_OK;
}

/* What is up may be the version before. */
static int check_rolled_back(const struct watching *watch)
{
    for (size_t i = 0; i < watch->names.count; i++) {
        CLEANUP(free) char *path = client_app_path(watch->names.items[i], "");
        CLEANUP(json) struct json *app = NULL;
        int code = client_get(watch->options, path, &app);
        if (code != EXIT_OK) {
            return code;
        }
        const struct json *rolled_back = json_get(app, "rolledBack");
        if (rolled_back != NULL) {
            CLEANUP(free) char *reason = client_clean(or_empty(json_string(rolled_back, "reason")));
            return client_fail(EXIT_NOT_OK,
                               "application '%s' runs generation %.0f: generation %.0f was given "
                               "up: %s; change the document to have it tried again",
                               watch->names.items[i], json_number(rolled_back, "to", 0),
                               json_number(rolled_back, "from", 0), reason);
        }
    }
    return EXIT_OK;
}

/* All that can run is up. */
static int check_not_run(const struct watching *watch)
{
    if (watch->not_run == NULL) {
        return EXIT_OK;
    }
    CLEANUP(free) char *clean = client_clean(watch->not_run);
    return client_fail(EXIT_NOT_OK,
                       "%s, which this agent does not run: it runs managed-process only", clean);
}

static int wait_until_up(struct watching *watch)
{
    for (unsigned looks = 1;; looks++) {
        int code = look(watch);
        if (code != EXIT_OK) {
            return code;
        }
        if (watch->refused != NULL) {
            CLEANUP(free) char *clean = client_clean(watch->refused);
            return client_fail(EXIT_NOT_OK, "%s", clean);
        }
        if (watch->any_broken) {
            return fail_broken(watch);
        }
        if (!watch->any_waits) {
            code = check_rolled_back(watch);
            return code == EXIT_OK ? check_not_run(watch) : code;
        }
        if (stack_now() >= watch->until) {
            return client_fail(EXIT_NOT_OK,
                               "not everything came up in time; `edgible stack status` "
                               "and `edgible application why -i …` say what is missing. "
                               "--timeout waits longer");
        }
        stack_pause(looks);
    }
}

static int print_result(const struct command_options *options, const struct strv *names)
{
    CLEANUP(json) struct json *apps = json_array();
    for (size_t i = 0; i < names->count; i++) {
        CLEANUP(free) char *path = client_app_path(names->items[i], "");
        CLEANUP(json) struct json *app = NULL;
        int code = client_get(options, path, &app);
        if (code != EXIT_OK) {
            return code;
        }
        json_add(apps, steal_ptr(&app));
    }
    client_print_json(apps);
    return EXIT_OK;
}

static int watch_deploy(const struct command_options *options, const struct stack *stack)
{
    struct watching watch = {
        .options = options,
        .rewrites = isatty(STDOUT_FILENO) == 1 && !options->plain && !options->json,
        .began = stack_now(),
        .until = stack_now() + stack_timeout(options),
    };
    stack_names(stack, false, &watch.names);
    int code = options->no_wait ? EXIT_OK : wait_until_up(&watch);
    if (options->json) {
        int printed = print_result(options, &watch.names);
        code = code == EXIT_OK ? printed : code;
    } else if (code == EXIT_OK) {
        (void) printf("%zu application%s %s\n", watch.names.count,
                      watch.names.count == 1 ? "" : "s",
                      options->no_wait ? "deployed; not waited for" : "deployed and up");
    }
    strv_fini(&watch.names);
    strv_fini(&watch.said);
    free(watch.broken_app);
    free(watch.broken_workload);
    free(watch.refused);
    free(watch.not_run);
    return code;
}

/* --- what failed before --------------------------------------------------------------------------
 */

static int start_again(const struct command_options *options, const char *app, const char *workload)
{
    CLEANUP(free) char *path = client_app_path(app, "/restart");
    CLEANUP(json) struct json *wanted = json_object();
    json_set_string(wanted, "workload", workload);
    CLEANUP(free) char *text = json_text(wanted);
    CLEANUP(buf) struct buf body = {0};
    buf_add_str(&body, text);
    int code = client_call(options, "POST", path, &body, 0, NULL);
    if (code == EXIT_OK && !options->json) {
        (void) printf("  %s had failed, and is started again\n", workload);
    }
    return code;
}

/* Who deploys a document again that failed has mended something beside it. */
static int start_failed_again(const struct command_options *options, const char *name)
{
    CLEANUP(free) char *path = client_app_path(name, "");
    CLEANUP(json) struct json *app = NULL;
    int code = client_get(options, path, &app);
    for (const struct json *w = json_first(json_get(app, "workloads"));
         w != NULL && code == EXIT_OK; w = json_next(w)) {
        if (strcmp(or_empty(json_string(w, "status")), "failed") == 0) {
            code = start_again(options, name, or_empty(json_string(w, "name")));
        }
    }
    return code;
}

static int start_unchanged_again(const struct command_options *options, const struct json *plan)
{
    int code = EXIT_OK;
    for (const struct json *app = json_first(plan); app != NULL && code == EXIT_OK;
         app = json_next(app)) {
        if (strcmp(or_empty(json_string(app, "action")), "unchanged") == 0) {
            code = start_failed_again(options, or_empty(json_string(app, "name")));
        }
    }
    return code;
}

int cmd_stack_deploy(const struct command_options *options)
{
    CLEANUP(stack) struct stack stack = {0};
    CLEANUP(json) struct json *plan = NULL;
    int code = stack_read(options, &stack);
    if (code == EXIT_OK) {
        code = client_call(options, "PUT", "/v1/applications", &stack.text, 0, &plan);
    }
    if (code != EXIT_OK) {
        return code;
    }
    if (!options->json) {
        stack_print_plan(plan);
    }
    code = options->plane == NULL ? start_unchanged_again(options, plan) : EXIT_OK;
    (void) fflush(stdout);
    if (code != EXIT_OK) {
        return code;
    }
    return watch_deploy(options, &stack);
}
