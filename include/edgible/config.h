/*
 * config: the agent's configuration file as a struct. Reference: docs/configuration.md.
 */
#ifndef EDGIBLE_CONFIG_H
#define EDGIBLE_CONFIG_H

#include "edgible/appspec.h"
#include "edgible/err.h"
#include "edgible/log.h"

#include <sys/types.h>

enum source_kind { SOURCE_DIRECTORY, SOURCE_HTTPS, SOURCE_ETCD };

struct https_config {
    char *url, *token_file, *ca_file, *cert_file, *key_file; /* url is set; others may be NULL */
    mono_ms poll_interval_ms, report_interval_ms;
    bool insecure; /* http:// to other hosts than loopback is allowed */
};

struct etcd_config {
    struct strv endpoints;
    char *prefix, *ca_file, *cert_file, *key_file, *username, *password_file;
    mono_ms report_interval_ms;
    bool insecure; /* as of https */
};

struct policy_config {
    bool present;
    char *file; /* that it stands in, for those who may want to change it; NULL: not known */
    /* Each list binds only where its has_ member is set: an empty list allows nothing. */
    bool has_commands, has_users, has_groups, has_write_paths, has_read_paths;
    struct strv commands, users, groups, write_paths, read_paths;
    struct strv env;       /* names and patterns of variables that are allowed beside commands */
    int64_t max_workloads; /* UNSET: no limit */
    mono_ms min_restart_delay_ms, max_grace_ms; /* UNSET: no limit */
    int64_t max_log_bytes;     /* of the logs of all workloads together; UNSET: no limit */
    struct limits_spec limits; /* of each workload: the most, and what it has without its own */
    bool allow_new_privileges; /* documents may ask for it */
    /* Of access entries; as the lists above. Nothing serves entries yet. */
    bool has_hostnames, has_auth_modes;
    struct strv hostnames; /* names, and patterns such as "*.example.com" */
    struct strv auth_modes;
    struct strv remote_actions; /* that a control plane may ask for. Nothing does them yet. */
};

struct config {
    char *file; /* where it was read from */
    char *device_name;
    bool is_device_named;           /* by the configuration; else see device_name.h */
    char *device_id, *organization; /* NULL where not given */
    char *state_dir, *runtime_dir, *log_dir;
    enum source_kind source;
    char *directory; /* of SOURCE_DIRECTORY, absolute */
    struct https_config https;
    struct etcd_config etcd;
    struct strv trusted_keys; /* minisign's public keys; empty: sets need not be signed */
    char *api_socket;
    char *api_group; /* NULL where not given */
    enum log_level log_level;
    enum log_format log_format;
    struct workload_defaults defaults; /* complete */
    struct policy_config policy;
};

/* What the defaults depend on, so that parsing stays pure. Strings are the caller's. */
struct config_env {
    char *host_name;
    bool is_root;
    char *state_home;   /* for others than root: $XDG_STATE_HOME or ~/.local/state */
    char *runtime_home; /* $XDG_RUNTIME_DIR, or NULL */
    uid_t uid;
};

/*
 * Parses; NULL with errors in diag. Relative paths are resolved from the folder that `file`
 * (absolute) stands in. Defaults for root are those of docs/configuration.md; for others
 * <state_home>/edgible, <runtime_home>/edgible (or /tmp/edgible-<uid>), <stateDir>/log.
 * Warnings may be in diag also where a config is returned.
 */
struct config *config_parse(const char *file, const char *data, size_t len,
                            const struct config_env *env, struct diag *diag);
void config_free(struct config *config);
/* Both name the same control plane, in the same way. */
bool config_is_same_source(const struct config *a, const struct config *b);
DEFINE_CLEANUP(config, struct config, config_free)

#endif
