/* Events over the API: as a list, or as they happen (server-sent events). */
#include "api_private.h"
#include "edgible/buf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINES_MAX EVENT_STORE_MAX_EVENTS

/* One that follows. */
struct event_stream {
    struct events *events;
    struct events_watch *watch;
    struct server_stream *stream;
    struct event_cursor cursor;
    char *needle;    /* what the lines of its application contain; NULL: all events */
    struct buf text; /* what is to be sent */
    size_t sent;
};

static bool is_wanted(const char *line, size_t len, const char *needle)
{
    return needle == NULL || memmem(line, len, needle, strlen(needle)) != NULL;
}

/* --- following -----------------------------------------------------------------------------------
 */

/* The value of a member that holds no quotes. */
static int find_type(const char *line, size_t len, const char **ret)
{
    static const char key[] = "\"type\":\"";
    const char *at = memmem(line, len, key, strlen(key));
    if (at == NULL) {
        return 0;
    }
    *ret = at + strlen(key);
    const char *end = memchr(*ret, '"', len - (size_t) (*ret - line));
    return end != NULL ? (int) (end - *ret) : 0;
}

static bool next_message(struct event_stream *s)
{
    size_t len = 0;
    for (const char *line = event_store_next(events_store(s->events), &s->cursor, &len);
         line != NULL; line = event_store_next(events_store(s->events), &s->cursor, &len)) {
        const char *type = "";
        if (is_wanted(line, len, s->needle)) {
            int type_len = find_type(line, len, &type);
            buf_clear(&s->text);
            s->sent = 0;
            buf_printf(&s->text, "id: %" PRIu64 "\nevent: %.*s\ndata: ", s->cursor.next_seq - 1,
                       type_len, type);
            buf_add(&s->text, line, len);
            buf_add_str(&s->text, "\n\n");
            return true;
        }
    }
    return false;
}

static ssize_t fill(void *arg, char *data, size_t max)
{
    struct event_stream *s = arg;
    size_t done = 0;
    while (done < max) {
        if (s->sent == s->text.len && !next_message(s)) {
            break;
        }
        size_t left = s->text.len - s->sent;
        size_t n = left < max - done ? left : max - done;
        memcpy(data + done, s->text.data + s->sent, n);
        s->sent += n;
        done += n;
    }
    return (ssize_t) done;
}

static void on_close(void *arg)
{
    struct event_stream *s = arg;
    events_unwatch(s->watch);
    event_cursor_fini(&s->cursor);
    buf_fini(&s->text);
    free(s->needle);
    free(s);
}

static void on_event(void *arg)
{
    struct event_stream *s = arg;
    if (s->stream != NULL) {
        server_stream_wake(s->stream);
    }
}

static void follow(struct api *api, const struct api_call *call, uint64_t after, const char *needle)
{
    static const struct server_stream_ops ops = {.fill = fill, .close = on_close};
    struct event_stream *s = xcalloc(1, sizeof(*s));
    s->events = api->params.events;
    s->needle = xstrdup_or_null(needle);
    s->cursor.next_seq = after + 1;
    uint64_t first = event_store_first_seq(events_store(s->events));
    if (after != 0 && first > s->cursor.next_seq) {
        buf_printf(&s->text, ": %" PRIu64 " events are not kept any more\n\n",
                   first - s->cursor.next_seq);
    } else {
        buf_add_str(&s->text, ": follows\n\n"); /* the answer begins at once */
    }
    s->watch = events_watch(s->events, on_event, s);
    s->stream = server_reply_stream(call->request, "text/event-stream", &ops, s);
}

/* --- as a list -----------------------------------------------------------------------------------
 */

/* The number behind which the last `lines` wanted ones begin. */
static uint64_t skip_to(const struct event_store *store, uint64_t after, const char *needle,
                        uint64_t lines)
{
    CLEANUP(free) uint64_t *last = xcalloc(lines > 0 ? (size_t) lines : 1, sizeof(*last));
    struct event_cursor cursor = {.next_seq = after + 1};
    uint64_t count = 0;
    size_t len = 0;
    for (const char *line = event_store_next(store, &cursor, &len); line != NULL && lines > 0;
         line = event_store_next(store, &cursor, &len)) {
        if (is_wanted(line, len, needle)) {
            last[count++ % lines] = cursor.next_seq - 1;
        }
    }
    uint64_t end = cursor.next_seq - 1;
    event_cursor_fini(&cursor);
    if (lines == 0) {
        return event_store_last_seq(store);
    }
    uint64_t first = count > lines ? last[count % lines] : count > 0 ? last[0] : end + 1;
    return first - 1;
}

static void list(const struct api *api, const struct api_call *call, uint64_t after,
                 const char *needle)
{
    struct event_cursor cursor = {.next_seq = after + 1};
    CLEANUP(buf) struct buf text = {0};
    size_t len = 0;
    buf_add_char(&text, '[');
    for (const char *line = event_store_next(events_store(api->params.events), &cursor, &len);
         line != NULL; line = event_store_next(events_store(api->params.events), &cursor, &len)) {
        if (is_wanted(line, len, needle)) {
            buf_add_str(&text, text.len > 1 ? "," : "");
            buf_add(&text, line, len);
        }
    }
    event_cursor_fini(&cursor);
    buf_add_str(&text, "]\n");
    size_t total = text.len;
    server_reply(call->request, 200, "application/json", NULL, buf_steal(&text), total);
}

static void answer(struct api *api, const struct api_call *call, const char *needle)
{
    const char *header = server_request_header(call->request, "Last-Event-ID");
    uint64_t after = 0;
    uint64_t lines = UINT64_MAX;
    bool follows = false;
    int64_t last_id = 0;
    if (!api_query_number(call, "after", INT64_MAX / 2, &after) ||
        !api_query_number(call, "lines", LINES_MAX, &lines) ||
        !api_query_flag(call, "follow", &follows)) {
        return;
    }
    /* A browser that connects again says so; a number that is none counts as none. */
    if (header != NULL && parse_int(header, 0, INT64_MAX / 2, &last_id, NULL) == 0) {
        after = (uint64_t) last_id;
        lines = UINT64_MAX;
    }
    if (lines != UINT64_MAX) {
        after = skip_to(events_store(api->params.events), after, needle, lines);
    }
    if (follows) {
        follow(api, call, after, needle);
    } else {
        list(api, call, after, needle);
    }
}

void api_get_events(struct api *api, const struct api_call *call)
{
    answer(api, call, NULL);
}

/* Of one that is gone the events are there still. */
void api_get_application_events(struct api *api, const struct api_call *call)
{
    CLEANUP(app_report) struct app_report app = {0};
    struct overview view = api_overview(api);
    bool is_known = overview_take_app(&view, call->args[0], 0, &app);
    const char *name = is_known ? app.name : call->args[0];
    CLEANUP(free) char *needle = xasprintf("\"application\":\"%s\",", name);
    if (!is_known) {
        const struct event_store *store = events_store(api->params.events);
        if (strchr(name, '"') != NULL ||
            skip_to(store, 0, needle, 1) >= event_store_last_seq(store)) {
            (void) api_find_app(api, call, 0, &app); /* says that there is none */
            return;
        }
    }
    answer(api, call, needle);
}
