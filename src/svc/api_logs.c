/* Logs over the API: of workloads, read by threads of their own, and the agent's, from memory. */
#include "api_private.h"
#include "edgible/log.h"
#include "edgible/log_reader.h"
#include "edgible/parse.h"
#include "edgible/workload.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_LINES 100

/* One reader of a workload's log. */
struct log_stream {
    struct list link; /* in api.log_streams */
    struct api *api;
    char *application, *workload, *file;
    struct log_reader *reader;
    struct loop_async *async;
    struct server_stream *stream;
};

/* --- workloads' ----------------------------------------------------------------------------------
 */

/* On the reader's thread. */
static void on_notify(void *arg)
{
    struct log_stream *s = arg;
    loop_async_send(s->async);
}

static void on_async(void *arg)
{
    struct log_stream *s = arg;
    if (s->stream != NULL) {
        server_stream_wake(s->stream);
    }
}

static ssize_t fill(void *arg, char *data, size_t max)
{
    struct log_stream *s = arg;
    struct err err = {0};
    char text[ERR_MSG_MAX];
    ssize_t n = log_reader_take(s->reader, data, max, &err);
    if (n < 0 && err.msg[0] != '\0') {
        log_warn("api", "the log of %s/%s cannot be read: %s", s->application, s->workload,
                 err_text(&err, text, sizeof(text)));
    }
    return n;
}

static void on_close(void *arg)
{
    struct log_stream *s = arg;
    list_remove(&s->link);
    log_reader_free(s->reader);
    loop_async_free(s->async);
    free(s->application);
    free(s->workload);
    free(s->file);
    free(s);
}

/* What is asked for. */
struct log_query {
    uint64_t lines;
    bool follows, framed, has_from;
    struct log_position from;
};

/* "INODE:OFFSET" */
static bool query_position(const struct api_call *call, struct log_query *query)
{
    const char *text = server_request_query(call->request, "from");
    const char *colon = text != NULL ? strchr(text, ':') : NULL;
    CLEANUP(free) char *inode = colon != NULL ? xstrndup(text, (size_t) (colon - text)) : NULL;
    int64_t numbers[2] = {0};
    if (text == NULL) {
        return true;
    }
    if (colon == NULL || parse_int(inode, 0, INT64_MAX, &numbers[0], NULL) < 0 ||
        parse_int(colon + 1, 0, INT64_MAX, &numbers[1], NULL) < 0) {
        api_reply_problem(call, 400, NULL,
                          "the query parameter 'from' must be INODE:OFFSET, as a piece of the log "
                          "with positions=true has them");
        return false;
    }
    query->has_from = true;
    query->from = (struct log_position){(uint64_t) numbers[0], (uint64_t) numbers[1]};
    return true;
}

static void start_stream(struct api *api, const struct api_call *call, const char *application,
                         const struct workload *w, const struct log_query *query)
{
    static const struct server_stream_ops ops = {.fill = fill, .close = on_close};
    struct err err = {0};
    char text[ERR_MSG_MAX];
    const struct workload_spec *spec = workload_spec(w);
    struct log_stream *s = xcalloc(1, sizeof(*s));
    list_init(&s->link);
    s->api = api;
    s->application = xstrdup(application);
    s->workload = xstrdup(spec->name);
    s->file = workload_log_file(w);
    s->async = loop_async_new(api->params.loop, on_async, s);
    struct log_reader_params params = {
        .file = s->file,
        .owner = workload_log_owner(w),
        .allowed = workload_log_allowed(w),
        .place = workload_log_place(w),
        .max_files = (unsigned) spec->logs.max_files,
        .lines = (size_t) query->lines,
        .from = query->has_from ? &query->from : NULL,
        .framed = query->framed,
        .follow = query->follows,
        .notify = on_notify,
        .arg = s,
    };
    s->reader = log_reader_new(&params, &err);
    if (s->reader == NULL) {
        on_close(s);
        api_reply_problem(call, 500, NULL, "the log cannot be read: %s",
                          err_text(&err, text, sizeof(text)));
        return;
    }
    list_add_tail(&api->log_streams, &s->link);
    s->stream = server_reply_stream(call->request, "text/plain; charset=utf-8", &ops, s);
}

