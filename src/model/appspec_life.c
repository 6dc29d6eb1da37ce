#include "edgible/appspec.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static void free_ports(struct port_spec *ports, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(ports[i].name);
        free(ports[i].protocol);
    }
    free(ports);
}

void workload_spec_fini(struct workload_spec *spec)
{
    free(spec->name);
    free(spec->type);
    strv_fini(&spec->command);
    free(spec->working_dir);
    free(spec->log_file);
    strv_fini(&spec->env);
    free_ports(spec->ports, spec->port_count);
    strv_fini(&spec->depends_on);
    free(spec->user);
    free(spec->group);
    free(spec->health.path);
    strv_fini(&spec->health.command);
    strv_fini(&spec->sandbox.read);
    strv_fini(&spec->sandbox.write);
    free(spec->sandbox.connect);
    *spec = (struct workload_spec){0};
}

static void copy_ports(struct workload_spec *to, const struct workload_spec *from)
{
    to->ports = NULL;
    if (from->port_count == 0) {
        return;
    }
    to->ports = xcalloc(from->port_count, sizeof(*to->ports));
    for (size_t i = 0; i < from->port_count; i++) {
        to->ports[i] = from->ports[i];
        to->ports[i].name = xstrdup_or_null(from->ports[i].name);
        to->ports[i].protocol = xstrdup_or_null(from->ports[i].protocol);
    }
}

static void copy_sandbox(struct sandbox_spec *to, const struct sandbox_spec *from)
{
    strv_copy(&to->read, &from->read);
    strv_copy(&to->write, &from->write);
    to->connect = NULL;
    if (from->connect_count > 0) {
        to->connect = xcalloc(from->connect_count, sizeof(*to->connect));
        memcpy(to->connect, from->connect, from->connect_count * sizeof(*to->connect));
    }
}

void workload_spec_copy(struct workload_spec *to, const struct workload_spec *from)
{
    *to = *from;
    to->name = xstrdup_or_null(from->name);
    to->type = xstrdup_or_null(from->type);
    strv_copy(&to->command, &from->command);
    to->working_dir = xstrdup_or_null(from->working_dir);
    to->log_file = xstrdup_or_null(from->log_file);
    strv_copy(&to->env, &from->env);
    copy_ports(to, from);
    strv_copy(&to->depends_on, &from->depends_on);
    to->user = xstrdup_or_null(from->user);
    to->group = xstrdup_or_null(from->group);
    to->health.path = xstrdup_or_null(from->health.path);
    strv_copy(&to->health.command, &from->health.command);
    copy_sandbox(&to->sandbox, &from->sandbox);
}

static void default_to(int64_t *member, int64_t value)
{
    if (*member == UNSET) {
        *member = value;
    }
}

static void default_restart(struct restart_policy *policy, const struct restart_policy *defaults)
{
    if (policy->when == RESTART_UNSET) {
        policy->when = defaults->when;
    }
    bool has_max = policy->max_delay_ms != UNSET;
    bool has_initial = policy->initial_delay_ms != UNSET;
    default_to(&policy->initial_delay_ms, defaults->initial_delay_ms);
    default_to(&policy->max_delay_ms, defaults->max_delay_ms);
    /* A document that gives one of the two can contradict the default of the other: what is
     * written down wins. */
    if (policy->initial_delay_ms > policy->max_delay_ms && has_max && !has_initial) {
        policy->initial_delay_ms = policy->max_delay_ms;
    } else if (policy->initial_delay_ms > policy->max_delay_ms) {
        policy->max_delay_ms = policy->initial_delay_ms;
    }
    default_to(&policy->rapid_after_ms, defaults->rapid_after_ms);
    default_to(&policy->max_rapid_failures, defaults->max_rapid_failures);
    default_to(&policy->stable_after_ms, defaults->stable_after_ms);
    default_to(&policy->retry_failed_after_ms, defaults->retry_failed_after_ms);
}

static void default_health(struct health_check *health)
{
    if (health->kind == HEALTH_NONE) {
        return;
    }
    default_to(&health->interval_ms, 10000);
    default_to(&health->timeout_ms, 3000);
    default_to(&health->start_period_ms, 0);
    default_to(&health->failures, 3);
    default_to(&health->successes, 1);
}

