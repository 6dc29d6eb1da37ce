#include "edgible/overview.h"

#include "edgible/crypto.h"
#include "edgible/map.h"
#include "edgible/workload.h"
#include "probe.h"

#include <stdlib.h>
#include <string.h>

#define FEW_ERRORS 100 /* of all applications together */
#define IGNORED_TOLD 20

struct taking {
    const struct overview *view;
    unsigned what;
    struct device_report *device;
    struct map *by_name; /* name → index + 1, as a pointer */
    size_t cap;
    size_t errors_told; /* of OVERVIEW_FEW_ERRORS */
};

char *overview_app_id(const struct config *config, const struct app_spec *app, const char *name)
{
    if (app != NULL && app->id != NULL) {
        return xstrdup(app->id);
    }
    const char *organization = app != NULL && app->organization != NULL ? app->organization
                               : config->organization != NULL           ? config->organization
                                                                        : "";
    CLEANUP(free) char *text = xasprintf("%s/%s", organization, name);
    char hex[CRYPTO_SHA256_HEX_BYTES];
    crypto_sha256_hex(text, strlen(text), hex);
    return xasprintf("app_%.12s", hex);
}

/* --- workloads ----------------------------------------------------------------------------------
 */

static void fill_workload(const struct taking *t, const struct workload *w,
                          struct workload_report *report)
{
    workload_fill_report(w, (t->what & OVERVIEW_BRIEF) != 0, report);
    if (t->view->probe != NULL) {
        probe_fill(t->view->probe, w, report);
    }
}

/* One that the supervisor does not have. */
static void fill_absent(const struct workload_spec *spec, const char *refusal,
                        struct workload_report *report)
{
    report->name = xstrdup(spec->name);
    report->type = xstrdup(spec->type);
    report->uptime_ms = -1;
    if (!spec->supported) {
        report->status = STATUS_UNSUPPORTED;
        report->reason = xasprintf("workloads of type '%s' are not run by this agent", spec->type);
    } else {
        report->status = STATUS_REJECTED;
        report->reason =
            xstrdup(refusal != NULL ? refusal
                                    : "is not run: the agent may not have as many open files as it "
                                      "would need; raise LimitNOFILE= of its unit, or `ulimit -n`");
    }
}

/* Of one that an earlier agent ran, and that this one does not start. */
static void tell_refused(const char *refusal, struct workload_report *report)
{
    if (refusal != NULL && report->status == STATUS_STOPPED) {
        report->status = STATUS_REJECTED;
        free(report->reason);
        report->reason = xstrdup(refusal);
    }
}

static struct workload_report *add_workload(struct app_report *app)
{
    app->workloads = xrealloc(app->workloads, app->workload_count + 1, sizeof(*app->workloads));
    struct workload_report *report = &app->workloads[app->workload_count++];
    *report = (struct workload_report){0};
    return report;
}

struct extra {
    const struct taking *taking;
    const struct app_spec *spec; /* those in it are there already; NULL: none is */
    struct app_report *app;
};

static void add_extra(void *arg, const struct workload *w)
{
    struct extra *extra = arg;
    if (extra->spec == NULL ||
        app_spec_find_workload(extra->spec, workload_spec(w)->name) == NULL) {
        fill_workload(extra->taking, w, add_workload(extra->app));
    }
}

static void add_workloads(const struct taking *t, const struct reconcile_app *app,
                          struct app_report *report)
{
    const struct supervisor *sup = t->view->supervisor;
    const struct app_spec *spec = app->is_leaving || app->is_blocked ? NULL : app->spec;
    for (size_t i = 0; spec != NULL && i < spec->workload_count; i++) {
        const struct workload *w = supervisor_find(sup, app->name, spec->workloads[i].name);
        struct workload_report *added = add_workload(report);
        const char *refusal = app->is_held_back ? app->refused : NULL;
        if (w != NULL && spec->workloads[i].supported) {
            fill_workload(t, w, added);
            tell_refused(refusal, added);
        } else {
            fill_absent(&spec->workloads[i], refusal, added);
        }
    }
    if (spec == NULL || supervisor_has_leaving(sup)) {
        struct extra extra = {.taking = t, .spec = spec, .app = report};
        supervisor_each(sup, app->name, add_extra, &extra);
    }
}

