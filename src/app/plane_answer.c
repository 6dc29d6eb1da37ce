/* What a control plane holds and a device reported, as the agent's API would say it. */
#include "client.h"
#include "edgible/overview.h"
#include "plane_private.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* So many reports that did not come say that the device is not heard of. */
#define SILENT_REPORTS 3
#define SILENT_MIN_S 10.0
/* Of a device that does not tell its own. */
#define REPORT_INTERVAL_S 60.0

static const char *or_empty(const char *text)
{
    return text != NULL ? text : "";
}

static const struct json *reported_app(const struct plane_device *device, const char *id)
{
    for (const struct json *app = json_first(json_get(device->report, "applications")); app != NULL;
         app = json_next(app)) {
        if (strcmp(or_empty(json_string(app, "name")), id) == 0 ||
            strcmp(or_empty(json_string(app, "id")), id) == 0) {
            return app;
        }
    }
    return NULL;
}

/* The report was made with the application as it is now. */
static bool is_told(const struct plane_device *device, const struct plane_doc *doc)
{
    const char *etag = json_string(json_get(device->report, "desired"), "etag");
    if (etag == NULL || device->etag == NULL) {
        return false;
    }
    if (doc != NULL && doc->mod_revision != 0) {
        return strtoll(etag, NULL, 10) >= doc->mod_revision;
    }
    return strcmp(etag, device->etag) == 0;
}

/* In seconds, by the server's clock alone where it tells when it took the report. */
static double age_of_report(const struct plane_device *device)
{
    struct tm tm = {0};
    if (device->server_s != 0 && device->reported_s != 0) {
        return (double) (device->server_s - device->reported_s);
    }
    const char *at = json_string(device->report, "at");
    if (at == NULL || strptime(at, "%Y-%m-%dT%H:%M:%S", &tm) == NULL) {
        return -1;
    }
    double now = device->server_s != 0 ? (double) device->server_s : (double) time(NULL);
    return now - (double) timegm(&tm);
}

/* etcd's lease tells, by etcd's clock; else how old the report is. */
static bool is_silent(const struct plane_device *device)
{
    if (device->has_lease) {
        return device->is_offline;
    }
    double interval =
        json_number(json_get(device->report, "agent"), "reportIntervalSeconds", REPORT_INTERVAL_S);
    double limit = interval * SILENT_REPORTS;
    return age_of_report(device) > (limit > SILENT_MIN_S ? limit : SILENT_MIN_S);
}

static bool has_ended(const struct plane_device *device)
{
    return strcmp(or_empty(json_string(device->report, "status")), "ended") == 0;
}

/* Why it is not known how the device is now; NULL: it is, or was never. The caller frees. */
static char *why_unknown(const struct plane_device *device)
{
    char age[48];
    double seconds = age_of_report(device);
    if (device->report == NULL || (!has_ended(device) && !is_silent(device))) {
        return NULL;
    }
    (void) client_format_age(seconds > 0 ? seconds : 0, age, sizeof(age));
    return has_ended(device)
               ? xasprintf("the agent of the device has ended, %s ago", age)
               : xasprintf("the device is not heard of: its last report is %s old", age);
}

/* Without an age, as it is told once while it stays so. */
static const char *reason_to_wait(const struct plane_device *device)
{
    if (device->report == NULL) {
        return "the device has not reported to this control plane yet";
    }
    return has_ended(device)   ? "the agent of the device has ended; this version waits for it"
           : is_silent(device) ? "the device is not heard of; this version waits for it"
                               : "the device has not reported this version yet";
}

/* As nothing is known of how it runs. */
static struct json *pending_json(const struct plane *plane, const struct plane_device *device,
                                 const struct plane_doc *doc)
{
    CLEANUP(free) char *id = overview_app_id(plane->config, doc->spec, doc->name);
    const char *reason = reason_to_wait(device);
    struct json *json = json_object();
    struct json *on = json_object();
    struct json *workloads = json_array();
    json_set_string(json, "id", id);
    json_set_string(json, "name", doc->name);
    json_set_int(json, "generation", 0);
    json_set_string(json, "status", "pending");
    json_set_string(json, "targetState", "running");
    json_set_string(on, "name", device->name);
    json_set(json, "device", on);
    for (size_t i = 0; doc->spec != NULL && i < doc->spec->workload_count; i++) {
        const struct workload_spec *spec = &doc->spec->workloads[i];
        struct json *w = json_object();
        json_set_string(w, "name", spec->name);
        json_set_string(w, "type", spec->type);
        json_set_string(w, "status", "pending");
        json_set_string(w, "reason", reason);
        json_add(workloads, w);
    }
    json_set(json, "workloads", workloads);
    return json;
}

/* All members but the status, its reason and what is of a process, which are left out. */
static struct json *without_state(const struct json *from)
{
    static const char *const state[] = {"status", "reason", "workloads", "pid", "uptimeSeconds"};
    struct json *json = json_object();
    for (const struct json *item = json_first(from); item != NULL; item = json_next(item)) {
        bool is_state = false;
        for (size_t i = 0; i < ARRAY_LEN(state); i++) {
            is_state = is_state || strcmp(json_item_key(item), state[i]) == 0;
        }
        if (!is_state) {
            json_set(json, json_item_key(item), json_copy(item));
        }
    }
    return json;
}

