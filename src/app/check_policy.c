#include "check_policy.h"

#include <inttypes.h>
#include <stdio.h>

static void print_list(const char *key, bool is_set, const struct strv *items, const char *note)
{
    if (!is_set) {
        return;
    }
    (void) printf("policy.%s:", key);
    for (size_t i = 0; i < items->count; i++) {
        (void) printf(" %s", items->items[i]);
    }
    (void) printf("%s%s\n", items->count == 0 ? " none" : "", note);
}

static void print_number(const char *key, int64_t number, const char *unit)
{
    if (number != UNSET) {
        (void) printf("policy.%s: %" PRId64 "%s\n", key, number, unit);
    }
}

void check_print_policy(const struct policy_config *policy)
{
    static const char no_entries[] = " (in force once this agent serves access entries)";
    static const char no_actions[] = " (in force once this agent does actions from afar)";
    if (!policy->present) {
        (void) printf("policy: none, no document is refused\n");
        return;
    }
    print_list("commands", policy->has_commands, &policy->commands, "");
    print_list("env", policy->env.count > 0, &policy->env, "");
    print_list("users", policy->has_users, &policy->users, "");
    print_list("groups", policy->has_groups, &policy->groups, "");
    print_list("writePaths", policy->has_write_paths, &policy->write_paths, "");
    print_list("readPaths", policy->has_read_paths, &policy->read_paths, "");
    print_number("maxWorkloads", policy->max_workloads, "");
    print_number("minRestartDelay", policy->min_restart_delay_ms, " ms");
    print_number("maxGracePeriod", policy->max_grace_ms, " ms");
    print_number("logs.maxTotal", policy->max_log_bytes, " bytes");
    print_number("limits.memory", policy->limits.memory_bytes, " bytes");
    print_number("limits.cpu", policy->limits.cpu_millis, " thousandths of a CPU");
    print_number("limits.processes", policy->limits.processes, "");
    print_number("limits.openFiles", policy->limits.open_files, "");
    if (policy->allow_new_privileges) {
        (void) printf("policy.allowNewPrivileges: true\n");
    }
    print_list("access.hostnames", policy->has_hostnames, &policy->hostnames, no_entries);
    print_list("access.auth", policy->has_auth_modes, &policy->auth_modes, no_entries);
    print_list("remoteActions", true, &policy->remote_actions, no_actions);
}