/* --- applications -------------------------------------------------------------------------------
 */

/* With the place of its document. The caller frees. */
static char *refusal_of(const struct reconcile_app *app)
{
    return app->refused_at != NULL ? xasprintf("%s: %s", app->refused_at, app->refused)
                                   : xstrdup(app->refused);
}

static void fill_app(const struct taking *t, const struct reconcile_app *app,
                     struct app_report *report)
{
    const struct config *config = t->view->config;
    report->name = xstrdup(app->name);
    report->id = overview_app_id(config, app->spec, app->name);
    report->organization = xstrdup_or_null(app->spec != NULL && app->spec->organization != NULL
                                               ? app->spec->organization
                                               : config->organization);
    report->generation = app->generation;
    report->suspended = app->suspended;
    if (app->rolled_back != NULL) {
        report->rolled_back_from = app->rolled_back->from;
        report->rolled_back_to = app->rolled_back->to;
        report->rolled_back_reason = xstrdup(app->rolled_back->reason);
    }
    report->device_name = config->device_name;
    report->device_id = config->device_id;
    report->source = xstrdup_or_null(app->spec != NULL ? app->spec->file : NULL);
    report->spec = app->spec;
    if (app->refused != NULL) {
        strv_add_take(&report->errors, refusal_of(app));
    }
    add_workloads(t, app, report);
}

static struct app_report *add_app(struct taking *t, const char *name)
{
    struct device_report *device = t->device;
    if (device->count == t->cap) {
        t->cap = t->cap == 0 ? 64 : 2 * t->cap;
        device->apps = xrealloc(device->apps, t->cap, sizeof(*device->apps));
    }
    struct app_report *report = &device->apps[device->count++];
    *report = (struct app_report){0};
    map_put(t->by_name, name,
            (void *) (uintptr_t) device->count); // NOLINT(performance-no-int-to-ptr)
    return report;
}

static void add_ignored(struct device_report *device, const struct reconcile_app *app)
{
    device->ignored_count++;
    if (device->ignored.count < IGNORED_TOLD) {
        strv_add(&device->ignored, app->name);
        strv_add_take(&device->ignored_why, refusal_of(app));
    }
}

static void take_app(void *arg, const struct reconcile_app *app)
{
    struct taking *t = arg;
    bool is_foreign = app->spec == NULL && (app->is_elsewhere || app->refused == NULL);
    if (!is_foreign) {
        fill_app(t, app, add_app(t, app->name));
    } else if (app->refused != NULL) {
        add_ignored(t->device, app);
    }
}

/* Of each the first, until there are enough, and how many more there are. */
static void add_in_short(struct taking *t, const struct strv *errors, struct strv *to)
{
    size_t told = t->errors_told < FEW_ERRORS && errors->count > 0 ? 1 : 0;
    t->errors_told += told;
    if (told > 0) {
        strv_add(to, errors->items[0]);
    }
    if (errors->count > told) {
        CLEANUP(free) char *rest = xasprintf("errors left out here: %zu", errors->count - told);
        strv_add(to, rest);
    }
}

static void add_all(struct strv *to, const struct strv *lines)
{
    for (size_t i = 0; i < lines->count; i++) {
        strv_add(to, lines->items[i]);
    }
}

/* Of an application that was never accepted, its errors are all there is. */
static void take_problem(void *arg, const char *application, const char *path,
                         const struct strv *errors, const struct strv *warnings)
{
    struct taking *t = arg;
    struct strv *to = &t->device->errors;
    struct strv *to_warn = &t->device->errors;
    if (application != NULL) {
        size_t index = (size_t) (uintptr_t) map_get(t->by_name, application);
        struct app_report *report = index != 0 ? &t->device->apps[index - 1] : NULL;
        if (report == NULL) {
            struct reconcile_app app = {.name = application};
            report = add_app(t, application);
            fill_app(t, &app, report);
            report->source = xstrdup(path);
        }
        to = &report->errors;
        to_warn = &report->warnings;
    } else {
        t->device->unread++;
    }
    if ((t->what & OVERVIEW_FEW_ERRORS) != 0) {
        add_in_short(t, errors, to);
        return;
    }
    add_all(to, errors);
    add_all(to_warn, warnings);
}

