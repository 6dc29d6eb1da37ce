#include "edgible/appspec_read.h"
#include "edgible/doc_path.h"
#include "edgible/map.h"
#include "edgible/parse.h"

#include <stdlib.h>
#include <string.h>

#define MAX_PORTS 1000
/* So that those of the rotated files (".100") have 255 at most, as file systems take. */
#define LOG_NAME_MAX 251

void appspec_init_policies(struct restart_policy *restart, struct stop_policy *stop,
                           struct log_policy *logs)
{
    *restart = (struct restart_policy){
        .when = RESTART_UNSET,
        .initial_delay_ms = UNSET,
        .max_delay_ms = UNSET,
        .rapid_after_ms = UNSET,
        .max_rapid_failures = UNSET,
        .stable_after_ms = UNSET,
        .retry_failed_after_ms = UNSET,
    };
    *stop = (struct stop_policy){.signal = 0, .grace_ms = UNSET};
    *logs = (struct log_policy){.max_size_bytes = UNSET, .max_files = UNSET};
}

static void init_workload(struct workload_spec *workload, size_t line)
{
    appspec_init_policies(&workload->restart, &workload->stop, &workload->logs);
    workload->health = (struct health_check){
        .interval_ms = UNSET,
        .timeout_ms = UNSET,
        .start_period_ms = UNSET,
        .failures = UNSET,
        .successes = UNSET,
    };
    workload->limits = (struct limits_spec){UNSET, UNSET, UNSET, UNSET};
    workload->line = line;
}

static bool is_env_name(const char *name)
{
    if (*name == '\0' || (*name >= '0' && *name <= '9')) {
        return false;
    }
    for (; *name != '\0'; name++) {
        bool is_letter = (*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z');
        if (!is_letter && *name != '_' && !(*name >= '0' && *name <= '9')) {
            return false;
        }
    }
    return true;
}

/* Each of its folders is looked at when a program is started. */
#define MAX_PATH_BYTES 16384

#define MAX_VARIABLES 4096
#define MAX_ENV_BYTES ((size_t) 1024 * 1024)

/* Some of it no program could be started with; and each start and record goes through all of it. */
static bool is_too_large(struct doc_reader *reader, const struct doc_spot *spot)
{
    const struct doc_node *node = spot->node;
    size_t bytes = 0;
    if (node->count > MAX_VARIABLES) {
        docread_error(reader, spot, "has %zu variables, the most is %d", node->count,
                      MAX_VARIABLES);
        return true;
    }
    for (size_t i = 0; i < node->count; i++) {
        size_t value = node->items[i]->kind == DOC_SCALAR ? strlen(node->items[i]->value) : 0;
        size_t len = strlen(node->keys[i]->value) + 1 + value;
        if (len > APPSPEC_MAX_WORD_BYTES) {
            const char *name = node->keys[i]->value;
            struct doc_spot at = {.up = spot, .key = name, .node = node->items[i]};
            docread_error(reader, &at, "is longer than 128 KiB");
            return true;
        }
        bytes += len + 1;
    }
    if (bytes > MAX_ENV_BYTES) {
        docread_error(reader, spot, "has %zu bytes in all, the most is 1 MiB", bytes);
    }
    return bytes > MAX_ENV_BYTES;
}

static void read_env(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    const struct doc_node *node = spot->node;
    if (node->kind != DOC_MAPPING) {
        docread_mismatch(reader, spot, "a mapping");
        return;
    }
    if (!reader->is_record && is_too_large(reader, spot)) {
        return;
    }
    for (size_t i = 0; i < node->count; i++) {
        const char *name = node->keys[i]->value;
        struct doc_spot at_name = {.up = spot, .key = name, .node = node->keys[i]};
        struct doc_spot at_value = {.up = spot, .key = name, .node = node->items[i]};
        if (!is_env_name(name)) {
            docread_error(reader, &at_name,
                          "is not a variable's name: letters, digits and _, no digit first");
        } else if (strncmp(name, "EDGIBLE_", 8) == 0) {
            docread_error(reader, &at_name, "names that start with EDGIBLE_ are the agent's own");
        } else if (node->items[i]->kind != DOC_SCALAR) {
            docread_mismatch(reader, &at_value, "a string");
        } else if (!reader->is_record && strcmp(name, "PATH") == 0 &&
                   strlen(node->items[i]->value) > MAX_PATH_BYTES) {
            docread_error(reader, &at_value, "must be at most %d bytes", MAX_PATH_BYTES);
        } else {
            strv_add_take(target, xasprintf("%s=%s", name, node->items[i]->value));
        }
    }
    strv_pack(target);
}

static void read_protocol(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    const char *text = docread_text(reader, spot);
    char **ret = target;
    if (text == NULL) {
        return;
    }
    if (strcmp(text, "tcp") != 0 && strcmp(text, "udp") != 0) {
        docread_error(reader, spot, "'%.40s' is none of tcp, udp", text);
        return;
    }
    *ret = xstrdup(text);
}

static void read_one_port(struct doc_reader *reader, const struct doc_spot *spot,
                          struct port_spec *port)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct port_spec, name, "name", docread_label),
        DOC_FIELD(struct port_spec, container_port, "containerPort", docread_port,
                  .is_required = true),
        DOC_FIELD(struct port_spec, protocol, "protocol", read_protocol),
        DOC_FIELDS_END,
    };
    docread_mapping(reader, spot, fields, port);
    if (port->protocol == NULL) {
        port->protocol = xstrdup("tcp");
    }
}