void workload_spec_apply_defaults(struct workload_spec *spec,
                                  const struct workload_defaults *defaults)
{
    default_restart(&spec->restart, &defaults->restart);
    if (spec->stop.signal == 0) {
        spec->stop.signal = defaults->stop.signal;
    }
    default_to(&spec->stop.grace_ms, defaults->stop.grace_ms);
    default_to(&spec->logs.max_size_bytes, defaults->logs.max_size_bytes);
    default_to(&spec->logs.max_files, defaults->logs.max_files);
    default_health(&spec->health);
    if (spec->user == NULL) {
        spec->user = xstrdup_or_null(defaults->user);
    }
}

static void free_access(struct access_spec *access, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(access[i].name);
        free(access[i].type);
        free(access[i].workload);
        free(access[i].port);
        free(access[i].hostname);
        free(access[i].tls_managed_by);
        free(access[i].auth_mode);
    }
    free(access);
}

struct app_spec *app_spec_share(struct app_spec *spec)
{
    spec->shares++;
    return spec;
}

void app_spec_free(struct app_spec *spec)
{
    if (spec == NULL || spec->shares-- > 0) {
        return;
    }
    for (size_t i = 0; i < spec->workload_count; i++) {
        workload_spec_fini(&spec->workloads[i]);
    }
    free(spec->workloads);
    free_access(spec->access, spec->access_count);
    strv_fini(&spec->depends_on);
    free(spec->name);
    free(spec->id);
    free(spec->organization);
    free(spec->device_name);
    free(spec->device_id);
    free(spec->placement_strategy);
    free(spec->file);
    free(spec);
}

static void copy_access(struct access_spec *to, const struct access_spec *from)
{
    to->name = xstrdup_or_null(from->name);
    to->type = xstrdup_or_null(from->type);
    to->workload = xstrdup_or_null(from->workload);
    to->port = xstrdup_or_null(from->port);
    to->hostname = xstrdup_or_null(from->hostname);
    to->tls_managed_by = xstrdup_or_null(from->tls_managed_by);
    to->auth_mode = xstrdup_or_null(from->auth_mode);
}

struct app_spec *app_spec_copy(const struct app_spec *spec)
{
    struct app_spec *copy = xmalloc(sizeof(*copy));
    *copy = *spec;
    copy->shares = 0;
    copy->name = xstrdup_or_null(spec->name);
    copy->id = xstrdup_or_null(spec->id);
    copy->organization = xstrdup_or_null(spec->organization);
    copy->device_name = xstrdup_or_null(spec->device_name);
    copy->device_id = xstrdup_or_null(spec->device_id);
    copy->placement_strategy = xstrdup_or_null(spec->placement_strategy);
    strv_copy(&copy->depends_on, &spec->depends_on);
    copy->workloads = xcalloc(spec->workload_count, sizeof(*copy->workloads));
    for (size_t i = 0; i < spec->workload_count; i++) {
        workload_spec_copy(&copy->workloads[i], &spec->workloads[i]);
    }
    copy->access = xcalloc(spec->access_count, sizeof(*copy->access));
    for (size_t i = 0; i < spec->access_count; i++) {
        copy_access(&copy->access[i], &spec->access[i]);
    }
    copy->file = xstrdup_or_null(spec->file);
    return copy;
}

const struct workload_spec *app_spec_find_workload(const struct app_spec *spec, const char *name)
{
    for (size_t i = 0; i < spec->workload_count; i++) {
        if (spec->workloads[i].name != NULL && strcmp(spec->workloads[i].name, name) == 0) {
            return &spec->workloads[i];
        }
    }
    return NULL;
}

void app_docs_fini(struct app_docs *docs)
{
    for (size_t i = 0; i < docs->count; i++) {
        app_spec_free(docs->docs[i].spec);
        free(docs->docs[i].name);
        diag_fini(&docs->docs[i].diag);
    }
    free(docs->docs);
    diag_fini(&docs->diag);
    *docs = (struct app_docs){0};
}

void cleanup_app_docs(struct app_docs *docs)
{
    app_docs_fini(docs);
}

size_t app_docs_error_count(const struct app_docs *docs)
{
    size_t count = docs->diag.error_count;
    for (size_t i = 0; i < docs->count; i++) {
        count += docs->docs[i].diag.error_count;
    }
    return count;
}
