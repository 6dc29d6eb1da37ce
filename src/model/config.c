#include "edgible/config.h"

#include "edgible/appspec_read.h"
#include "edgible/config_read.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static const char id_chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";

/* Stands in URLs and keys of control planes as it is. */
static void read_device_word(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    const char *text = docread_text(reader, spot);
    char **ret = target;
    if (text == NULL) {
        return;
    }
    if (text[strspn(text, id_chars)] != '\0' || text[0] == '.' || strlen(text) > 128) {
        docread_error(reader, spot,
                      "'%.80s' is not a name: at most 128 letters, digits, _, - and ., no . first",
                      text);
        return;
    }
    free(*ret);
    *ret = xstrdup(text);
}

static void read_device(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct config, device_name, "name", read_device_word),
        DOC_FIELD(struct config, device_id, "id", read_device_word),
        DOC_FIELD(struct config, organization, "organization", docread_string),
        DOC_FIELDS_END,
    };
    docread_mapping(reader, spot, fields, target);
}

static void read_api(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct config, api_socket, "socket", docread_string),
        DOC_FIELD(struct config, api_group, "group", docread_user_name),
        DOC_FIELDS_END,
    };
    docread_mapping(reader, spot, fields, target);
}

static void read_level(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    const char *text = docread_text(reader, spot);
    if (text != NULL && log_level_parse(text, target) < 0) {
        docread_error(reader, spot, "'%.40s' is none of error, warn, info, debug", text);
    }
}

static void read_format(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    const char *text = docread_text(reader, spot);
    enum log_format *ret = target;
    if (text == NULL) {
        return;
    }
    if (strcmp(text, "text") == 0) {
        *ret = LOG_TEXT;
    } else if (strcmp(text, "json") == 0) {
        *ret = LOG_JSON;
    } else {
        docread_error(reader, spot, "'%.40s' is none of text, json", text);
    }
}

static void read_log(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct config, log_level, "level", read_level),
        DOC_FIELD(struct config, log_format, "format", read_format),
        DOC_FIELDS_END,
    };
    docread_mapping(reader, spot, fields, target);
}

static void read_defaults(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct workload_defaults, restart, "restart", docread_restart),
        DOC_FIELD(struct workload_defaults, stop, "stop", docread_stop),
        DOC_FIELD(struct workload_defaults, logs, "logs", docread_logs),
        DOC_FIELD(struct workload_defaults, user, "user", docread_user_name),
        DOC_FIELDS_END,
    };
    docread_mapping(reader, spot, fields, target);
}

static void read_config(struct doc_reader *reader, const struct doc_spot *spot,
                        struct config *config)
{
    static const struct doc_field fields[] = {
        DOC_FIELD_OF_ALL("device", read_device),
        DOC_FIELD(struct config, state_dir, "stateDir", docread_string),
        DOC_FIELD(struct config, runtime_dir, "runtimeDir", docread_string),
        DOC_FIELD(struct config, log_dir, "logDir", docread_string),
        DOC_FIELD_OF_ALL("controlPlane", config_read_control_plane, .is_required = true),
        DOC_FIELD_OF_ALL("api", read_api),
        DOC_FIELD_OF_ALL("log", read_log),
        DOC_FIELD(struct config, defaults, "defaults", read_defaults),
        DOC_FIELD(struct config, policy, "policy", config_read_policy),
        DOC_FIELDS_END,
    };
    docread_mapping(reader, spot, fields, config);
}

static struct config *new_config(const char *file)
{
    struct config *config = xcalloc(1, sizeof(*config));
    config->file = xstrdup(file);
    config->policy.file = xstrdup(file);
    config->log_level = LOG_INFO;
    config->defaults = (struct workload_defaults){
        .restart = {.when = RESTART_ALWAYS,
                    .initial_delay_ms = 500,
                    .max_delay_ms = 60000,
                    .rapid_after_ms = 10000,
                    .max_rapid_failures = 5,
                    .stable_after_ms = 60000,
                    .retry_failed_after_ms = 0},
        .stop = {.signal = SIGTERM,    .grace_ms = 10000     },
        .logs = {.max_size_bytes = 256L << 20, .max_files = 5},
    };
    config->https.poll_interval_ms = 30000;
    config->https.report_interval_ms = 60000;
    config->etcd.report_interval_ms = 60000;
    config_init_policy(&config->policy);
    return config;
}

