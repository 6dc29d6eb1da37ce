/* edgible application events, logs: what goes on with -f. */
#include "client.h"
#include "edgible/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVENT_MAX_BYTES (1024UL * 1024)
#define DEFAULT_LINES 100

static const char *or_empty(const char *text)
{
    return text != NULL ? text : "";
}

/* --- events --------------------------------------------------------------------------------------
 */

static void print_event(const struct json *event)
{
    CLEANUP(free)
    char *line =
        xasprintf("%s  %-12s %s", or_empty(json_string(event, "at")),
                  or_empty(json_string(event, "type")), or_empty(json_string(event, "message")));
    CLEANUP(free) char *clean = client_clean(line);
    (void) printf("%s\n", clean);
}

struct following {
    const struct command_options *options;
    struct buf line;
};

/* One line of the stream: what counts is behind "data: ". */
static void take_line(const struct following *f)
{
    static const char mark[] = "data: ";
    const char *line = buf_str(&f->line);
    if (strncmp(line, mark, strlen(mark)) != 0) {
        return;
    }
    line += strlen(mark);
    CLEANUP(json) struct json *event = json_parse(line, strlen(line), NULL);
    if (event != NULL && f->options->json) {
        client_print_json(event);
    } else if (event != NULL) {
        print_event(event);
    }
}

static int on_data(void *arg, const char *data, size_t len)
{
    struct following *f = arg;
    for (size_t i = 0; i < len; i++) {
        if (data[i] != '\n') {
            buf_add_char(&f->line, data[i]);
        } else {
            take_line(f);
            buf_clear(&f->line);
        }
    }
    return f->line.len > EVENT_MAX_BYTES || fflush(stdout) != 0 ? -1 : 0;
}

static int follow(const struct command_options *options, const char *path)
{
    struct following f = {.options = options};
    int code = client_stream(options, path, "text/event-stream", on_data, &f);
    buf_fini(&f.line);
    return code;
}

int cmd_application_events(const struct command_options *options)
{
    long long lines = options->lines >= 0 ? (long long) options->lines : DEFAULT_LINES;
    CLEANUP(free)
    char *rest = xasprintf("/events?lines=%lld%s", lines < 10000 ? lines : 10000,
                           options->follow ? "&follow=true" : "");
    CLEANUP(free) char *path = client_app_path(options->id, rest);
    if (options->follow) {
        return follow(options, path);
    }
    CLEANUP(json) struct json *events = NULL;
    int code = client_get(options, path, &events);
    if (code == EXIT_OK && options->json) {
        client_print_json(events);
        return code;
    }
    for (const struct json *event = json_first(events); event != NULL; event = json_next(event)) {
        print_event(event);
    }
    return code;
}

/* --- logs ----------------------------------------------------------------------------------------
 */

/* The only workload that has a log; NULL after it was said that there are several, or none. */
static char *only_workload(const struct command_options *options, int *ret_code)
{
    CLEANUP(free) char *path = client_app_path(options->id, "");
    CLEANUP(json) struct json *app = NULL;
    CLEANUP(buf) struct buf names = {0};
    const char *only = NULL;
    size_t count = 0;
    *ret_code = client_get(options, path, &app);
    if (*ret_code != EXIT_OK) {
        return NULL;
    }
    for (const struct json *w = json_first(json_get(app, "workloads")); w != NULL;
         w = json_next(w)) {
        if (json_get(w, "log") != NULL) {
            only = or_empty(json_string(w, "name"));
            buf_printf(&names, "%s%s", count++ > 0 ? ", " : "", only);
        }
    }
    if (count == 1) {
        return xstrdup(only);
    }
    *ret_code = count == 0 ? client_fail(EXIT_NOT_OK, "application '%s' has no workload with a log",
                                         options->id)
                           : client_fail(EXIT_USAGE,
                                         "application '%s' has several workloads; "
                                         "which one? --workload %s",
                                         options->id, names.data);
    return NULL;
}

static int collect(void *arg, const char *data, size_t len)
{
    struct buf *text = arg;
    buf_add(text, data, len);
    return text->len < HTTP_MAX_ANSWER_BYTES ? 0 : -1;
}

/* As an array of lines. */
static int print_json_lines(const struct command_options *options, const char *path)
{
    CLEANUP(buf) struct buf text = {0};
    CLEANUP(json) struct json *lines = json_array();
    int code = client_stream(options, path, "text/plain", collect, &text);
    if (code != EXIT_OK) {
        return code;
    }
    for (const char *at = buf_str(&text); *at != '\0';) {
        size_t len = strcspn(at, "\n");
        CLEANUP(free) char *line = xstrndup(at, len);
        json_add_string(lines, line);
        at += len + (at[len] == '\n' ? 1 : 0);
    }
    client_print_json(lines);
    return EXIT_OK;
}

int cmd_application_logs(const struct command_options *options)
{
    if (options->plane != NULL) { /* which has none, and says so */
        CLEANUP(free) char *any = client_app_path(options->id, "/workloads/-/logs");
        return client_get(options, any, NULL);
    }
    int code = EXIT_OK;
    CLEANUP(free)
    char *workload =
        options->workload != NULL ? xstrdup(options->workload) : only_workload(options, &code);
    if (workload == NULL) {
        return code;
    }
    if (options->json && options->follow) {
        return command_usage_error("application logs: --json and -f do not go together");
    }
    CLEANUP(buf) struct buf rest = {0};
    buf_add_str(&rest, "/workloads/");
    http_add_escaped(&rest, workload);
    buf_printf(&rest, "/logs?lines=%lld&follow=%s",
               options->lines >= 0 ? (long long) options->lines : DEFAULT_LINES,
               options->follow ? "true" : "false");
    CLEANUP(free) char *path = client_app_path(options->id, rest.data);
    return options->json ? print_json_lines(options, path) : client_stream_out(options, path);
}
