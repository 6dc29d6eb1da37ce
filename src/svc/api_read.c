/* What the API tells: the agent, its health, applications, and why they are as they are. */
#include "api_private.h"
#include "edgible/buf.h"
#include "edgible/clock.h"
#include "edgible/clock_floor.h"
#include "edgible/log.h"
#include "edgible/loop.h"
#include "edgible/proc_usage.h"
#include "metrics.h"
#include "why.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of all documents that are not taken, so many are told with the agent. */
#define PROBLEMS_TOLD 20

/* --- the agent -----------------------------------------------------------------------------------
 */

static struct json *source_json(const struct api *api)
{
    struct json *json = json_object();
    if (api->source == NULL) {
        json_set_string(json, "state", "closed");
        return json;
    }
    struct source_state state;
    source_describe(api->source, &state);
    json_set_string(json, "type", state.type);
    json_set_string(json, "location", state.location);
    json_set_string(json, "mode", state.mode);
    json_set_string(json, "state",
                    state.trouble != NULL     ? "lost"
                    : state.last_contact >= 0 ? "ok"
                                              : "unknown");
    int64_t to_unix_ms = clock_unix_ms() - loop_now();
    if (state.last_contact >= 0) {
        json_set_time(json, "lastContactAt", to_unix_ms + state.last_contact);
    }
    if (state.next_contact >= 0) {
        json_set_time(json, "nextContactAt", to_unix_ms + state.next_contact);
    }
    json_set_string(json, "error", state.trouble);
    source_add_details(api->source, json);
    return json;
}

static struct json *counts_json(const struct device_report *device)
{
    int64_t counts[STATUS_COUNT] = {0};
    int64_t total = 0;
    for (size_t i = 0; i < device->count; i++) {
        for (size_t k = 0; k < device->apps[i].workload_count; k++) {
            counts[device->apps[i].workloads[k].status]++;
            total++;
        }
    }
    struct json *json = json_object();
    json_set_int(json, "total", total);
    for (int i = 0; i < STATUS_COUNT; i++) {
        if (counts[i] > 0) {
            json_set_int(json, status_name((enum status) i), counts[i]);
        }
    }
    return json;
}

/* The first of them, and how many more there are; NULL: none. The caller frees. */
static char *error_summary(const struct strv *errors)
{
    if (errors->count < 2) {
        return errors->count == 1 ? xstrdup(errors->items[0]) : NULL;
    }
    return xasprintf("%s; and %zu more", errors->items[0], errors->count - 1);
}

static void add_problem(struct json *problems, const char *status, const char *application,
                        const char *message)
{
    if (json_count(problems) < PROBLEMS_TOLD) {
        struct json *json = json_object();
        json_set_string(json, "status", status);
        json_set_string(json, "application", application);
        json_set_string(json, "message", message);
        json_add(problems, json);
    }
}

/* What of the source's documents is not taken. */
static struct json *documents_json(const struct device_report *device)
{
    struct json *json = json_object();
    struct json *problems = json_array();
    size_t rejected = device->unread;
    for (size_t i = 0; i < device->errors.count; i++) {
        add_problem(problems, "rejected", NULL, device->errors.items[i]);
    }
    for (size_t i = 0; i < device->count; i++) {
        CLEANUP(free) char *summary = error_summary(&device->apps[i].errors);
        if (summary != NULL) {
            rejected++;
            add_problem(problems, "rejected", device->apps[i].name, summary);
        }
    }
    for (size_t i = 0; i < device->ignored.count; i++) {
        add_problem(problems, "ignored", device->ignored.items[i], device->ignored_why.items[i]);
    }
    json_set_int(json, "rejected", (int64_t) rejected);
    json_set_int(json, "ignored", (int64_t) device->ignored_count);
    json_set(json, "problems", problems);
    return json;
}

static struct json *device_json(const struct config *config)
{
    struct json *json = json_object();
    json_set_string(json, "name", config->device_name);
    json_set_string(json, "id", config->device_id);
    json_set_string(json, "organization", config->organization);
    return json;
}

static struct json *clock_json(void)
{
    enum clock_floor_source unused;
    struct json *json = json_object();
    CLEANUP(free) char *reason = clock_floor_explain();
    json_set_string(json, "state", reason == NULL ? "set" : "unset");
    json_set_time(json, "notBefore", clock_floor_ms(&unused));
    json_set_string(json, "reason", reason);
    return json;
}