static void set_default(char **member, char *take_text)
{
    if (*member == NULL) {
        *member = take_text;
    } else {
        free(take_text);
    }
}

/* What the file left out and what depends on it; paths are resolved by then. */
static void fill_defaults(struct config *config, const struct config_env *env)
{
    unsigned uid = (unsigned) env->uid;
    config->is_device_named = config->device_name != NULL;
    set_default(&config->device_name, xstrdup_or_null(env->host_name));
    if (env->is_root) {
        set_default(&config->state_dir, xstrdup("/var/lib/edgible"));
        set_default(&config->runtime_dir, xstrdup("/run/edgible"));
        set_default(&config->log_dir, xstrdup("/var/log/edgible"));
    }
    set_default(&config->state_dir, env->state_home != NULL
                                        ? xasprintf("%s/edgible", env->state_home)
                                        : xasprintf("/tmp/edgible-%u/state", uid));
    set_default(&config->runtime_dir, env->runtime_home != NULL
                                          ? xasprintf("%s/edgible", env->runtime_home)
                                          : xasprintf("/tmp/edgible-%u", uid));
    set_default(&config->log_dir, xasprintf("%s/log", config->state_dir));
    set_default(&config->api_socket, xasprintf("%s/agent.sock", config->runtime_dir));
    set_default(&config->etcd.prefix, xstrdup("/edgible"));
}

static void check_socket(const struct config *config, struct diag *diag)
{
    size_t max = sizeof(((struct sockaddr_un *) NULL)->sun_path) - 1;
    if (strlen(config->api_socket) > max) {
        diag_add(diag, DIAG_ERROR, config->file, 0, 0, "api.socket",
                 "'%.200s' is longer than the %zu bytes that a socket's path may have",
                 config->api_socket, max);
    }
}

/* The one document of the file; NULL with an error. */
static struct yaml_doc *read_document(const char *file, const char *data, size_t len,
                                      struct diag *diag)
{
    struct yaml_reader reader;
    yaml_reader_init(&reader, file, data, len, diag);
    CLEANUP(yaml_doc) struct yaml_doc *doc = yaml_reader_next(&reader);
    CLEANUP(yaml_doc) struct yaml_doc *second = yaml_reader_next(&reader);
    if (second != NULL) {
        diag_add(diag, DIAG_ERROR, file, second->root->line, second->root->column, "",
                 "a second document: the configuration is one");
    } else if (doc == NULL && diag->error_count == 0) {
        diag_add(diag, DIAG_ERROR, file, 0, 0, "", "the file is empty: controlPlane is required");
    }
    return steal_ptr(&doc);
}

struct config *config_parse(const char *file, const char *data, size_t len,
                            const struct config_env *env, struct diag *diag)
{
    CLEANUP(diag) struct diag found = {0};
    CLEANUP(yaml_doc) struct yaml_doc *doc = read_document(file, data, len, &found);
    CLEANUP(config) struct config *config = new_config(file);
    if (doc != NULL) {
        struct doc_reader reader = {.file = file, .diag = &found, .unknown_keys = DIAG_ERROR};
        struct doc_spot root = {.node = doc->root};
        diag_add_all(&found, &doc->diag);
        read_config(&reader, &root, config);
        config_resolve_paths(config);
        fill_defaults(config, env);
        check_socket(config, &found);
    }
    diag_sort(&found);
    diag_append(diag, &found);
    return found.error_count == 0 ? steal_ptr(&config) : NULL;
}

static void free_sources(struct config *config)
{
    free(config->directory);
    free(config->https.url);
    free(config->https.token_file);
    free(config->https.ca_file);
    free(config->https.cert_file);
    free(config->https.key_file);
    strv_fini(&config->etcd.endpoints);
    free(config->etcd.prefix);
    free(config->etcd.ca_file);
    free(config->etcd.cert_file);
    free(config->etcd.key_file);
    free(config->etcd.username);
    free(config->etcd.password_file);
    strv_fini(&config->trusted_keys);
}

void config_free(struct config *config)
{
    if (config == NULL) {
        return;
    }
    free_sources(config);
    free(config->file);
    free(config->device_name);
    free(config->device_id);
    free(config->organization);
    free(config->state_dir);
    free(config->runtime_dir);
    free(config->log_dir);
    free(config->api_socket);
    free(config->api_group);
    free(config->defaults.user);
    config_fini_policy(&config->policy);
    free(config);
}
