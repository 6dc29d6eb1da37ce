#include "metrics.h"

#include "edgible/clock.h"
#include "edgible/clock_floor.h"
#include "edgible/proc_usage.h"
#include "edgible/workload.h"

#include <inttypes.h>

/* A family's first two lines. */
static void add_family(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* Names are DNS labels: nothing in them needs escaping. */
static void add_labels(struct buf *out, const char *name, const struct app_report *app,
                       const struct workload_report *w)
{
    buf_printf(out, "%s{application=\"%s\",workload=\"%s\"", name, app->name, w->name);
}

typedef void print_fn(struct buf *out, const char *name, const struct app_report *app,
                      const struct workload_report *w);

static void print_state(struct buf *out, const char *name, const struct app_report *app,
                        const struct workload_report *w)
{
    for (int i = 0; i < STATUS_COUNT; i++) {
        bool is_it = (int) w->status == i;
        if (is_it || w->supported) { /* one that is not run stays in its one state */
            add_labels(out, name, app, w);
            buf_printf(out, ",state=\"%s\"} %d\n", status_name((enum status) i), is_it ? 1 : 0);
        }
    }
}

static void print_restarts(struct buf *out, const char *name, const struct app_report *app,
                           const struct workload_report *w)
{
    for (int i = 0; i < RESTART_REASON_COUNT && w->supported; i++) {
        add_labels(out, name, app, w);
        buf_printf(out, ",reason=\"%s\"} %" PRIu64 "\n",
                   restart_reason_name((enum restart_reason) i), w->restarts_by[i]);
    }
}

static void add_seconds(struct buf *out, int64_t ms)
{
    buf_printf(out, "} %" PRId64 ".%03" PRId64 "\n", ms / 1000, ms % 1000);
}

static void print_exit_time(struct buf *out, const char *name, const struct app_report *app,
                            const struct workload_report *w)
{
    if (w->last_exit.present) {
        add_labels(out, name, app, w);
        add_seconds(out, w->last_exit.at_unix_ms);
    }
}

/* As a shell has it: 128 and the signal. */
static void print_exit_status(struct buf *out, const char *name, const struct app_report *app,
                              const struct workload_report *w)
{
    const struct exit_report *end = &w->last_exit;
    int signal = end->signal != NULL ? signal_from_name(end->signal) : -1;
    if (end->has_code || signal > 0) {
        add_labels(out, name, app, w);
        buf_printf(out, "} %" PRId64 "\n", signal > 0 ? 128 + (int64_t) signal : end->code);
    }
}

static void print_next_start(struct buf *out, const char *name, const struct app_report *app,
                             const struct workload_report *w)
{
    if (w->next_start_unix_ms != 0) {
        add_labels(out, name, app, w);
        add_seconds(out, w->next_start_unix_ms);
    }
}

static void print_start(struct buf *out, const char *name, const struct app_report *app,
                        const struct workload_report *w)
{
    if (w->started_at_unix_ms != 0) {
        add_labels(out, name, app, w);
        add_seconds(out, w->started_at_unix_ms);
    }
}

static void print_rapid(struct buf *out, const char *name, const struct app_report *app,
                        const struct workload_report *w)
{
    if (w->supported) {
        add_labels(out, name, app, w);
        buf_printf(out, "} %" PRId64 "\n", w->rapid_failures);
    }
}

static void print_healthy(struct buf *out, const char *name, const struct app_report *app,
                          const struct workload_report *w)
{
    if (w->is_checked) {
        add_labels(out, name, app, w);
        buf_printf(out, "} %d\n", w->is_healthy ? 1 : 0);
    }
}

static void print_check_failures(struct buf *out, const char *name, const struct app_report *app,
                                 const struct workload_report *w)
{
    if (w->is_checked) {
        add_labels(out, name, app, w);
        buf_printf(out, "} %" PRId64 "\n", w->check_failures);
    }
}

static void print_processes(struct buf *out, const char *name, const struct app_report *app,
                            const struct workload_report *w)
{
    if (w->has_resources) {
        add_labels(out, name, app, w);
        buf_printf(out, "} %" PRId64 "\n", w->processes);
    }
}

static void print_memory(struct buf *out, const char *name, const struct app_report *app,
                         const struct workload_report *w)
{
    if (w->has_resources) {
        add_labels(out, name, app, w);
        buf_printf(out, "} %" PRId64 "\n", w->memory_bytes);
    }
}

static void print_cpu(struct buf *out, const char *name, const struct app_report *app,
                      const struct workload_report *w)
{
    if (w->has_resources) {
        add_labels(out, name, app, w);
        add_seconds(out, w->cpu_ms);
    }
}

static void print_log_written(struct buf *out, const char *name, const struct app_report *app,
                              const struct workload_report *w)
{
    if (w->log_file != NULL) {
        add_labels(out, name, app, w);
        buf_printf(out, "} %" PRIu64 "\n", w->log_bytes_written);
    }
}

static void print_log_dropped(struct buf *out, const char *name, const struct app_report *app,
                              const struct workload_report *w)
{
    if (w->log_file != NULL) {
        add_labels(out, name, app, w);
        buf_printf(out, "} %" PRIu64 "\n", w->log_bytes_dropped);
    }
}

static void print_log_rotations(struct buf *out, const char *name, const struct app_report *app,
                                const struct workload_report *w)
{
    if (w->log_file != NULL) {
        add_labels(out, name, app, w);
        buf_printf(out, "} %" PRIu64 "\n", w->log_rotations);
    }
}

static const struct {
    const char *name, *type, *help;
    print_fn *print;
} families[] = {
    {"edgible_workload_state",                   "gauge",   "1 for the state that the workload is in.", print_state      },
    {"edgible_workload_restarts_total",          "counter",
     "Restarts by policy since this agent began, by what ended the run before.",                        print_restarts   },
    {"edgible_workload_rapid_failures",          "gauge",
     "Rapid failures in a row; at the limit the workload is failed.",                                   print_rapid      },
    {"edgible_workload_start_time_seconds",      "gauge",   "When the process that runs was started.",
     print_start                                                                                                         },
    {"edgible_workload_next_start_time_seconds", "gauge",   "When one in backoff starts again.",
     print_next_start                                                                                                    },
    {"edgible_workload_last_exit_time_seconds",  "gauge",   "When the last run ended.",
     print_exit_time                                                                                                     },
    {"edgible_workload_last_exit_status",        "gauge",
     "Exit status of the last run; 128 and the signal where one killed it.",                            print_exit_status},
    {"edgible_workload_healthy",                 "gauge",   "1 while its health check passes.",         print_healthy    },
    {"edgible_workload_health_check_failures",   "gauge",   "Health checks that failed, in a row.",
     print_check_failures                                                                                                },
    {"edgible_workload_processes",               "gauge",   "Processes of the workload.",               print_processes  },
    {"edgible_workload_memory_bytes",            "gauge",   "Resident memory of its processes.",        print_memory     },
    {"edgible_workload_cpu_seconds_total",       "counter", "CPU time of the run.",                     print_cpu        },
    {"edgible_workload_log_written_bytes_total", "counter",
     "What it printed, as written to its log.",                                                         print_log_written},
    {"edgible_workload_log_dropped_bytes_total", "counter",
     "What it printed while its log could not be written.",                                             print_log_dropped},
    {"edgible_workload_log_rotations_total",     "counter", "Rotations of its log.",
     print_log_rotations                                                                                                 },
};

static void print_workloads(const struct device_report *device, struct buf *out)
{
    for (size_t f = 0; f < ARRAY_LEN(families); f++) {
        add_family(out, families[f].name, families[f].type, families[f].help);
        for (size_t i = 0; i < device->count; i++) {
            const struct app_report *app = &device->apps[i];
            for (size_t k = 0; k < app->workload_count; k++) {
                families[f].print(out, families[f].name, app, &app->workloads[k]);
            }
        }
    }
}

static void print_applications(const struct device_report *device, struct buf *out)
{
    add_family(out, "edgible_application_generation", "gauge",
               "Versions of the application that this device has accepted.");
    for (size_t i = 0; i < device->count; i++) {
        buf_printf(out, "edgible_application_generation{application=\"%s\"} %" PRId64 "\n",
                   device->apps[i].name, device->apps[i].generation);
    }
}

struct histogram {
    const int64_t *bounds;   /* of the buckets, `size` of them */
    const uint64_t *buckets; /* each without those below */
    size_t size;
    uint64_t count;
    int64_t sum;
    double per_second; /* of the unit of bounds and sum */
    int decimals;      /* of the sum */
};

static void print_histogram(struct buf *out, const char *name, const char *help,
                            const struct histogram *h)
{
    uint64_t below = 0;
    add_family(out, name, "histogram", help);
    for (size_t i = 0; i < h->size; i++) {
        below += h->buckets[i];
        buf_printf(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name,
                   (double) h->bounds[i] / h->per_second, below);
    }
    buf_printf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, h->count);
    buf_printf(out, "%s_sum %.*f\n%s_count %" PRIu64 "\n", name, h->decimals,
               (double) h->sum / h->per_second, name, h->count);
}

