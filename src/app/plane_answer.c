/* What a control plane holds and a device reported, as the agent's API would say it. */
#include "client.h"
#include "edgible/overview.h"
#include "plane_private.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A report comes each minute; one that is so old says that the device is not heard of. */
#define SILENT_S (5.0 * 60)

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

static double age_of_report(const struct plane_device *device)
{
    struct tm tm = {0};
    const char *at = json_string(device->report, "at");
    if (at == NULL || strptime(at, "%Y-%m-%dT%H:%M:%S", &tm) == NULL) {
        return -1;
    }
    return difftime(time(NULL), timegm(&tm));
}

static const char *reason_to_wait(const struct plane_device *device)
{
    return device->report == NULL ? "the device has not reported to this control plane yet"
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

struct json *plane_app_json(const struct plane *plane, const struct plane_device *device,
                            const char *id)
{
    const struct json *app = reported_app(device, id);
    const char *name = app != NULL ? json_string(app, "name") : id;
    const struct plane_doc *doc = plane_find_doc(device, or_empty(name));
    bool waits = doc != NULL && strv_has(&plane->changed, doc->name) && !is_told(device, doc);
    if (app != NULL && !waits) {
        return json_copy(app);
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
    char age[48];
    double seconds = age_of_report(device);
    if (device->report == NULL) {
        strv_add(&reasons, "the device has not reported to this control plane yet");
    } else if (device->is_offline || seconds > SILENT_S) {
        strv_add_take(&reasons,
                      xasprintf("the device is not heard of: its last report is %s old",
                                client_format_age(seconds > 0 ? seconds : 0, age, sizeof(age))));
    }
    add_row_reasons(rows, &reasons);
    for (const struct json *e = json_first(json_get(device->report, "errors")); e != NULL;
         e = json_next(e)) {
        strv_add(&reasons, or_empty(json_item_string(e)));
    }
    struct json *json = json_object();
    json_set_string(json, "status", reasons.count == 0 ? "ok" : "unhealthy");
    json_set_strings(json, "reasons", &reasons);
    return json;
}