/* What was reported of an application, of a device of which that is no longer known. */
static struct json *unknown_json(const struct json *app, const char *why)
{
    struct json *json = without_state(app);
    struct json *workloads = json_array();
    json_set_string(json, "status", "unknown");
    for (const struct json *w = json_first(json_get(app, "workloads")); w != NULL;
         w = json_next(w)) {
        struct json *unknown = without_state(w);
        CLEANUP(free)
        char *reason = xasprintf("%s; it was %s then", why, or_empty(json_string(w, "status")));
        json_set_string(unknown, "status", "unknown");
        json_set_string(unknown, "reason", reason);
        json_add(workloads, unknown);
    }
    json_set(json, "workloads", workloads);
    return json;
}

struct json *plane_app_json(const struct plane *plane, const struct plane_device *device,
                            const char *id)
{
    const struct json *app = reported_app(device, id);
    const char *name = app != NULL ? json_string(app, "name") : id;
    const struct plane_doc *doc = plane_find_doc(device, or_empty(name));
    bool waits = doc != NULL && strv_has(&plane->changed, doc->name) && !is_told(device, doc);
    if (app != NULL && !waits) {
        CLEANUP(free) char *why = why_unknown(device);
        return why != NULL ? unknown_json(app, why) : json_copy(app);
    }
    return doc != NULL ? pending_json(plane, device, doc) : NULL;
}

struct json *plane_apps_json(const struct plane *plane, const struct plane_device *device)
{
    struct json *array = json_array();
    for (const struct json *app = json_first(json_get(device->report, "applications")); app != NULL;
         app = json_next(app)) {
        json_add(array, plane_app_json(plane, device, or_empty(json_string(app, "name"))));
    }
    for (size_t i = 0; i < device->count; i++) {
        if (reported_app(device, device->docs[i].name) == NULL) {
            json_add(array, pending_json(plane, device, &device->docs[i]));
        }
    }
    return array;
}

/* --- rows ----------------------------------------------------------------------------------------
 */

static void copy_number(struct json *to, const struct json *from, const char *key, bool is_seconds)
{
    double value = json_number(from, key, -1);
    if (value >= 0 && is_seconds) {
        json_set_seconds(to, key, (int64_t) (value * 1000));
    } else if (value >= 0) {
        json_set_int(to, key, (int64_t) value);
    }
}

static struct json *row_json(const struct json *app, const struct json *w)
{
    struct json *row = json_object();
    json_set_string(row, "application", json_string(app, "name"));
    json_set_string(row, "applicationId", json_string(app, "id"));
    if (w == NULL) {
        json_set_string(row, "status", json_string(app, "status"));
        json_set_string(row, "reason", json_item_string(json_first(json_get(app, "errors"))));
        return row;
    }
    json_set_string(row, "workload", json_string(w, "name"));
    json_set_string(row, "type", json_string(w, "type"));
    json_set_string(row, "status", json_string(w, "status"));
    json_set_string(row, "reason", json_string(w, "reason"));
    copy_number(row, w, "pid", false);
    copy_number(row, w, "restarts", false);
    copy_number(row, w, "uptimeSeconds", true);
    return row;
}

struct json *plane_rows_json(const struct plane *plane, const struct plane_device *device)
{
    CLEANUP(json) struct json *apps = plane_apps_json(plane, device);
    struct json *rows = json_array();
    for (const struct json *app = json_first(apps); app != NULL; app = json_next(app)) {
        const struct json *workloads = json_get(app, "workloads");
        for (const struct json *w = json_first(workloads); w != NULL; w = json_next(w)) {
            json_add(rows, row_json(app, w));
        }
        if (json_first(workloads) == NULL) {
            json_add(rows, row_json(app, NULL));
        }
    }
    return rows;
}

/* --- health --------------------------------------------------------------------------------------
 */

static void add_row_reasons(const struct json *rows, struct strv *reasons)
{
    for (const struct json *row = json_first(rows); row != NULL; row = json_next(row)) {
        const char *status = or_empty(json_string(row, "status"));
        const char *reason = json_string(row, "reason");
        if (client_is_bad(status)) {
            strv_add_take(reasons, xasprintf("%s/%s is in status %s%s%s",
                                             or_empty(json_string(row, "application")),
                                             or_empty(json_string(row, "workload")), status,
                                             reason != NULL ? ": " : "", or_empty(reason)));
        }
    }
}

struct json *plane_health_json(const struct plane *plane, const struct plane_device *device)
{
    CLEANUP(strv) struct strv reasons = {0};
    CLEANUP(json) struct json *rows = plane_rows_json(plane, device);
    CLEANUP(free) char *why = why_unknown(device);
    if (device->report == NULL) {
        strv_add(&reasons, "the device has not reported to this control plane yet");
    } else if (why != NULL) {
        strv_add(&reasons, why);
    } else {
        add_row_reasons(rows, &reasons);
    }
    for (const struct json *e = json_first(json_get(device->report, "errors")); e != NULL;
         e = json_next(e)) {
        strv_add(&reasons, or_empty(json_item_string(e)));
    }
    struct json *json = json_object();
    json_set_string(json, "status", reasons.count == 0 ? "ok" : "unhealthy");
    json_set_strings(json, "reasons", &reasons);
    return json;
}
