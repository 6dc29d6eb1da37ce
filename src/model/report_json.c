/* Reports as JSON: what does not apply is left out, never null and never guessed. */
#include "edgible/appspec_json.h"
#include "edgible/mem.h"
#include "edgible/parse.h"
#include "edgible/report.h"

void json_set_time(struct json *object, const char *key, int64_t unix_ms)
{
    char text[48];
    if (unix_ms != 0) {
        json_set_string(object, key, format_rfc3339(unix_ms, text, sizeof(text)));
    }
}

static struct json *exit_json(const struct exit_report *end)
{
    struct json *json = json_object();
    json_set_time(json, "at", end->at_unix_ms);
    if (end->uptime_ms >= 0) {
        json_set_seconds(json, "uptimeSeconds", end->uptime_ms);
    }
    if (end->has_code) {
        json_set_int(json, "code", end->code);
    }
    json_set_string(json, "signal", end->signal);
    if (end->signal != NULL) {
        json_set_bool(json, "coreDumped", end->core_dumped);
        json_set_bool(json, "oomKilled", end->oom_killed);
    }
    json_set_string(json, "stage", end->stage);
    json_set_string(json, "errno", end->errno_name);
    json_set_string(json, "unhealthy", end->unhealthy);
    if (end->output.count > 0) {
        json_set_strings(json, "output", &end->output);
    }
    return json;
}

static struct json *ports_json(const struct workload_report *report)
{
    struct json *array = json_array();
    for (size_t i = 0; i < report->port_count; i++) {
        const struct port_report *port = &report->ports[i];
        struct json *json = json_object();
        json_set_string(json, "name", port->spec->name);
        json_set_int(json, "containerPort", port->spec->container_port);
        json_set_string(json, "protocol", port->spec->protocol);
        if (port->is_known) {
            json_set_bool(json, "listening", port->listening);
        }
        json_add(array, json);
    }
    return array;
}

static void set_process(struct json *json, const struct workload_report *report)
{
    if (report->pid != 0) {
        json_set_int(json, "pid", report->pid);
        json_set_int(json, "pgid", report->pid);
    }
    json_set_time(json, "startedAt", report->started_at_unix_ms);
    if (report->uptime_ms >= 0) {
        json_set_seconds(json, "uptimeSeconds", report->uptime_ms);
    }
    if (report->pid != 0) {
        json_set_bool(json, "adopted", report->adopted);
    }
}

static void set_resources(struct json *json, const struct workload_report *report)
{
    if (report->has_resources) {
        struct json *resources = json_object();
        json_set_int(resources, "processes", report->processes);
        json_set_int(resources, "memoryBytes", report->memory_bytes);
        json_set_seconds(resources, "cpuSeconds", report->cpu_ms);
        json_set(json, "resources", resources);
    }
}

static void set_limits(struct json *json, const struct workload_report *report)
{
    static const char *const texts[] = {[LIMIT_NONE] = NULL,
                                        [LIMIT_BY_CGROUP] = "cgroup",
                                        [LIMIT_BY_RLIMIT] = "rlimit",
                                        [LIMIT_NOT_IN_FORCE] = "not in force"};
    struct json *limits = NULL;
    for (int i = 0; i < LIMIT_COUNT; i++) {
        if (report->limits[i] != LIMIT_NONE) {
            limits = limits != NULL ? limits : json_object();
            json_set_string(limits, limit_name((enum limit_kind) i), texts[report->limits[i]]);
        }
    }
    if (limits != NULL) {
        json_set(json, "limits", limits);
    }
}

static void set_log(struct json *json, const struct workload_report *report)
{
    if (report->log_file != NULL) {
        struct json *log = json_object();
        json_set_string(log, "file", report->log_file);
        json_set_int(log, "bytesWritten", (int64_t) report->log_bytes_written);
        json_set_int(log, "bytesDropped", (int64_t) report->log_bytes_dropped);
        json_set_int(log, "rotations", (int64_t) report->log_rotations);
        json_set(json, "log", log);
    }
}

struct json *workload_report_json(const struct workload_report *report)
{
    struct json *json = json_object();
    json_set_string(json, "name", report->name);
    json_set_string(json, "type", report->type);
    json_set_string(json, "status", status_name(report->status));
    json_set_string(json, "reason", report->reason);
    if (report->supported) {
        set_process(json, report);
        json_set_int(json, "restarts", report->restarts);
        json_set_int(json, "rapidFailures", report->rapid_failures);
        json_set_time(json, "nextStartAt", report->next_start_unix_ms);
    }
    if (report->last_exit.present) {
        json_set(json, "lastExit", exit_json(&report->last_exit));
    }
    set_limits(json, report);
    json_set_string(json, "sandbox", report->sandbox);
    if (report->port_count > 0) {
        json_set(json, "ports", ports_json(report));
    }
    set_resources(json, report);
    set_log(json, report);
    return json;
}

static struct json *access_json(const struct app_spec *spec)
{
    struct json *array = json_array();
    for (size_t i = 0; i < spec->access_count; i++) {
        json_add(array, appspec_access_to_json(&spec->access[i]));
    }
    return array;
}

struct json *app_report_json(const struct app_report *report)
{
    struct json *json = json_object();
    json_set_string(json, "id", report->id);
    json_set_string(json, "name", report->name);
    json_set_string(json, "organization", report->organization);
    if (report->generation > 0) {
        json_set_int(json, "generation", report->generation);
    }
    if (report->rolled_back_reason != NULL) {
        struct json *back = json_object();
        json_set_int(back, "from", report->rolled_back_from);
        json_set_int(back, "to", report->rolled_back_to);
        json_set_string(back, "reason", report->rolled_back_reason);
        json_set(json, "rolledBack", back);
    }
    json_set_string(json, "status", status_name_of_app(report->status));
    json_set_string(json, "targetState", report->suspended ? "suspended" : "running");
    struct json *device = json_object();
    json_set_string(device, "name", report->device_name);
    json_set_string(device, "id", report->device_id);
    json_set(json, "device", device);
    json_set_string(json, "source", report->source);
    struct json *workloads = json_array();
    for (size_t i = 0; i < report->workload_count; i++) {
        json_add(workloads, workload_report_json(&report->workloads[i]));
    }
    json_set(json, "workloads", workloads);
    if (report->spec != NULL && report->spec->access_count > 0) {
        json_set(json, "access", access_json(report->spec));
    }
    if (report->errors.count > 0) {
        json_set_strings(json, "errors", &report->errors);
    }
    if (report->warnings.count > 0) {
        json_set_strings(json, "warnings", &report->warnings);
    }
    return json;
}
