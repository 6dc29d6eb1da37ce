#include "reporter.h"

#include "edgible/clock.h"
#include "edgible/host.h"
#include "edgible/link_fsm.h"
#include "edgible/log.h"
#include "edgible/workload.h"
#include "probe.h"
#include "reporter_backlog.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define GATHER_MS 1000
#define MIN_GAP_MS 5000
/* Servers have bounds: nginx takes 1 MiB and etcd 1.5 MiB where nobody has set others. */
#define MAX_REPORT_BYTES (900UL * 1024)
/* How much of a turn a report may take. */
#define FULL_MAX_US 40000
#define FEW_EVENTS 100
#define FEW_EVENTS_BYTES (128UL * 1024)
#define UNWANTED_MS 3600000

/* From all there is to tell, to what a device with 1,000 applications can still tell. */
enum form { FORM_FULL, FORM_BRIEF, FORM_SHORTEST };

struct reporter {
    struct reporter_params params;
    struct link_fsm fsm; /* of failures, and chance */
    struct loop_timer *timer;
    struct events_watch *watch;
    struct backlog *backlog;
    struct probe *probe; /* the look for the report that is under way; NULL: none */
    enum form form;      /* of that report */
    struct clock_moment started;
    int64_t applied_unix_ms; /* 0: nothing was applied yet */
    char *etag;
    int64_t sequence;
    mono_ms due;           /* of the next one; -1: before the start */
    mono_ms sent_at;       /* -1: never */
    int64_t taken_unix_ms; /* the last one that was; 0: none */
    bool is_under_way, is_dirty, is_unwanted;
    loop_fn on_ended; /* the agent ends; NULL: it does not */
    void *ended_arg;
    bool is_end_sent;
    bool is_unwanted_said;
    char *trouble; /* why the last one was not taken; NULL: it was */
};

/* --- the report ----------------------------------------------------------------------------------
 */

static struct json *device_json(const struct config *config)
{
    struct json *json = json_object();
    json_set_string(json, "name", config->device_name);
    json_set_string(json, "id", config->device_id);
    json_set_string(json, "organization", config->organization);
    return json;
}

static struct json *agent_json(const struct reporter *r)
{
    struct json *json = json_object();
    json_set_string(json, "version", EDGIBLE_VERSION);
    json_set_time(json, "startedAt", clock_moment_unix_ms(&r->started));
    json_set_string(json, "bootId", r->params.source->boot_id);
    json_set_int(json, "sequence", r->sequence);
    json_set_seconds(json, "reportIntervalSeconds", r->params.interval_ms);
    return json;
}

static void set_if_known(struct json *json, const char *key, int64_t value)
{
    if (value >= 0) {
        json_set_int(json, key, value);
    }
}

static struct json *resources_json(const struct config *config)
{
    struct host_load load = host_read_load(config->state_dir);
    struct json *json = json_object();
    if (load.load1_thousandths >= 0) {
        json_set_seconds(json, "load1", load.load1_thousandths);
    }
    set_if_known(json, "memoryBytes", load.memory_bytes);
    set_if_known(json, "memoryAvailableBytes", load.memory_available_bytes);
    set_if_known(json, "diskFreeBytes", load.disk_free_bytes);
    return json;
}

static struct json *app_json(const struct app_report *app, enum form form)
{
    struct app_report shown = *app;
    if (form == FORM_SHORTEST) {
        shown.spec = NULL;
        shown.workload_count = 0;
        shown.rolled_back_reason = NULL;
        shown.errors = (struct strv){0};
        shown.warnings = (struct strv){0};
    }
    return app_report_json(&shown);
}

static void add_applications(const struct reporter *r, enum form form, struct json *json)
{
    unsigned what = form == FORM_FULL ? 0 : OVERVIEW_BRIEF | OVERVIEW_FEW_ERRORS;
    const struct source_params *source = r->params.source;
    struct overview view = {
        .config = source->config,
        .reconcile = source->reconcile,
        .supervisor = source->supervisor,
        .source = r->params.self,
        .probe = form == FORM_FULL ? r->probe : NULL,
    };
    CLEANUP(device_report) struct device_report device = {0};
    overview_take(&view, what, &device);
    enum status worst = STATUS_COUNT;
    struct json *apps = json_array();
    for (size_t i = 0; i < device.count; i++) {
        worst = status_worst(worst, device.apps[i].status);
        json_add(apps, app_json(&device.apps[i], form));
    }
    json_set_string(json, "status",
                    r->on_ended != NULL     ? "ended"
                    : worst != STATUS_COUNT ? status_name_of_app(worst)
                                            : "running");
    json_set(json, "applications", apps);
    if (device.errors.count > 0) {
        json_set_strings(json, "errors", &device.errors);
    }
}