static void print_stops(const struct stop_times *times, struct buf *out)
{
    const struct histogram histogram = {
        .bounds = stop_bucket_ms,
        .buckets = times->buckets,
        .size = STOP_BUCKETS,
        .count = times->count,
        .sum = times->sum_ms,
        .per_second = 1000,
        .decimals = 3,
    };
    print_histogram(out, "edgible_stop_duration_seconds",
                    "From the stop signal until nothing was left.", &histogram);
}

static void print_events(const struct events *events, struct buf *out)
{
    add_family(out, "edgible_events_total", "counter", "Events since this agent began.");
    for (int i = 0; i < EVENT_TYPE_COUNT; i++) {
        buf_printf(out, "edgible_events_total{type=\"%s\"} %" PRIu64 "\n",
                   event_type_name((enum event_type) i), events_count(events, (enum event_type) i));
    }
    add_family(out, "edgible_events_lost_total", "counter",
               "Events that found no room in the runtime directory.");
    buf_printf(out, "edgible_events_lost_total %" PRIu64 "\n", events_lost(events));
}

static void print_records(struct persist *persist, struct buf *out)
{
    struct err unused;
    add_family(out, "edgible_records_writable", "gauge",
               "1 while the agent's records can be written.");
    buf_printf(out, "edgible_records_writable{folder=\"stateDir\"} %d\n",
               persist_has_trouble(persist, &unused) ? 0 : 1);
    buf_printf(out, "edgible_records_writable{folder=\"runtimeDir\"} %d\n",
               persist_has_volatile_trouble(persist, &unused) ? 0 : 1);
}