static void read_ports(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    struct workload_spec *workload = target;
    if (!docread_is_list(reader, spot, MAX_PORTS)) {
        return;
    }
    CLEANUP(map) struct map *names = map_new();
    workload->ports = xcalloc(spot->node->count, sizeof(*workload->ports));
    for (size_t i = 0; i < spot->node->count; i++) {
        struct doc_spot item = docread_item(spot, i);
        struct port_spec *port = &workload->ports[workload->port_count++];
        read_one_port(reader, &item, port);
        if (port->name == NULL) {
            continue;
        }
        if (map_has(names, port->name)) {
            docread_error(reader, &item, "the port name '%s' stands twice", port->name);
        }
        map_put(names, port->name, port);
    }
}

/* In a folder where names stand for devices and descriptors, and not for files, as in /dev/shm. The
 * rest of /proc and /sys is refused when the log is opened. */
static bool is_device_path(const char *path)
{
    static const char *const folders[] = {"/dev/", "/proc/self/"};
    bool is_device = false;
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        is_device = is_device || strncmp(path, folders[i], strlen(folders[i])) == 0;
    }
    return is_device && strncmp(path, "/dev/shm/", strlen("/dev/shm/")) != 0;
}

static void put_log_file(struct doc_reader *reader, const struct doc_spot *spot,
                         struct workload_spec *workload, char *take_path)
{
    CLEANUP(free) char *path = take_path;
    CLEANUP(free) char *plain = xstrdup(path);
    doc_path_make_plain(plain);
    if (strcmp(plain, APPSPEC_NO_LOG) == 0) {
        workload->log_file = steal_ptr(&plain);
    } else if (!reader->is_record && is_device_path(plain)) {
        docread_error(reader, spot,
                      "'%.200s' is not a file that a log can be written to: leave logFile out, and "
                      "the output is in the log of logDir, or use " APPSPEC_NO_LOG
                      " to keep no log",
                      plain);
    } else {
        workload->log_file = steal_ptr(&path);
    }
}

