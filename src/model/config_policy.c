#include "edgible/appspec_read.h"
#include "edgible/config_read.h"
#include "edgible/parse.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LIST 1000

static void read_commands(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    struct policy_config *policy = target;
    policy->has_commands = true;
    docread_paths(reader, spot, &policy->commands);
}

static void read_users(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    struct policy_config *policy = target;
    policy->has_users = true;
    docread_strings(reader, spot, &policy->users);
}

static void read_groups(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    struct policy_config *policy = target;
    policy->has_groups = true;
    docread_strings(reader, spot, &policy->groups);
}

static void read_write_paths(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    struct policy_config *policy = target;
    policy->has_write_paths = true;
    docread_paths(reader, spot, &policy->write_paths);
}

static void read_read_paths(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    struct policy_config *policy = target;
    policy->has_read_paths = true;
    docread_paths(reader, spot, &policy->read_paths);
}

/* Reads a mapping that limits something. A null one would limit nothing, which is not what the
 * person who wrote the key can have meant. */
static void read_limiting_mapping(struct doc_reader *reader, const struct doc_spot *spot,
                                  const struct doc_field *fields, void *target)
{
    if (doc_node_is_null(spot->node)) {
        docread_mismatch(reader, spot, "a mapping");
        return;
    }
    docread_mapping(reader, spot, fields, target);
}

/* Reads each item of a list of at most MAX_LIST into a char *, and adds those that are valid. */
static void read_each(struct doc_reader *reader, const struct doc_spot *spot, doc_read_fn *read,
                      struct strv *ret)
{
    if (!docread_is_list(reader, spot, MAX_LIST)) {
        return;
    }
    for (size_t i = 0; i < spot->node->count; i++) {
        struct doc_spot item = docread_item(spot, i);
        char *text = NULL;
        read(reader, &item, &text);
        if (text != NULL) {
            strv_add_take(ret, text);
        }
    }
}

static void read_hostname_pattern(struct doc_reader *reader, const struct doc_spot *spot,
                                  void *target)
{
    const char *text = docread_text(reader, spot);
    char **ret = target;
    if (text == NULL) {
        return;
    }
    if (!parse_is_hostname(strncmp(text, "*.", 2) == 0 ? text + 2 : text)) {
        docread_error(reader, spot,
                      "'%.80s' is not a host name such as a.example.com or *.example.com", text);
        return;
    }
    *ret = xstrdup(text);
}

static void read_hostnames(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    struct policy_config *policy = target;
    policy->has_hostnames = true;
    read_each(reader, spot, read_hostname_pattern, &policy->hostnames);
}

static void read_auth_modes(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    struct policy_config *policy = target;
    policy->has_auth_modes = true;
    read_each(reader, spot, appspec_read_auth_mode, &policy->auth_modes);
}

static void read_access(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD_OF_ALL("hostnames", read_hostnames),
        DOC_FIELD_OF_ALL("auth", read_auth_modes),
        DOC_FIELDS_END,
    };
    read_limiting_mapping(reader, spot, fields, target);
}

static void read_remote_action(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const char *const actions[] = {"restart", "suspend", "resume", "reload",
                                          "signal",  "logs",    "why",    "events"};
    docread_word(reader, spot, "action", actions, ARRAY_LEN(actions), target);
}

static void read_remote_actions(struct doc_reader *reader, const struct doc_spot *spot,
                                void *target)
{
    struct strv *actions = target;
    strv_fini(actions); /* the default */
    read_each(reader, spot, read_remote_action, actions);
}

static void read_logs(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct policy_config, max_log_bytes, "maxTotal", docread_size),
        DOC_FIELDS_END,
    };
    read_limiting_mapping(reader, spot, fields, target);
}

void config_read_policy(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD_OF_ALL("commands", read_commands),
        DOC_FIELD(struct policy_config, env, "env", docread_strings),
        DOC_FIELD_OF_ALL("users", read_users),
        DOC_FIELD_OF_ALL("groups", read_groups),
        DOC_FIELD_OF_ALL("writePaths", read_write_paths),
        DOC_FIELD_OF_ALL("readPaths", read_read_paths),
        DOC_FIELD(struct policy_config, max_workloads, "maxWorkloads", docread_int, .max = 1000000),
        DOC_FIELD(struct policy_config, min_restart_delay_ms, "minRestartDelay", docread_duration),
        DOC_FIELD(struct policy_config, max_grace_ms, "maxGracePeriod", docread_duration),
        DOC_FIELD(struct policy_config, limits, "limits", appspec_read_limits),
        DOC_FIELD(struct policy_config, allow_new_privileges, "allowNewPrivileges", docread_bool),
        DOC_FIELD_OF_ALL("logs", read_logs),
        DOC_FIELD_OF_ALL("access", read_access),
        DOC_FIELD(struct policy_config, remote_actions, "remoteActions", read_remote_actions),
        DOC_FIELDS_END,
    };
    struct policy_config *policy = target;
    policy->present = true;
    read_limiting_mapping(reader, spot, fields, target);
}

void config_init_policy(struct policy_config *policy)
{
    policy->max_workloads = UNSET;
    policy->min_restart_delay_ms = UNSET;
    policy->max_grace_ms = UNSET;
    policy->max_log_bytes = UNSET;
    policy->limits = (struct limits_spec){UNSET, UNSET, UNSET, UNSET};
    strv_add(&policy->remote_actions, "logs");
    strv_add(&policy->remote_actions, "why");
    strv_add(&policy->remote_actions, "events");
}

static const size_t lists[] = {
    offsetof(struct policy_config, commands),       offsetof(struct policy_config, env),
    offsetof(struct policy_config, users),          offsetof(struct policy_config, groups),
    offsetof(struct policy_config, write_paths),    offsetof(struct policy_config, read_paths),
    offsetof(struct policy_config, hostnames),      offsetof(struct policy_config, auth_modes),
    offsetof(struct policy_config, remote_actions),
};

static struct strv *list_of(struct policy_config *policy, size_t i)
{
    return (struct strv *) (void *) ((char *) policy + lists[i]);
}

void config_fini_policy(struct policy_config *policy)
{
    free(steal_ptr(&policy->file));
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        strv_fini(list_of(policy, i));
    }
}

void config_copy_policy(struct policy_config *to, const struct policy_config *from)
{
    *to = *from;
    to->file = xstrdup_or_null(from->file);
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        struct strv *list = list_of(to, i);
        const struct strv was = *list;
        strv_copy(list, &was);
    }
}
