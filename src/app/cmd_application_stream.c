/* edgible application events, logs: what goes on with -f. */
#include "client.h"
#include "edgible/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVENT_MAX_BYTES (1024UL * 1024)
#define DEFAULT_LINES 100
#define HEAD_MAX_BYTES 64 /* three numbers */

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
    long long lines;
    double last_seq; /* of what was printed; 0: nothing was */
    struct buf line;
};

static char *events_path(void *arg)
{
    struct following *f = arg;
    buf_clear(&f->line); /* what began is asked for once more */
    CLEANUP(free)
    char *rest = f->last_seq > 0 ? xasprintf("/events?after=%.0f&follow=true", f->last_seq)
                                 : xasprintf("/events?lines=%lld&follow=true", f->lines);
    return client_app_path(f->options->id, rest);
}

/* One line of the stream: what counts is behind "data: ". */
static void take_line(struct following *f)
{
    static const char mark[] = "data: ";
    const char *line = buf_str(&f->line);
    if (strncmp(line, mark, strlen(mark)) != 0) {
        return;
    }
    line += strlen(mark);
    CLEANUP(json) struct json *event = json_parse(line, strlen(line), NULL);
    f->last_seq = event != NULL ? json_number(event, "seq", f->last_seq) : f->last_seq;
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

static int follow(const struct command_options *options, long long lines)
{
    struct following f = {.options = options, .lines = lines};
    struct client_following following = {
        .path = events_path, .accept = "text/event-stream", .on_data = on_data, .arg = &f};
    if (options->plane != NULL) { /* which has none, and says so */
        CLEANUP(free) char *path = events_path(&f);
        return client_get(options, path, NULL);
    }
    int code = client_follow(options, &following);
    buf_fini(&f.line);
    return code;
}

int cmd_application_events(const struct command_options *options)
{
    long long lines = options->lines >= 0 ? (long long) options->lines : DEFAULT_LINES;
    lines = lines < 10000 ? lines : 10000;
    if (options->follow) {
        return follow(options, lines);
    }
    CLEANUP(free) char *rest = xasprintf("/events?lines=%lld", lines);
    CLEANUP(free) char *path = client_app_path(options->id, rest);
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

/* A log that is followed: pieces, each with the place where it is. */
struct log_following {
    const char *path;
    struct buf head;        /* the line before the bytes of a piece, as far as it is there */
    uint64_t inode, offset; /* behind what was printed */
    uint64_t left;          /* bytes of the piece that are still to come */
    bool is_of_log;         /* they are */
    bool has_place;
};

static char *log_path(void *arg)
{
    struct log_following *f = arg;
    buf_clear(&f->head); /* what began is asked for once more */
    f->left = 0;
    return f->has_place ? xasprintf("%s&from=%" PRIu64 ":%" PRIu64, f->path, f->inode, f->offset)
                        : xstrdup(f->path);
}

/* "INODE OFFSET LENGTH" */
static int take_head(struct log_following *f)
{
    char *at = NULL;
    uint64_t inode = strtoull(buf_str(&f->head), &at, 10);
    uint64_t offset = *at == ' ' ? strtoull(at, &at, 10) : 0;
    if (*at != ' ') {
        return -1;
    }
    f->left = strtoull(at, &at, 10);
    if (*at != '\0') {
        return -1;
    }
    buf_clear(&f->head);
    f->is_of_log = inode != 0;
    if (f->is_of_log || !f->has_place) {
        f->inode = inode;
        f->offset = offset;
    }
    f->has_place = true;
    return 0;
}

static int on_log(void *arg, const char *data, size_t len)
{
    struct log_following *f = arg;
    while (len > 0) {
        size_t n = f->left < len ? (size_t) f->left : len;
        if (n > 0 && fwrite(data, 1, n, stdout) != n) {
            return -1;
        }
        f->left -= n;
        f->offset += f->is_of_log ? n : 0;
        data += n;
        len -= n;
        for (bool is_head = f->left == 0; is_head && len > 0; data++, len--) {
            is_head = *data != '\n';
            if (is_head) {
                buf_add_char(&f->head, *data);
            } else if (take_head(f) < 0) {
                return -1;
            }
        }
        if (f->head.len > HEAD_MAX_BYTES) {
            return -1;
        }
    }
    return fflush(stdout) == 0 ? 0 : -1;
}

static int follow_log(const struct command_options *options, const char *path)
{
    struct log_following f = {.path = path};
    struct client_following following = {
        .path = log_path, .accept = "text/plain", .on_data = on_log, .arg = &f};
    int code = client_follow(options, &following);
    buf_fini(&f.head);
    return code;
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
               options->follow ? "true&positions=true" : "false");
    CLEANUP(free) char *path = client_app_path(options->id, rest.data);
    if (options->follow) {
        return follow_log(options, path);
    }
    return options->json ? print_json_lines(options, path) : client_stream_out(options, path);
}