/* After workingDir, from which a relative one is resolved. */
static void read_log_file(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    struct workload_spec *workload = target;
    const char *text = docread_text(reader, spot);
    if (text == NULL) {
        return;
    }
    const char *slash = strrchr(text, '/');
    if (text[strlen(text) - 1] == '/') {
        docread_error(reader, spot, "'%.200s' names a directory", text);
    } else if (strlen(slash != NULL ? slash + 1 : text) > LOG_NAME_MAX) {
        docread_error(reader, spot, "the file's name is longer than %d bytes", LOG_NAME_MAX);
    } else if (!docread_is_doc_path(reader, spot, text)) {
        return;
    } else if (text[0] == '/') {
        put_log_file(reader, spot, workload, xstrdup(text));
    } else if (workload->working_dir != NULL) {
        const char *between = strcmp(workload->working_dir, "/") == 0 ? "" : "/";
        put_log_file(reader, spot, workload,
                     xasprintf("%s%s%s", workload->working_dir, between, text));
    } else {
        docread_error(reader, spot, "'%.200s' is relative, and there is no workingDir", text);
    }
}

/* 0.5 of a processor is 500 thousandths. */
static void read_cpu(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    const char *text = docread_text(reader, spot);
    int64_t *ret = target;
    if (text == NULL) {
        return;
    }
    int64_t whole = 0;
    int64_t thousandths = 0;
    size_t digits = strspn(text, "0123456789");
    CLEANUP(free) char *before = xstrndup(text, digits);
    CLEANUP(free) char *after = xstrdup(text[digits] == '.' ? text + digits + 1 : "0");
    size_t places = strlen(after);
    bool is_number = (text[digits] == '\0' || text[digits] == '.') && places <= 3 &&
                     parse_int(before, 0, 1024, &whole, NULL) == 0 &&
                     parse_int(after, 0, 999, &thousandths, NULL) == 0;
    for (; places < 3; places++) {
        thousandths *= 10;
    }
    if (!is_number || whole * 1000 + thousandths == 0) {
        docread_error(reader, spot, "'%.40s' is not a number of processors such as 0.5, 1 or 2.25",
                      text);
        return;
    }
    *ret = whole * 1000 + thousandths;
}

void appspec_read_limits(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct limits_spec, memory_bytes, "memory", docread_size, .min = 4096),
        DOC_FIELD(struct limits_spec, cpu_millis, "cpu", read_cpu),
        DOC_FIELD(struct limits_spec, processes, "processes", docread_int, .min = 1,
                  .max = 4194304),
        DOC_FIELD(struct limits_spec, open_files, "openFiles", docread_int, .min = 1,
                  .max = 1073741816),
        DOC_FIELDS_END,
    };
    docread_mapping(reader, spot, fields, target);
}

static void read_connect(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    struct sandbox_spec *sandbox = target;
    if (!docread_is_list(reader, spot, MAX_PORTS)) {
        return;
    }
    sandbox->has_connect = true;
    sandbox->connect = xcalloc(spot->node->count, sizeof(*sandbox->connect));
    for (size_t i = 0; i < spot->node->count; i++) {
        struct doc_spot item = docread_item(spot, i);
        docread_port(reader, &item, &sandbox->connect[sandbox->connect_count++]);
    }
}

void appspec_read_sandbox(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct sandbox_spec, read, "read", docread_doc_paths),
        DOC_FIELD(struct sandbox_spec, write, "write", docread_doc_paths),
        DOC_FIELD_OF_ALL("connect", read_connect),
        DOC_FIELDS_END,
    };
    struct sandbox_spec *sandbox = target;
    sandbox->present = true;
    docread_mapping(reader, spot, fields, target);
}

#define OWN_TYPE "managed-process"

/* Another than those of v3 is accepted, as it may be a later version's. */
static void read_type(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const char *const known[] = {OWN_TYPE, "pre-existing"};
    const char *type = spot->node->kind == DOC_SCALAR ? spot->node->value : "";
    for (size_t i = 0; i < ARRAY_LEN(known) && !reader->is_record; i++) {
        if (parse_is_typo(type, known[i])) {
            docread_error(reader, spot, "unknown type '%s', did you mean '%s'?", type, known[i]);
            return;
        }
    }
    docread_kind(reader, spot, target);
}

