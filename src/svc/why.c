#include "why.h"

#include "edgible/clock_floor.h"
#include "edgible/parse.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Events of an application that are told. */
#define HISTORY_MAX 12

static void add_exit(const struct exit_report *end, struct json *because)
{
    char at[48];
    char uptime[48];
    CLEANUP(buf) struct buf text = {0};
    if (!end->present) {
        return;
    }
    buf_printf(&text, "its last run ended at %s", format_rfc3339(end->at_unix_ms, at, sizeof(at)));
    if (end->uptime_ms >= 0) {
        buf_printf(&text, " after %s", format_duration(end->uptime_ms, uptime, sizeof(uptime)));
    }
    if (end->stage != NULL) {
        buf_printf(&text, ": it could not be started (%s%s%s)", end->stage,
                   end->errno_name != NULL ? ": " : "",
                   end->errno_name != NULL ? end->errno_name : "");
    } else if (end->signal != NULL) {
        buf_printf(&text, ", killed by %s%s", end->signal,
                   end->oom_killed    ? " for want of memory (OOM)"
                   : end->core_dumped ? " (core dumped)"
                                      : "");
    } else if (end->has_code) {
        buf_printf(&text, " with status %" PRId64, end->code);
    } else {
        buf_add_str(&text, "; its status is not known");
    }
    if (end->unhealthy != NULL) {
        buf_printf(&text, "; the agent ended it, as it failed its health check: %s",
                   end->unhealthy);
    }
    json_add_string(because, text.data);
    for (size_t i = end->output.count > 3 ? end->output.count - 3 : 0; i < end->output.count; i++) {
        CLEANUP(free) char *line = xasprintf("it printed: %s", end->output.items[i]);
        json_add_string(because, line);
    }
}

static void add_ports(const struct workload_report *w, struct json *because)
{
    for (size_t i = 0; i < w->port_count && w->pid != 0; i++) {
        const struct port_report *port = &w->ports[i];
        if (port->is_known && !port->listening) {
            CLEANUP(free)
            char *text = xasprintf("nothing of it listens on its port %s%s%d/%s",
                                   port->spec->name != NULL ? port->spec->name : "",
                                   port->spec->name != NULL ? " " : "",
                                   (int) port->spec->container_port, port->spec->protocol);
            json_add_string(because, text);
        }
    }
}

static void add_causes(const struct workload_report *w, struct json *because)
{
    if (w->reason != NULL) {
        json_add_string(because, w->reason);
    }
    add_exit(&w->last_exit, because);
    if (w->restarts > 0) {
        CLEANUP(free)
        char *text = xasprintf("it was restarted %" PRId64 " time%s so far", w->restarts,
                               w->restarts == 1 ? "" : "s");
        json_add_string(because, text);
    }
    add_ports(w, because);
    for (int i = 0; i < LIMIT_COUNT; i++) {
        if (w->limits[i] == LIMIT_NOT_IN_FORCE) {
            CLEANUP(free)
            char *text = xasprintf("its limit of %s is not in force: this system gives the agent "
                                   "no way to it (docs/v3.md, limits)",
                                   limit_name((enum limit_kind) i));
            json_add_string(because, text);
        }
    }
    if (w->log_full) {
        json_add_string(because, "its log cannot be written, and what it prints is dropped");
    }
}

/* The caller frees. */
static char *next_of(const struct app_report *app, const struct workload_report *w)
{
    char at[48];
    const char *when =
        w->next_start_unix_ms != 0 ? format_rfc3339(w->next_start_unix_ms, at, sizeof(at)) : NULL;
    switch (w->status) {
    case STATUS_BACKOFF:
        return xasprintf("it starts again at %s", when != NULL ? when : "once");
    case STATUS_FAILED:
        return when != NULL
                   ? xasprintf("it is tried again at %s (retryFailedAfter)", when)
                   : xasprintf("nothing, until the document changes or somebody runs `edgible "
                               "application restart -i %s`",
                               app->name);
    case STATUS_STARTING:
        return xstrdup(w->started_at_unix_ms != 0 && w->pid != 0
                           ? "it is running once it passes its health check"
                           : "it runs as soon as its program is executed");
    case STATUS_PENDING:
        return xstrdup("it starts when what it waits for is there");
    case STATUS_STOPPING:
        return xstrdup(app->suspended ? "it stays stopped once nothing of it is left"
                                      : "what is wanted of it is done once nothing of it is left");
    case STATUS_STOPPED:
        return xasprintf("nothing, until `edgible application update -i %s --target-state running`",
                         app->name);
    case STATUS_COMPLETED:
        return xstrdup("nothing: it ended, and its restart policy says that this is its end");
    case STATUS_REJECTED:
        return xstrdup("nothing, until what refuses it is changed");
    case STATUS_UNSUPPORTED:
        return xstrdup("nothing: this agent runs managed-process only");
    case STATUS_UNHEALTHY:
        return xstrdup("it is restarted by its restart policy; where that is never, it is running "
                       "again once it passes its health check");
    case STATUS_RUNNING:
    case STATUS_COUNT:
        break;
    }
    return xstrdup("nothing: it runs");
}