static char *make_text_of(struct reporter *r, enum form form)
{
    CLEANUP(json) struct json *json = json_object();
    struct json *desired = json_object();
    json_set_string(desired, "etag", r->etag);
    json_set_time(desired, "appliedAt", r->applied_unix_ms);
    json_set_int(json, "reportVersion", 1);
    json_set_time(json, "at", clock_unix_ms());
    json_set(json, "device", device_json(r->params.source->config));
    json_set(json, "agent", agent_json(r));
    json_set(json, "desired", desired);
    add_applications(r, form, json);
    backlog_add_events(r->backlog, form == FORM_FULL ? BACKLOG_MAX_EVENTS : FEW_EVENTS,
                       form == FORM_FULL ? SIZE_MAX : FEW_EVENTS_BYTES, json);
    json_set(json, "resources", resources_json(r->params.source->config));
    return json_text(json);
}

struct sizes {
    size_t workloads, ports;
};

static void add_sizes(void *arg, const struct workload *w)
{
    struct sizes *sizes = arg;
    sizes->workloads++;
    sizes->ports += workload_spec(w)->port_count;
}

/* A full one takes some 40 µs a workload and 5 µs a port of a turn, a brief one half of that. */
static enum form first_form(const struct supervisor *sup)
{
    struct sizes sizes = {0};
    supervisor_each(sup, NULL, add_sizes, &sizes);
    return sizes.workloads * 40 + sizes.ports * 5 <= FULL_MAX_US ? FORM_FULL
           : sizes.workloads * 20 <= FULL_MAX_US                 ? FORM_BRIEF
                                                                 : FORM_SHORTEST;
}

/* What is too much for a server is told in short, which is made in the next turn: better that than
 * nothing. */
static void make_and_send(struct reporter *r)
{
    CLEANUP(free) char *text = make_text_of(r, r->form);
    if (strlen(text) > MAX_REPORT_BYTES && r->form < FORM_SHORTEST) {
        r->form++;
        loop_timer_arm(r->timer, 0);
        return;
    }
    probe_free(steal_ptr(&r->probe));
    r->is_end_sent = r->on_ended != NULL;
    r->params.send(r->params.arg, text, strlen(text));
}

/* --- when ----------------------------------------------------------------------------------------
 */

static void plan(struct reporter *r, mono_ms at)
{
    r->due = at;
    loop_timer_arm(r->timer, at);
}

static void on_seen(void *arg)
{
    struct reporter *r = arg;
    r->form = first_form(r->params.source->supervisor);
    make_and_send(r);
}

static void on_timer(void *arg)
{
    struct reporter *r = arg;
    if (r->is_under_way) {
        if (r->probe != NULL) {
            make_and_send(r);
        }
        return;
    }
    r->sequence++;
    r->is_under_way = true;
    r->is_dirty = false;
    r->sent_at = loop_now();
    r->due = -1;
    probe_start(&r->probe, r->params.source->supervisor, NULL, on_seen, r);
}

static bool is_held_back(const struct reporter *r)
{
    return r->due < 0 || r->is_under_way || r->is_unwanted || r->trouble != NULL;
}

static void mark(struct reporter *r, mono_ms gather_ms)
{
    mono_ms soon = loop_now() + gather_ms;
    mono_ms may = r->sent_at >= 0 ? r->sent_at + MIN_GAP_MS : soon;
    bool was_dirty = r->is_dirty;
    r->is_dirty = true;
    if (!is_held_back(r) && (!was_dirty || gather_ms == 0)) {
        mono_ms at = soon > may ? soon : may;
        plan(r, at < r->due ? at : r->due);
    }
}

static void on_event(void *arg)
{
    struct reporter *r = arg;
    mark(r, GATHER_MS);
    backlog_on_event(r->backlog, r->trouble != NULL);
}

void reporter_poke(struct reporter *r)
{
    mark(r, 0);
}

void reporter_start(struct reporter *r)
{
    if (r->sent_at < 0 && r->due < 0 && !r->is_under_way) {
        plan(r, loop_now() + link_fsm_spread(&r->fsm, GATHER_MS));
    }
}

