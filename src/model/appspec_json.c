#include "edgible/appspec_json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* In milliseconds, which every duration is a whole number of. */
static void set_duration(struct json *object, const char *key, mono_ms ms)
{
    if (ms != UNSET) {
        CLEANUP(free) char *text = xasprintf("%" PRId64 "ms", ms);
        json_set_string(object, key, text);
    }
}

static void set_number(struct json *object, const char *key, int64_t value)
{
    if (value != UNSET) {
        json_set_int(object, key, value);
    }
}

static void set_strings(struct json *object, const char *key, const struct strv *values)
{
    if (values->count > 0) {
        json_set_strings(object, key, values);
    }
}

/* Sets the child where it has anything in it. */
static void set_filled(struct json *object, const char *key, struct json *take_child)
{
    CLEANUP(json) struct json *child = take_child;
    if (json_first(child) != NULL) {
        json_set(object, key, steal_ptr(&child));
    }
}

static struct json *restart_to_json(const struct restart_policy *restart)
{
    static const char *const names[] = {
        [RESTART_UNSET] = NULL,
        [RESTART_ALWAYS] = "always",
        [RESTART_ON_FAILURE] = "on-failure",
        [RESTART_NEVER] = "never",
    };
    struct json *json = json_object();
    json_set_string(json, "policy", names[restart->when]);
    set_duration(json, "initialDelay", restart->initial_delay_ms);
    set_duration(json, "maxDelay", restart->max_delay_ms);
    set_duration(json, "rapidAfter", restart->rapid_after_ms);
    set_number(json, "maxRapidFailures", restart->max_rapid_failures);
    set_duration(json, "stableAfter", restart->stable_after_ms);
    set_duration(json, "retryFailedAfter", restart->retry_failed_after_ms);
    return json;
}

static struct json *stop_to_json(const struct stop_policy *stop)
{
    struct json *json = json_object();
    if (stop->signal != 0) {
        /* By number: each signal has one, and not each a name. */
        CLEANUP(free) char *number = xasprintf("%d", stop->signal);
        json_set_string(json, "signal", number);
    }
    set_duration(json, "gracePeriod", stop->grace_ms);
    return json;
}

static struct json *logs_to_json(const struct log_policy *logs)
{
    struct json *json = json_object();
    set_number(json, "maxSize", logs->max_size_bytes);
    set_number(json, "maxFiles", logs->max_files);
    return json;
}

static struct json *env_to_json(const struct strv *env)
{
    struct json *json = json_object();
    for (size_t i = 0; i < env->count; i++) {
        const char *value = strchr(env->items[i], '=');
        CLEANUP(free) char *name = xstrndup(env->items[i], (size_t) (value - env->items[i]));
        json_set_string(json, name, value + 1);
    }
    return json;
}

static struct json *ports_to_json(const struct workload_spec *workload)
{
    struct json *array = json_array();
    for (size_t i = 0; i < workload->port_count; i++) {
        const struct port_spec *port = &workload->ports[i];
        struct json *json = json_object();
        json_set_string(json, "name", port->name);
        json_set_int(json, "containerPort", port->container_port);
        json_set_string(json, "protocol", port->protocol);
        json_add(array, json);
    }
    return array;
}

static struct json *probe_to_json(const struct health_check *health)
{
    struct json *json = json_object();
    if (health->kind == HEALTH_EXEC) {
        json_set_strings(json, "command", &health->command);
        return json;
    }
    json_set_int(json, "port", health->port);
    json_set_string(json, "path", health->kind == HEALTH_HTTP ? health->path : NULL);
    return json;
}

static struct json *health_to_json(const struct health_check *health)
{
    static const char *const kinds[] = {
        [HEALTH_NONE] = NULL,
        [HEALTH_HTTP] = "http",
        [HEALTH_TCP] = "tcp",
        [HEALTH_EXEC] = "exec",
    };
    struct json *json = json_object();
    json_set(json, kinds[health->kind], probe_to_json(health));
    set_duration(json, "interval", health->interval_ms);
    set_duration(json, "timeout", health->timeout_ms);
    set_duration(json, "startPeriod", health->start_period_ms);
    set_number(json, "failures", health->failures);
    set_number(json, "successes", health->successes);
    return json;
}

static struct json *limits_to_json(const struct limits_spec *limits)
{
    struct json *json = json_object();
    set_number(json, "memory", limits->memory_bytes);
    if (limits->cpu_millis != UNSET) {
        CLEANUP(free)
        char *text = xasprintf("%" PRId64 ".%03" PRId64, limits->cpu_millis / 1000,
                               limits->cpu_millis % 1000);
        json_set_string(json, "cpu", text);
    }
    set_number(json, "processes", limits->processes);
    set_number(json, "openFiles", limits->open_files);
    return json;
}