static struct json *workload_why(const struct app_report *app, const struct workload_report *w)
{
    struct json *json = json_object();
    struct json *because = json_array();
    CLEANUP(free) char *next = next_of(app, w);
    json_set_string(json, "name", w->name);
    json_set_string(json, "status", status_name(w->status));
    json_set_time(json, "since",
                  w->started_at_unix_ms != 0 ? w->started_at_unix_ms : w->last_exit.at_unix_ms);
    add_causes(w, because);
    json_set(json, "because", because);
    json_set_string(json, "next", next);
    return json;
}

/* The last events of the application. */
static struct json *history_json(const char *application, const struct event_store *store)
{
    CLEANUP(free) char *needle = xasprintf("\"application\":\"%s\",", application);
    char *lines[HISTORY_MAX] = {0};
    size_t count = 0;
    struct event_cursor cursor = {0};
    size_t len = 0;
    for (const char *line = event_store_next(store, &cursor, &len); line != NULL;
         line = event_store_next(store, &cursor, &len)) {
        if (memmem(line, len, needle, strlen(needle)) != NULL) {
            free(lines[count % HISTORY_MAX]);
            lines[count % HISTORY_MAX] = xstrndup(line, len);
            count++;
        }
    }
    event_cursor_fini(&cursor);
    struct json *json = json_array();
    for (size_t i = count > HISTORY_MAX ? count - HISTORY_MAX : 0; i < count; i++) {
        json_add_raw(json, lines[i % HISTORY_MAX]);
    }
    for (size_t i = 0; i < HISTORY_MAX; i++) {
        free(lines[i]);
    }
    return json;
}

struct json *why_json(const struct app_report *app, const struct event_store *history)
{
    struct json *json = json_object();
    struct json *because = json_array();
    struct json *workloads = json_array();
    json_set_string(json, "application", app->name);
    json_set_string(json, "id", app->id);
    json_set_string(json, "status", status_name_of_app(app->status));
    json_set_string(json, "targetState", app->suspended ? "suspended" : "running");
    if (app->suspended) {
        json_add_string(because, "somebody set its target state to suspended");
    }
    if (app->rolled_back_reason != NULL) {
        CLEANUP(free)
        char *text = xasprintf("it was rolled back from generation %" PRId64 " to %" PRId64
                               ", as %s; that version is not tried again until its document "
                               "changes",
                               app->rolled_back_from, app->rolled_back_to, app->rolled_back_reason);
        json_add_string(because, text);
    }
    if (app->generation == 0) {
        json_add_string(because, "no version of it was ever accepted");
    } else if (app->errors.count > 0) {
        CLEANUP(free)
        char *text = xasprintf("what the source says now is not taken; generation %" PRId64
                               " stays in force",
                               app->generation);
        json_add_string(because, text);
    }
    for (size_t i = 0; i < app->errors.count; i++) {
        json_add_string(because, app->errors.items[i]);
    }
    for (size_t i = 0; i < app->warnings.count; i++) {
        json_add_string(because, app->warnings.items[i]);
    }
    CLEANUP(free) char *clock = clock_floor_explain();
    if (clock != NULL) {
        json_add_string(because, clock);
    }
    for (size_t i = 0; i < app->workload_count; i++) {
        json_add(workloads, workload_why(app, &app->workloads[i]));
    }
    json_set(json, "because", because);
    json_set(json, "workloads", workloads);
    json_set(json, "history", history_json(app->name, history));
    return json;
}