void reporter_set_desired(struct reporter *r, const char *etag)
{
    free(r->etag);
    r->etag = xstrdup(etag);
    r->applied_unix_ms = clock_unix_ms();
    mark(r, GATHER_MS);
}

/* --- the end of one ------------------------------------------------------------------------------
 */

static void on_taken(struct reporter *r)
{
    bool is_first = r->taken_unix_ms == 0;
    link_fsm_on_success(&r->fsm);
    r->taken_unix_ms = clock_unix_ms();
    r->is_unwanted = false;
    if (r->trouble != NULL) {
        free(steal_ptr(&r->trouble));
        log_info("report", "the control plane takes reports again");
    }
    mono_ms gap = r->sent_at + MIN_GAP_MS;
    bool has_more = backlog_on_taken(r->backlog, r->sequence);
    mono_ms interval = r->params.interval_ms;
    mono_ms later = r->sent_at + (is_first ? link_fsm_phase(&r->fsm, interval)
                                           : link_fsm_spread(&r->fsm, interval));
    mono_ms soon = loop_now() + GATHER_MS;
    mono_ms next = !r->is_dirty && !has_more ? later : gap < later ? gap : later;
    plan(r, next > soon ? next : soon);
}

static void on_failed(struct reporter *r, const char *detail, mono_ms retry_after_ms)
{
    if (r->trouble == NULL) {
        log_warn("report", "a report was not taken: %s; tried again until it is", detail);
    }
    free(r->trouble);
    r->trouble = xstrdup(detail);
    backlog_on_event(r->backlog, true);
    mono_ms wait = link_fsm_on_failure(&r->fsm, retry_after_ms);
    plan(r, loop_now() + (wait > GATHER_MS ? wait : GATHER_MS));
}

static void on_unwanted(struct reporter *r, const char *detail)
{
    if (!r->is_unwanted_said) {
        log_info("report", "this control plane takes no reports (%s); it is asked again each hour",
                 detail);
    }
    r->is_unwanted_said = true;
    r->is_unwanted = true;
    backlog_drop(r->backlog);
    plan(r, loop_now() + link_fsm_spread(&r->fsm, UNWANTED_MS));
}

void reporter_on_end(struct reporter *r, enum report_end end, const char *detail,
                     mono_ms retry_after_ms)
{
    r->is_under_way = false;
    switch (end) {
    case REPORT_TAKEN:
        on_taken(r);
        break;
    case REPORT_FAILED:
        on_failed(r, detail, retry_after_ms);
        break;
    case REPORT_UNWANTED:
        on_unwanted(r, detail);
        break;
    }
    if (r->is_end_sent) {
        r->on_ended(r->ended_arg);
    } else if (r->on_ended != NULL) {
        plan(r, 0);
    }
}

bool reporter_end(struct reporter *r, loop_fn done, void *arg)
{
    if (r->is_unwanted || r->trouble != NULL || r->taken_unix_ms == 0) {
        return false;
    }
    r->on_ended = done;
    r->ended_arg = arg;
    if (!r->is_under_way) {
        plan(r, 0);
    }
    return true;
}

void reporter_add_details(const struct reporter *r, struct json *json)
{
    struct json *reports = json_object();
    json_set_string(reports, "state",
                    r->is_unwanted          ? "unwanted"
                    : r->trouble != NULL    ? "lost"
                    : r->taken_unix_ms != 0 ? "ok"
                                            : "unknown");
    json_set_time(reports, "lastTakenAt", r->taken_unix_ms);
    json_set_string(reports, "error", r->trouble);
    json_set(json, "reports", reports);
}

/* --- life ----------------------------------------------------------------------------------------
 */

struct reporter *reporter_new(const struct reporter_params *params)
{
    struct reporter *r = xcalloc(1, sizeof(*r));
    uint64_t seed = (uint64_t) loop_now();
    (void) !getrandom(&seed, sizeof(seed), GRND_NONBLOCK);
    r->params = *params;
    r->started = clock_moment_now();
    r->due = -1;
    r->sent_at = -1;
    link_fsm_init(&r->fsm, seed);
    r->timer = loop_timer_new(params->source->loop, on_timer, r);
    r->backlog = backlog_new(params->source, &r->sequence);
    r->watch = events_watch(params->source->events, on_event, r);
    return r;
}

void reporter_free(struct reporter *r)
{
    if (r != NULL) {
        events_unwatch(r->watch);
        probe_free(r->probe);
        backlog_free(r->backlog);
        loop_timer_free(r->timer);
        free(r->etag);
        free(r->trouble);
        free(r);
    }
}