static struct json *self_json(void)
{
    struct proc_self_usage usage = proc_usage_read_self();
    struct json *json = json_object();
    json_set_int(json, "memoryBytes", (int64_t) usage.memory_bytes);
    json_set_int(json, "openFiles", (int64_t) usage.open_files);
    json_set_seconds(json, "cpuSeconds", (int64_t) usage.cpu_ms);
    return json;
}

void api_get_agent(struct api *api, const struct api_call *call)
{
    const struct config *config = api->params.config;
    CLEANUP(device_report) struct device_report device = {0};
    struct overview view = api_overview(api);
    overview_take(&view, OVERVIEW_BRIEF, &device);
    CLEANUP(json) struct json *json = json_object();
    json_set_string(json, "version", EDGIBLE_VERSION);
    json_set_int(json, "pid", getpid());
    json_set_time(json, "startedAt", clock_moment_unix_ms(&api->started));
    json_set_seconds(json, "uptimeSeconds", loop_now() - api->started_at);
    json_set_string(json, "bootId", api->params.boot_id);
    json_set_string(json, "configFile", config->file);
    json_set(json, "device", device_json(config));
    json_set(json, "clock", clock_json());
    json_set(json, "source", source_json(api));
    json_set_string(json, "logLevel", log_level_name(log_get_level()));
    json_set_int(json, "applications", (int64_t) device.count);
    json_set(json, "workloads", counts_json(&device));
    json_set(json, "documents", documents_json(&device));
    json_set_int(json, "lastEvent", (int64_t) events_last_seq(api->params.events));
    json_set(json, "resources", self_json());
    api_reply_json(call, 200, json);
}

/* --- health --------------------------------------------------------------------------------------
 */

static void add_app_reasons(const struct app_report *app, struct strv *reasons)
{
    for (size_t i = 0; i < app->workload_count; i++) {
        const struct workload_report *w = &app->workloads[i];
        if (status_is_bad(w->status)) {
            strv_add_take(reasons, xasprintf("%s/%s is in status %s%s%s", app->name, w->name,
                                             status_name(w->status), w->reason != NULL ? ": " : "",
                                             w->reason != NULL ? w->reason : ""));
        }
        if (w->log_full) {
            strv_add_take(reasons, xasprintf("%s/%s: its log cannot be written, and what it prints "
                                             "is dropped",
                                             app->name, w->name));
        }
    }
    for (size_t i = 0; i < app->errors.count; i++) {
        strv_add_take(reasons, xasprintf("%s: what the source says now is not taken: %s", app->name,
                                         app->errors.items[i]));
    }
    for (size_t i = 0; i < app->warnings.count; i++) {
        strv_add_take(reasons, xasprintf("%s: %s", app->name, app->warnings.items[i]));
    }
}

static void collect_reasons(const struct api *api, struct strv *reasons)
{
    CLEANUP(device_report) struct device_report device = {0};
    struct overview view = api_overview(api);
    overview_take(&view, OVERVIEW_BRIEF, &device);
    struct source_state state = {0};
    struct err err = {0};
    char text[ERR_MSG_MAX];
    if (api->source != NULL) {
        source_describe(api->source, &state);
    }
    if (state.trouble != NULL) {
        strv_add_take(reasons, xasprintf("the source '%s' cannot be read: %s", state.location,
                                         state.trouble));
    }
    if (state.unwatched != NULL) {
        strv_add_take(reasons, xasprintf("the source is polled each 5 s: %s", state.unwatched));
    }
    if (persist_has_trouble(api->params.persist, &err)) {
        strv_add_take(reasons, xasprintf("records cannot be written, and a reboot would lose what "
                                         "is new: %s",
                                         err_text(&err, text, sizeof(text))));
    }
    if (persist_has_volatile_trouble(api->params.persist, &err)) {
        strv_add_take(reasons,
                      xasprintf("records of this boot cannot be written, and an agent that "
                                "is killed leaves an older state behind: %s",
                                err_text(&err, text, sizeof(text))));
    }
    CLEANUP(free) char *clock = clock_floor_explain();
    if (clock != NULL) {
        strv_add(reasons, clock);
    }
    if (loop_lacks_epoll()) {
        strv_add(reasons, LOOP_LACKS_EPOLL);
    }
    for (size_t i = 0; i < device.errors.count; i++) {
        strv_add(reasons, device.errors.items[i]);
    }
    for (size_t i = 0; i < device.count; i++) {
        add_app_reasons(&device.apps[i], reasons);
    }
}