/* Where the type is missing, unreadable or a slip the rest is checked as for our own. */
static bool is_of_other_type(const struct doc_reader *reader, const struct doc_node *type)
{
    return type != NULL && type->kind == DOC_SCALAR && !doc_node_is_null(type) &&
           *type->value != '\0' && strcmp(type->value, OWN_TYPE) != 0 &&
           (reader->is_record || !parse_is_typo(type->value, OWN_TYPE));
}

/* Of a type that is not ours only what it is called: the rest of its keys are another's. */
static void read_unsupported(struct doc_reader *reader, const struct doc_spot *spot,
                             struct workload_spec *workload)
{
    static const char *const checked[] = {"name", "type"};
    for (size_t i = 0; i < ARRAY_LEN(checked); i++) {
        const struct doc_node *node = doc_node_get(spot->node, checked[i]);
        struct doc_spot at = {.up = spot, .key = checked[i], .node = node};
        if (node == NULL || doc_node_is_null(node)) {
            at.node = spot->node;
            docread_error(reader, &at, "is required");
        } else if (i == 0) {
            docread_label(reader, &at, &workload->name);
        } else {
            read_type(reader, &at, &workload->type);
        }
    }
}

static void read_supported(struct doc_reader *reader, const struct doc_spot *spot,
                           struct workload_spec *workload)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct workload_spec, name, "name", docread_label, .is_required = true),
        DOC_FIELD(struct workload_spec, type, "type", read_type, .is_required = true),
        DOC_FIELD(struct workload_spec, command, "command", appspec_read_command,
                  .is_required = true),
        DOC_FIELD(struct workload_spec, working_dir, "workingDir", docread_doc_path),
        DOC_FIELD_OF_ALL("logFile", read_log_file),
        DOC_FIELD(struct workload_spec, env, "env", read_env),
        DOC_FIELD_OF_ALL("ports", read_ports),
        DOC_FIELD(struct workload_spec, depends_on, "dependsOn", docread_labels),
        DOC_FIELD(struct workload_spec, restart, "restart", docread_restart),
        DOC_FIELD(struct workload_spec, stop, "stop", docread_stop),
        DOC_FIELD(struct workload_spec, logs, "logs", docread_logs),
        DOC_FIELD(struct workload_spec, user, "user", docread_user_name),
        DOC_FIELD(struct workload_spec, group, "group", docread_user_name),
        DOC_FIELD_OF_ALL("healthCheck", appspec_read_health),
        DOC_FIELD(struct workload_spec, limits, "limits", appspec_read_limits),
        DOC_FIELD(struct workload_spec, sandbox, "sandbox", appspec_read_sandbox),
        DOC_FIELD(struct workload_spec, allow_new_privileges, "allowNewPrivileges", docread_bool),
        DOC_FIELDS_END,
    };
    docread_mapping(reader, spot, fields, workload);
}

void appspec_read_workload(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    struct workload_spec *workload = target;
    init_workload(workload, spot->node->line);
    if (spot->node->kind != DOC_MAPPING) {
        docread_mismatch(reader, spot, "a mapping");
        return;
    }
    bool is_other = is_of_other_type(reader, doc_node_get(spot->node, "type"));
    workload->supported = !is_other;
    if (is_other) {
        read_unsupported(reader, spot, workload);
    } else {
        read_supported(reader, spot, workload);
    }
}

void appspec_read_workloads(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    struct app_spec *app = target;
    if (!docread_is_list(reader, spot, APPSPEC_MAX_WORKLOADS)) {
        return;
    }
    if (spot->node->count == 0) {
        docread_error(reader, spot, "is empty");
    }
    CLEANUP(map) struct map *names = map_new();
    app->workloads = xcalloc(spot->node->count, sizeof(*app->workloads));
    for (size_t i = 0; i < spot->node->count; i++) {
        struct doc_spot item = docread_item(spot, i);
        struct workload_spec *workload = &app->workloads[app->workload_count++];
        appspec_read_workload(reader, &item, workload);
        if (workload->name == NULL) {
            continue;
        }
        if (map_has(names, workload->name)) {
            docread_error(reader, &item, "the workload name '%s' stands twice", workload->name);
        }
        map_put(names, workload->name, workload);
    }
}