static struct json *sandbox_to_json(const struct sandbox_spec *sandbox)
{
    struct json *json = json_object();
    set_strings(json, "read", &sandbox->read);
    set_strings(json, "write", &sandbox->write);
    if (sandbox->has_connect) {
        struct json *ports = json_array();
        for (size_t i = 0; i < sandbox->connect_count; i++) {
            json_add_int(ports, sandbox->connect[i]);
        }
        json_set(json, "connect", ports);
    }
    return json;
}

struct json *appspec_workload_to_json(const struct workload_spec *workload)
{
    struct json *json = json_object();
    json_set_string(json, "name", workload->name);
    json_set_string(json, "type", workload->type);
    if (!workload->supported) {
        return json;
    }
    json_set_strings(json, "command", &workload->command);
    json_set_string(json, "workingDir", workload->working_dir);
    json_set_string(json, "logFile", workload->log_file);
    set_filled(json, "env", env_to_json(&workload->env));
    if (workload->port_count > 0) {
        json_set(json, "ports", ports_to_json(workload));
    }
    set_strings(json, "dependsOn", &workload->depends_on);
    set_filled(json, "restart", restart_to_json(&workload->restart));
    set_filled(json, "stop", stop_to_json(&workload->stop));
    set_filled(json, "logs", logs_to_json(&workload->logs));
    json_set_string(json, "user", workload->user);
    json_set_string(json, "group", workload->group);
    if (workload->health.kind != HEALTH_NONE) {
        json_set(json, "healthCheck", health_to_json(&workload->health));
    }
    set_filled(json, "limits", limits_to_json(&workload->limits));
    if (workload->sandbox.present) {
        json_set(json, "sandbox", sandbox_to_json(&workload->sandbox));
    }
    if (workload->allow_new_privileges) {
        json_set_bool(json, "allowNewPrivileges", true);
    }
    return json;
}

static void set_nested(struct json *object, const char *outer, const char *inner, const char *value)
{
    if (value != NULL) {
        struct json *json = json_object();
        json_set_string(json, inner, value);
        json_set(object, outer, json);
    }
}

struct json *appspec_access_to_json(const struct access_spec *access)
{
    struct json *json = json_object();
    struct json *target = json_object();
    json_set_string(json, "name", access->name);
    json_set_string(json, "type", access->type);
    json_set_string(target, "workload", access->workload);
    json_set_string(target, "port", access->port);
    json_set(json, "target", target);
    set_nested(json, "hostname", "custom", access->hostname);
    set_nested(json, "tls", "managedBy", access->tls_managed_by);
    if (access->auth_mode != NULL) {
        struct json *policies = json_object();
        set_nested(policies, "auth", "mode", access->auth_mode);
        json_set(json, "policies", policies);
    }
    return json;
}

static struct json *metadata_to_json(const struct app_spec *app)
{
    struct json *json = json_object();
    json_set_string(json, "name", app->name);
    json_set_string(json, "id", app->id);
    json_set_string(json, "organization", app->organization);
    set_strings(json, "dependsOn", &app->depends_on);
    return json;
}

static struct json *placement_to_json(const struct app_spec *app)
{
    struct json *json = json_object();
    struct json *selector = json_object();
    json_set_string(json, "strategy", app->placement_strategy);
    json_set_string(selector, "deviceName", app->device_name);
    json_set_string(selector, "deviceId", app->device_id);
    set_filled(json, "deviceSelector", selector);
    return json;
}

static struct json *update_to_json(const struct app_spec *app)
{
    struct json *json = json_object();
    if (app->rollback) {
        json_set_bool(json, "rollback", true);
    }
    set_duration(json, "healthyAfter", app->healthy_after_ms);
    return json;
}

static struct json *spec_to_json(const struct app_spec *app)
{
    struct json *json = json_object();
    struct json *workloads = json_array();
    set_filled(json, "placement", placement_to_json(app));
    for (size_t i = 0; i < app->workload_count; i++) {
        json_add(workloads, appspec_workload_to_json(&app->workloads[i]));
    }
    json_set(json, "workloads", workloads);
    set_filled(json, "update", update_to_json(app));
    if (app->access_count > 0) {
        struct json *access = json_array();
        for (size_t i = 0; i < app->access_count; i++) {
            json_add(access, appspec_access_to_json(&app->access[i]));
        }
        json_set(json, "access", access);
    }
    return json;
}

struct json *appspec_to_json(const struct app_spec *app)
{
    struct json *json = json_object();
    json_set_string(json, "apiVersion", "v3");
    json_set_string(json, "kind", "Application");
    json_set(json, "metadata", metadata_to_json(app));
    json_set(json, "spec", spec_to_json(app));
    return json;
}
