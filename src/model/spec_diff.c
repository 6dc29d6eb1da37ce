#include "edgible/spec_diff.h"

#include "edgible/map.h"

#include <string.h>

struct diff {
    enum spec_change change;
    struct strv *fields; /* NULL: nobody asks */
};

static bool is_same(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static void note(struct diff *diff, enum spec_change change, char *take_field)
{
    CLEANUP(free) char *field = take_field;
    if (change > diff->change) {
        diff->change = change;
    }
    if (diff->fields != NULL) {
        strv_add_take(diff->fields, steal_ptr(&field));
    }
}

static void diff_text(struct diff *diff, enum spec_change change, const char *field,
                      const char *from, const char *to)
{
    if (!is_same(from, to)) {
        note(diff, change, xstrdup(field));
    }
}

static void diff_number(struct diff *diff, enum spec_change change, const char *field, int64_t from,
                        int64_t to)
{
    if (from != to) {
        note(diff, change, xstrdup(field));
    }
}

/* Word by word where both have as many, else the whole. */
static void diff_words(struct diff *diff, const char *field, const struct strv *from,
                       const struct strv *to)
{
    if (from->count != to->count) {
        note(diff, SPEC_RESTART, xstrdup(field));
        return;
    }
    for (size_t i = 0; i < from->count; i++) {
        if (strcmp(from->items[i], to->items[i]) != 0) {
            note(diff, SPEC_RESTART, xasprintf("%s[%zu]", field, i));
        }
    }
}

static void diff_set(struct diff *diff, enum spec_change change, const char *field,
                     const struct strv *from, const struct strv *to)
{
    if (!strv_is_equal(from, to)) {
        note(diff, change, xstrdup(field));
    }
}

static char *variable_name(const char *entry)
{
    return xstrndup(entry, strcspn(entry, "="));
}

static struct map *map_env(const struct strv *env)
{
    struct map *map = map_new();
    for (size_t i = 0; i < env->count; i++) {
        CLEANUP(free) char *name = variable_name(env->items[i]);
        map_put(map, name, env->items[i]);
    }
    return map;
}

/* The order does not count: a process sees none that it could rely on. */
static void diff_env(struct diff *diff, const struct strv *from, const struct strv *to)
{
    if (strv_is_equal(from, to)) {
        return;
    }
    CLEANUP(map) struct map *before = map_env(from);
    CLEANUP(map) struct map *after = map_env(to);
    for (size_t i = 0; i < from->count; i++) {
        CLEANUP(free) char *name = variable_name(from->items[i]);
        if (!is_same(from->items[i], map_get(after, name))) {
            note(diff, SPEC_RESTART, xasprintf("env.%s", name));
        }
    }
    for (size_t i = 0; i < to->count; i++) {
        CLEANUP(free) char *name = variable_name(to->items[i]);
        if (!map_has(before, name)) {
            note(diff, SPEC_RESTART, xasprintf("env.%s", name));
        }
    }
}

static bool is_same_port(const struct port_spec *a, const struct port_spec *b)
{
    return is_same(a->name, b->name) && a->container_port == b->container_port &&
           is_same(a->protocol, b->protocol);
}

static void diff_ports(struct diff *diff, const struct workload_spec *from,
                       const struct workload_spec *to)
{
    if (from->port_count != to->port_count) {
        note(diff, SPEC_LIVE, xstrdup("ports"));
        return;
    }
    for (size_t i = 0; i < from->port_count; i++) {
        if (!is_same_port(&from->ports[i], &to->ports[i])) {
            note(diff, SPEC_LIVE, xasprintf("ports[%zu]", i));
        }
    }
}

static void diff_restart(struct diff *diff, const struct restart_policy *from,
                         const struct restart_policy *to)
{
    diff_number(diff, SPEC_LIVE, "restart.policy", from->when, to->when);
    diff_number(diff, SPEC_LIVE, "restart.initialDelay", from->initial_delay_ms,
                to->initial_delay_ms);
    diff_number(diff, SPEC_LIVE, "restart.maxDelay", from->max_delay_ms, to->max_delay_ms);
    diff_number(diff, SPEC_LIVE, "restart.rapidAfter", from->rapid_after_ms, to->rapid_after_ms);
    diff_number(diff, SPEC_LIVE, "restart.maxRapidFailures", from->max_rapid_failures,
                to->max_rapid_failures);
    diff_number(diff, SPEC_LIVE, "restart.stableAfter", from->stable_after_ms, to->stable_after_ms);
    diff_number(diff, SPEC_LIVE, "restart.retryFailedAfter", from->retry_failed_after_ms,
                to->retry_failed_after_ms);
}

static void diff_health(struct diff *diff, const struct health_check *from,
                        const struct health_check *to)
{
    static const char *const kinds[] = {[HEALTH_NONE] = "none",
                                        [HEALTH_HTTP] = "http",
                                        [HEALTH_TCP] = "tcp",
                                        [HEALTH_EXEC] = "exec"};
    if (from->kind != to->kind) {
        note(diff, SPEC_LIVE, xstrdup("healthCheck"));
        return;
    }
    if (from->port != to->port) {
        note(diff, SPEC_LIVE, xasprintf("healthCheck.%s.port", kinds[to->kind]));
    }
    diff_text(diff, SPEC_LIVE, "healthCheck.http.path", from->path, to->path);
    diff_set(diff, SPEC_LIVE, "healthCheck.exec.command", &from->command, &to->command);
    diff_number(diff, SPEC_LIVE, "healthCheck.interval", from->interval_ms, to->interval_ms);
    diff_number(diff, SPEC_LIVE, "healthCheck.timeout", from->timeout_ms, to->timeout_ms);
    diff_number(diff, SPEC_LIVE, "healthCheck.startPeriod", from->start_period_ms,
                to->start_period_ms);
    diff_number(diff, SPEC_LIVE, "healthCheck.failures", from->failures, to->failures);
    diff_number(diff, SPEC_LIVE, "healthCheck.successes", from->successes, to->successes);
}

static void diff_sandbox(struct diff *diff, const struct sandbox_spec *from,
                         const struct sandbox_spec *to)
{
    if (from->present != to->present) {
        note(diff, SPEC_RESTART, xstrdup("sandbox"));
        return;
    }
    diff_set(diff, SPEC_RESTART, "sandbox.read", &from->read, &to->read);
    diff_set(diff, SPEC_RESTART, "sandbox.write", &from->write, &to->write);
    bool is_same_connect =
        from->has_connect == to->has_connect && from->connect_count == to->connect_count &&
        (from->connect_count == 0 ||
         memcmp(from->connect, to->connect, from->connect_count * sizeof(*from->connect)) == 0);
    if (!is_same_connect) {
        note(diff, SPEC_RESTART, xstrdup("sandbox.connect"));
    }
}

static void diff_process(struct diff *diff, const struct workload_spec *from,
                         const struct workload_spec *to)
{
    diff_text(diff, SPEC_RESTART, "type", from->type, to->type);
    diff_words(diff, "command", &from->command, &to->command);
    diff_text(diff, SPEC_RESTART, "workingDir", from->working_dir, to->working_dir);
    diff_env(diff, &from->env, &to->env);
    diff_text(diff, SPEC_RESTART, "user", from->user, to->user);
    diff_text(diff, SPEC_RESTART, "group", from->group, to->group);
    diff_number(diff, SPEC_RESTART, "limits.memory", from->limits.memory_bytes,
                to->limits.memory_bytes);
    diff_number(diff, SPEC_RESTART, "limits.cpu", from->limits.cpu_millis, to->limits.cpu_millis);
    diff_number(diff, SPEC_RESTART, "limits.processes", from->limits.processes,
                to->limits.processes);
    diff_number(diff, SPEC_RESTART, "limits.openFiles", from->limits.open_files,
                to->limits.open_files);
    diff_sandbox(diff, &from->sandbox, &to->sandbox);
    diff_number(diff, SPEC_RESTART, "allowNewPrivileges", from->allow_new_privileges,
                to->allow_new_privileges);
}

static void diff_live(struct diff *diff, const struct workload_spec *from,
                      const struct workload_spec *to)
{
    diff_text(diff, SPEC_LIVE, "logFile", from->log_file, to->log_file);
    diff_ports(diff, from, to);
    diff_set(diff, SPEC_LIVE, "dependsOn", &from->depends_on, &to->depends_on);
    diff_restart(diff, &from->restart, &to->restart);
    diff_number(diff, SPEC_LIVE, "stop.signal", from->stop.signal, to->stop.signal);
    diff_number(diff, SPEC_LIVE, "stop.gracePeriod", from->stop.grace_ms, to->stop.grace_ms);
    diff_number(diff, SPEC_LIVE, "logs.maxSize", from->logs.max_size_bytes,
                to->logs.max_size_bytes);
    diff_number(diff, SPEC_LIVE, "logs.maxFiles", from->logs.max_files, to->logs.max_files);
    diff_health(diff, &from->health, &to->health);
}

enum spec_change spec_diff_workload(const struct workload_spec *from,
                                    const struct workload_spec *to, struct strv *fields)
{
    struct diff diff = {.change = SPEC_SAME, .fields = fields};
    diff_process(&diff, from, to);
    diff_live(&diff, from, to);
    return diff.change;
}

static bool is_same_access(const struct access_spec *a, const struct access_spec *b)
{
    return is_same(a->name, b->name) && is_same(a->type, b->type) &&
           is_same(a->workload, b->workload) && is_same(a->port, b->port) &&
           is_same(a->hostname, b->hostname) && is_same(a->tls_managed_by, b->tls_managed_by) &&
           is_same(a->auth_mode, b->auth_mode);
}

static bool is_same_accesses(const struct app_spec *a, const struct app_spec *b)
{
    bool same = a->access_count == b->access_count;
    for (size_t i = 0; same && i < a->access_count; i++) {
        same = is_same_access(&a->access[i], &b->access[i]);
    }
    return same;
}

void spec_diff_app_head(const struct app_spec *from, const struct app_spec *to, struct strv *fields)
{
    struct diff diff = {.change = SPEC_SAME, .fields = fields};
    diff_text(&diff, SPEC_LIVE, "metadata.name", from->name, to->name);
    diff_text(&diff, SPEC_LIVE, "metadata.id", from->id, to->id);
    diff_text(&diff, SPEC_LIVE, "metadata.organization", from->organization, to->organization);
    diff_set(&diff, SPEC_LIVE, "metadata.dependsOn", &from->depends_on, &to->depends_on);
    diff_text(&diff, SPEC_LIVE, "spec.placement.deviceSelector.deviceName", from->device_name,
              to->device_name);
    diff_text(&diff, SPEC_LIVE, "spec.placement.deviceSelector.deviceId", from->device_id,
              to->device_id);
    diff_text(&diff, SPEC_LIVE, "spec.placement.strategy", from->placement_strategy,
              to->placement_strategy);
    diff_number(&diff, SPEC_LIVE, "spec.update.rollback", from->rollback, to->rollback);
    diff_number(&diff, SPEC_LIVE, "spec.update.healthyAfter", from->healthy_after_ms,
                to->healthy_after_ms);
    if (!is_same_accesses(from, to)) {
        note(&diff, SPEC_LIVE, xstrdup("spec.access"));
    }
}

bool spec_diff_app_is_different(const struct app_spec *from, const struct app_spec *to)
{
    CLEANUP(strv) struct strv head = {0};
    spec_diff_app_head(from, to, &head);
    if (head.count > 0 || from->workload_count != to->workload_count) {
        return true;
    }
    for (size_t i = 0; i < from->workload_count; i++) {
        const struct workload_spec *a = &from->workloads[i];
        const struct workload_spec *b = &to->workloads[i];
        if (!is_same(a->name, b->name) || spec_diff_workload(a, b, NULL) != SPEC_SAME) {
            return true;
        }
    }
    return false;
}