static int compare_apps(const void *a, const void *b)
{
    const struct app_report *x = a;
    const struct app_report *y = b;
    return strcmp(x->name, y->name);
}

void overview_take(const struct overview *view, unsigned what, struct device_report *report)
{
    CLEANUP(map) struct map *by_name = map_new();
    struct taking t = {.view = view, .what = what, .device = report, .by_name = by_name};
    reconcile_each_app(view->reconcile, take_app, &t);
    if (view->source != NULL) {
        source_each_problem(view->source, take_problem, &t);
    }
    for (size_t i = 0; i < report->count; i++) {
        app_report_judge(&report->apps[i]);
    }
    if (report->count > 0) {
        qsort(report->apps, report->count, sizeof(*report->apps), compare_apps);
    }
}

void cleanup_device_report(struct device_report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        app_report_fini(&report->apps[i]);
    }
    free(steal_ptr(&report->apps));
    report->count = 0;
    strv_fini(&report->errors);
    strv_fini(&report->ignored);
    strv_fini(&report->ignored_why);
}

/* --- one application ----------------------------------------------------------------------------
 */

struct one {
    const struct config *config;
    const char *id;
    char *name; /* found */
};

static void match_app(void *arg, const struct reconcile_app *app)
{
    struct one *one = arg;
    CLEANUP(free) char *id = overview_app_id(one->config, app->spec, app->name);
    if (one->name == NULL && strcmp(id, one->id) == 0) {
        one->name = xstrdup(app->name);
    }
}

static void match_problem(void *arg, const char *application, const char *path,
                          const struct strv *errors, const struct strv *warnings)
{
    (void) path;
    (void) errors;
    (void) warnings;
    struct one *one = arg;
    if (application == NULL || one->name != NULL) {
        return;
    }
    CLEANUP(free) char *id = overview_app_id(one->config, NULL, application);
    if (strcmp(id, one->id) == 0 || strcmp(application, one->id) == 0) {
        one->name = xstrdup(application);
    }
}

/* The name that an id or name stands for; NULL: none. The caller frees. */
static char *resolve(const struct overview *view, const char *id)
{
    struct one one = {.config = view->config, .id = id};
    struct reconcile_app app;
    if (reconcile_find_app(view->reconcile, id, &app)) {
        return xstrdup(id);
    }
    reconcile_each_app(view->reconcile, match_app, &one);
    if (one.name == NULL && view->source != NULL) {
        source_each_problem(view->source, match_problem, &one);
    }
    return one.name;
}

struct only {
    struct taking *taking;
    const char *name;
};

static void take_problem_of(void *arg, const char *application, const char *path,
                            const struct strv *errors, const struct strv *warnings)
{
    struct only *only = arg;
    if (application != NULL && strcmp(application, only->name) == 0) {
        take_problem(only->taking, application, path, errors, warnings);
    }
}

bool overview_take_app(const struct overview *view, const char *id, unsigned what,
                       struct app_report *report)
{
    CLEANUP(free) char *name = resolve(view, id);
    if (name == NULL) {
        return false;
    }
    CLEANUP(map) struct map *by_name = map_new();
    CLEANUP(device_report) struct device_report device = {0};
    struct taking t = {.view = view, .what = what, .device = &device, .by_name = by_name};
    struct reconcile_app app;
    struct only only = {.taking = &t, .name = name};
    if (reconcile_find_app(view->reconcile, name, &app)) {
        take_app(&t, &app);
    }
    if (view->source != NULL) {
        source_each_problem(view->source, take_problem_of, &only);
    }
    if (device.count == 0) {
        return false;
    }
    *report = device.apps[0];
    device.count = 0;
    app_report_judge(report);
    return true;
}