void api_get_health(struct api *api, const struct api_call *call)
{
    CLEANUP(strv) struct strv reasons = {0};
    collect_reasons(api, &reasons);
    CLEANUP(json) struct json *json = json_object();
    json_set_string(json, "status", reasons.count == 0 ? "ok" : "unhealthy");
    json_set_strings(json, "reasons", &reasons);
    api_reply_json(call, reasons.count == 0 ? 200 : 503, json);
}

static struct json *health_row(const struct app_report *app, const struct workload_report *w)
{
    struct json *json = json_object();
    json_set_string(json, "application", app->name);
    json_set_string(json, "applicationId", app->id);
    if (w == NULL) {
        json_set_string(json, "status", status_name_of_app(app->status));
        CLEANUP(free) char *reason = error_summary(&app->errors);
        json_set_string(json, "reason", reason);
        return json;
    }
    json_set_string(json, "workload", w->name);
    json_set_string(json, "type", w->type);
    json_set_string(json, "status", status_name(w->status));
    json_set_string(json, "reason", w->reason);
    if (w->pid != 0) {
        json_set_int(json, "pid", w->pid);
    }
    if (w->supported) {
        json_set_int(json, "restarts", w->restarts);
    }
    if (w->uptime_ms >= 0) {
        json_set_seconds(json, "uptimeSeconds", w->uptime_ms);
    }
    return json;
}

void api_get_application_health(struct api *api, const struct api_call *call)
{
    const char *device_name = api->params.config->device_name;
    const char *wanted = server_request_query(call->request, "device");
    if (wanted != NULL && strcmp(wanted, device_name) != 0) {
        api_reply_problem(call, 404, NULL, "this agent is of the device '%s', not '%.100s'",
                          device_name, wanted);
        return;
    }
    CLEANUP(device_report) struct device_report device = {0};
    struct overview view = api_overview(api);
    overview_take(&view, OVERVIEW_BRIEF, &device);
    CLEANUP(json) struct json *rows = json_array();
    for (size_t i = 0; i < device.count; i++) {
        const struct app_report *app = &device.apps[i];
        for (size_t k = 0; k < app->workload_count; k++) {
            json_add(rows, health_row(app, &app->workloads[k]));
        }
        if (app->workload_count == 0) {
            json_add(rows, health_row(app, NULL));
        }
    }
    api_reply_json(call, 200, rows);
}

/* --- applications --------------------------------------------------------------------------------
 */

static void reply_applications(struct api *api, const struct api_call *call)
{
    CLEANUP(device_report) struct device_report device = {0};
    struct overview view = api_overview(api);
    overview_take(&view, 0, &device);
    CLEANUP(json) struct json *array = json_array();
    for (size_t i = 0; i < device.count; i++) {
        json_add(array, app_report_json(&device.apps[i]));
    }
    api_reply_json(call, 200, array);
}

void api_get_applications(struct api *api, const struct api_call *call)
{
    api_look(api, call, reply_applications);
}

static void reply_application(struct api *api, const struct api_call *call)
{
    CLEANUP(app_report) struct app_report app = {0};
    if (api_find_app(api, call, 0, &app)) {
        CLEANUP(json) struct json *json = app_report_json(&app);
        api_reply_json(call, 200, json);
    }
}

void api_get_application(struct api *api, const struct api_call *call)
{
    api_look(api, call, reply_application);
}

static void reply_why(struct api *api, const struct api_call *call)
{
    CLEANUP(app_report) struct app_report app = {0};
    if (api_find_app(api, call, 0, &app)) {
        CLEANUP(json) struct json *json = why_json(&app, events_store(api->params.events));
        api_reply_json(call, 200, json);
    }
}

void api_get_why(struct api *api, const struct api_call *call)
{
    api_look(api, call, reply_why);
}

static void reply_metrics(struct api *api, const struct api_call *call)
{
    CLEANUP(device_report) struct device_report device = {0};
    struct overview view = api_overview(api);
    overview_take(&view, 0, &device);
    struct metrics_params params = {
        .loop = api->params.loop,
        .device = &device,
        .supervisor = api->params.supervisor,
        .events = api->params.events,
        .persist = api->params.persist,
        .source = api->source,
        .started_unix_ms = clock_moment_unix_ms(&api->started),
    };
    CLEANUP(buf) struct buf text = {0};
    metrics_print(&params, &text);
    size_t len = text.len;
    server_reply(call->request, 200, "text/plain; version=0.0.4; charset=utf-8", NULL,
                 buf_steal(&text), len);
}

void api_get_metrics(struct api *api, const struct api_call *call)
{
    api_look(api, call, reply_metrics);
}