void api_get_logs(struct api *api, const struct api_call *call)
{
    struct log_query query = {.lines = DEFAULT_LINES};
    CLEANUP(app_report) struct app_report app = {0};
    if (!api_query_number(call, "lines", LOG_READER_MAX_LINES, &query.lines) ||
        !api_query_flag(call, "follow", &query.follows) ||
        !api_query_flag(call, "positions", &query.framed) || !query_position(call, &query) ||
        !api_find_app(api, call, 0, &app)) {
        return;
    }
    const struct workload *w = supervisor_find(api->params.supervisor, app.name, call->args[1]);
    if (w == NULL) {
        api_reply_problem(call, 404, NULL,
                          "application '%s' has no workload '%.100s' that runs on this device, and "
                          "so no log of it",
                          app.name, call->args[1]);
        return;
    }
    if (workload_spec_has_no_log(workload_spec(w))) {
        api_reply_problem(
            call, 409, NULL,
            "workload '%s' of application '%s' has no log: its logFile is " APPSPEC_NO_LOG,
            workload_spec(w)->name, app.name);
        return;
    }
    start_stream(api, call, app.name, w, &query);
}

/* A new version of an application may have moved its log, and one made anew opens it anew. */
void api_logs_on_event(void *arg)
{
    struct api *api = arg;
    list_each (it, &api->log_streams) {
        struct log_stream *s = list_entry(it, struct log_stream, link);
        const struct workload *w =
            supervisor_find(api->params.supervisor, s->application, s->workload);
        CLEANUP(free) char *file = w != NULL ? workload_log_file(w) : NULL;
        if (file != NULL && !workload_spec_has_no_log(workload_spec(w))) {
            struct log_owner owner = workload_log_owner(w);
            log_reader_set_file(s->reader, file, &owner, workload_log_allowed(w),
                                (unsigned) workload_spec(w)->logs.max_files, workload_log_place(w));
        }
    }
}

/* --- the agent's ---------------------------------------------------------------------------------
 */

struct agent_log_stream {
    struct log_cursor cursor;
    struct log_watch *watch;
    struct loop_async *async;
    struct server_stream *stream;
    struct buf text;
    size_t sent;
    bool follows;
};

static void on_agent_line(void *arg)
{
    struct agent_log_stream *s = arg;
    loop_async_send(s->async);
}

static void on_agent_async(void *arg)
{
    struct agent_log_stream *s = arg;
    if (s->stream != NULL) {
        server_stream_wake(s->stream);
    }
}

static ssize_t fill_agent(void *arg, char *data, size_t max)
{
    struct agent_log_stream *s = arg;
    size_t done = 0;
    while (done < max) {
        if (s->sent == s->text.len) {
            buf_clear(&s->text);
            s->sent = 0;
            if (!log_next(&s->cursor, &s->text)) {
                break;
            }
        }
        size_t left = s->text.len - s->sent;
        size_t n = left < max - done ? left : max - done;
        memcpy(data + done, s->text.data + s->sent, n);
        s->sent += n;
        done += n;
    }
    return done == 0 && !s->follows ? -1 : (ssize_t) done;
}

static void close_agent(void *arg)
{
    struct agent_log_stream *s = arg;
    log_unwatch(s->watch);
    loop_async_free(s->async);
    buf_fini(&s->text);
    free(s);
}

void api_get_agent_logs(struct api *api, const struct api_call *call)
{
    static const struct server_stream_ops ops = {.fill = fill_agent, .close = close_agent};
    const char *level = server_request_query(call->request, "level");
    uint64_t lines = DEFAULT_LINES;
    bool follows = false;
    enum log_level wanted = LOG_DEBUG;
    if (!api_query_number(call, "lines", LOG_KEPT_LINES, &lines) ||
        !api_query_flag(call, "follow", &follows)) {
        return;
    }
    if (level != NULL && log_level_parse(level, &wanted) < 0) {
        api_reply_problem(call, 400, NULL, "'%.40s' is no level: it is error, warn, info or debug",
                          level);
        return;
    }
    struct agent_log_stream *s = xcalloc(1, sizeof(*s));
    s->follows = follows;
    s->async = loop_async_new(api->params.loop, on_agent_async, s);
    log_cursor_init(&s->cursor, (size_t) lines, wanted,
                    server_request_query(call->request, "module"));
    s->watch = follows ? log_watch(on_agent_line, s) : NULL;
    s->stream = server_reply_stream(call->request, "text/plain; charset=utf-8", &ops, s);
}
