#include "edgible/appspec_read.h"
#include "edgible/map.h"

#include <stdlib.h>
#include <string.h>

#define MAX_ACCESS 1000

static bool is_among(const char *word, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], word) == 0) {
            return true;
        }
    }
    return false;
}

/* Who routes the traffic knows more of these than the agent. */
static void read_type(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const char *const types[] = {"https", "http", "tcp", "udp", "tls", "ssh"};
    char hint[64];
    docread_kind(reader, spot, target);
    char *const *type = target;
    if (*type != NULL && !is_among(*type, types, ARRAY_LEN(types))) {
        docread_warning(reader, spot, "unknown type '%.40s'%s", *type,
                        docread_suggest(*type, types, ARRAY_LEN(types), hint, sizeof(hint)));
    }
}

static void read_target(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct access_spec, workload, "workload", docread_label, .is_required = true),
        DOC_FIELD(struct access_spec, port, "port", docread_kind),
        DOC_FIELDS_END,
    };
    docread_mapping(reader, spot, fields, target);
}

static void read_custom(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    const char *text = docread_text(reader, spot);
    char **ret = target;
    if (text == NULL) {
        return;
    }
    if (!parse_is_hostname(text)) {
        docread_error(reader, spot, "'%.80s' is not a host name", text);
        return;
    }
    *ret = xstrdup(text);
}

static void read_hostname(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct access_spec, hostname, "custom", read_custom),
        DOC_FIELDS_END,
    };
    docread_mapping(reader, spot, fields, target);
}

static void read_tls(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct access_spec, tls_managed_by, "managedBy", docread_kind),
        DOC_FIELDS_END,
    };
    docread_mapping(reader, spot, fields, target);
}

/* An unknown one is an error and no warning: a typing error must not open a door. */
void appspec_read_auth_mode(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const char *const modes[] = {"none",   "api-key", "basic", "bearer",      "jwt",
                                        "oauth",  "oauth2",  "oidc",  "mtls",        "saml",
                                        "public", "private", "org",   "organization"};
    docread_word(reader, spot, "mode", modes, ARRAY_LEN(modes), target);
}

static void read_auth(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct access_spec, auth_mode, "mode", appspec_read_auth_mode,
                  .is_required = true),
        DOC_FIELDS_END,
    };
    docread_mapping(reader, spot, fields, target);
}

static void read_policies(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD_OF_ALL("auth", read_auth),
        DOC_FIELDS_END,
    };
    docread_mapping(reader, spot, fields, target);
}

/* Where `target` stands, or one of its keys, for a message about what it says. */
static void check_target(struct doc_reader *reader, const struct doc_spot *spot,
                         const struct app_spec *app, const struct access_spec *access)
{
    const struct doc_node *node = doc_node_get(spot->node, "target");
    if (access->workload == NULL) {
        return;
    }
    struct doc_spot target = {.up = spot, .key = "target", .node = node};
    const struct workload_spec *workload = app_spec_find_workload(app, access->workload);
    if (workload == NULL) {
        struct doc_spot at = {
            .up = &target, .key = "workload", .node = doc_node_get(node, "workload")};
        docread_error(reader, &at, "there is no workload '%s'", access->workload);
    } else if (access->port != NULL && workload->supported &&
               appspec_find_port(workload, access->port) == NULL) {
        struct doc_spot at = {.up = &target, .key = "port", .node = doc_node_get(node, "port")};
        docread_error(reader, &at, "the workload '%s' has no port '%.80s'", workload->name,
                      access->port);
    }
}

static void read_one_access(struct doc_reader *reader, const struct doc_spot *spot,
                            const struct app_spec *app, struct access_spec *access)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct access_spec, name, "name", docread_label, .is_required = true),
        DOC_FIELD(struct access_spec, type, "type", read_type, .is_required = true),
        DOC_FIELD_OF_ALL("target", read_target, .is_required = true),
        DOC_FIELD_OF_ALL("hostname", read_hostname),
        DOC_FIELD_OF_ALL("tls", read_tls),
        DOC_FIELD_OF_ALL("policies", read_policies),
        DOC_FIELDS_END,
    };
    docread_mapping(reader, spot, fields, access);
    check_target(reader, spot, app, access);
}

void appspec_read_access(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    struct app_spec *app = target;
    if (!docread_is_list(reader, spot, MAX_ACCESS)) {
        return;
    }
    CLEANUP(map) struct map *names = map_new();
    app->access = xcalloc(spot->node->count, sizeof(*app->access));
    for (size_t i = 0; i < spot->node->count; i++) {
        struct doc_spot item = docread_item(spot, i);
        struct access_spec *access = &app->access[app->access_count++];
        read_one_access(reader, &item, app, access);
        if (access->name == NULL) {
            continue;
        }
        if (map_has(names, access->name)) {
            docread_error(reader, &item, "the access name '%s' stands twice", access->name);
        }
        map_put(names, access->name, access);
    }
}