static void print_clock(struct buf *out)
{
    enum clock_floor_source unused;
    add_family(out, "edgible_clock_set", "gauge",
               "0 while the time of day is before what it can be.");
    buf_printf(out, "edgible_clock_set %d\n", clock_is_set() ? 1 : 0);
    add_family(out, "edgible_clock_floor_time_seconds", "gauge",
               "What the time of day cannot be before.");
    buf_printf(out, "edgible_clock_floor_time_seconds %.3f\n",
               (double) clock_floor_ms(&unused) / 1000);
}

static void print_source(const struct source *source, struct buf *out)
{
    struct source_state state = {.last_contact = -1};
    if (source != NULL) {
        source_describe(source, &state);
    }
    mono_ms contact = state.last_contact;
    bool is_up = contact >= 0 && state.trouble == NULL;
    add_family(out, "edgible_source_up", "gauge", "1 while the control plane can be read.");
    buf_printf(out, "edgible_source_up %d\n", is_up ? 1 : 0);
    add_family(out, "edgible_source_last_contact_time_seconds", "gauge",
               "When the control plane was last read.");
    if (contact >= 0) {
        buf_printf(out, "edgible_source_last_contact_time_seconds %.3f\n",
                   (double) (clock_unix_ms() - (loop_now() - contact)) / 1000);
    }
}

static void print_loop(const struct loop_turns *turns, struct buf *out)
{
    const struct histogram histogram = {
        .bounds = loop_bucket_ns,
        .buckets = turns->buckets,
        .size = LOOP_BUCKETS,
        .count = turns->count,
        .sum = turns->sum_ns,
        .per_second = 1e9,
        .decimals = 6,
    };
    print_histogram(out, "edgible_loop_lag_seconds",
                    "How long turns of the agent's event loop took.", &histogram);
    add_family(out, "edgible_loop_lag_max_seconds", "gauge",
               "The longest turn since this agent began.");
    buf_printf(out, "edgible_loop_lag_max_seconds %.6f\n", (double) turns->longest_ns / 1e9);
    add_family(out, "edgible_loop_cpu_max_seconds", "gauge",
               "The longest turn since this agent began, in CPU time of its thread.");
    buf_printf(out, "edgible_loop_cpu_max_seconds %.6f\n", (double) turns->longest_cpu_ns / 1e9);
}

static void print_agent(const struct metrics_params *params, struct buf *out)
{
    struct proc_self_usage self = proc_usage_read_self();
    add_family(out, "edgible_agent_info", "gauge", "The agent's version.");
    buf_printf(out, "edgible_agent_info{version=\"%s\"} 1\n", EDGIBLE_VERSION);
    add_family(out, "edgible_agent_start_time_seconds", "gauge", "When this agent began.");
    buf_printf(out, "edgible_agent_start_time_seconds %.3f\n",
               (double) params->started_unix_ms / 1000);
    add_family(out, "edgible_agent_memory_bytes", "gauge",
               "The agent's own memory (PSS where the kernel tells).");
    buf_printf(out, "edgible_agent_memory_bytes %" PRIu64 "\n", self.memory_bytes);
    add_family(out, "edgible_agent_cpu_seconds_total", "counter", "The agent's own CPU time.");
    buf_printf(out, "edgible_agent_cpu_seconds_total %.3f\n", (double) self.cpu_ms / 1000);
    add_family(out, "edgible_agent_open_files", "gauge", "The agent's open descriptors.");
    buf_printf(out, "edgible_agent_open_files %zu\n", self.open_files);
}

void metrics_print(const struct metrics_params *params, struct buf *out)
{
    print_agent(params, out);
    print_loop(loop_turns(params->loop), out);
    print_records(params->persist, out);
    print_clock(out);
    print_source(params->source, out);
    print_applications(params->device, out);
    print_workloads(params->device, out);
    print_stops(supervisor_stop_times(params->supervisor), out);
    print_events(params->events, out);
}
