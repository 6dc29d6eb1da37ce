#include "edgible/appspec_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct port_spec *appspec_find_port(const struct workload_spec *workload, const char *port)
{
    int64_t number = 0;
    bool is_number = parse_int(port, 1, UINT16_MAX, &number, NULL) == 0;
    for (size_t i = 0; i < workload->port_count; i++) {
        const struct port_spec *at = &workload->ports[i];
        bool is_same_name = at->name != NULL && strcmp(at->name, port) == 0;
        if (is_same_name || (is_number && at->container_port == number)) {
            return at;
        }
    }
    return NULL;
}

/* Also one that is out of every range. */
static bool is_whole_number(const char *text)
{
    size_t sign = text[0] == '-' || text[0] == '+' ? 1 : 0;
    return text[sign] != '\0' && text[sign + strspn(text + sign, "0123456789")] == '\0';
}

static void read_port(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    struct workload_spec *workload = target;
    const char *text = docread_text(reader, spot);
    if (text == NULL) {
        return;
    }
    const struct port_spec *port = appspec_find_port(workload, text);
    int64_t number = 0;
    struct err err = {0};
    if (port != NULL && strcmp(port->protocol, "tcp") != 0) {
        docread_error(reader, spot, "port '%.80s' is of protocol %s, a check needs tcp", text,
                      port->protocol);
    } else if (port != NULL) {
        workload->health.port = port->container_port;
    } else if (parse_int(text, 1, UINT16_MAX, &number, &err) == 0) {
        docread_warning(reader, spot, "port %.80s is not among the workload's ports", text);
        workload->health.port = (uint16_t) number;
    } else if (is_whole_number(text)) {
        docread_error(reader, spot, "%s", err.msg);
    } else {
        docread_error(reader, spot, "the workload has no port '%.80s'", text);
    }
}

/* Goes into the request line as it is. */
static void read_path(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    struct workload_spec *workload = target;
    const char *text = docread_text(reader, spot);
    if (text == NULL) {
        return;
    }
    bool is_clean = true;
    for (const char *c = text; *c != '\0'; c++) {
        is_clean = is_clean && (unsigned char) *c > ' ' && *c != 0x7f && *c != '#';
    }
    if (text[0] != '/' || !is_clean) {
        docread_error(reader, spot, "'%.80s' is not a path such as /healthz", text);
        return;
    }
    free(workload->health.path);
    workload->health.path = xstrdup(text);
}

static void read_http(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD_OF_ALL("port", read_port, .is_required = true),
        DOC_FIELD_OF_ALL("path", read_path),
        DOC_FIELDS_END,
    };
    struct workload_spec *workload = target;
    workload->health.kind = HEALTH_HTTP;
    docread_mapping(reader, spot, fields, target);
    if (workload->health.path == NULL) {
        workload->health.path = xstrdup("/");
    }
}

static void read_tcp(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD_OF_ALL("port", read_port, .is_required = true),
        DOC_FIELDS_END,
    };
    struct workload_spec *workload = target;
    workload->health.kind = HEALTH_TCP;
    docread_mapping(reader, spot, fields, target);
}

/* `exec: { command: […] }`, or the command itself. */
static void read_exec(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct workload_spec, health.command, "command", appspec_read_command,
                  .is_required = true),
        DOC_FIELDS_END,
    };
    struct workload_spec *workload = target;
    workload->health.kind = HEALTH_EXEC;
    if (spot->node->kind == DOC_MAPPING) {
        docread_mapping(reader, spot, fields, target);
    } else {
        appspec_read_command(reader, spot, &workload->health.command);
    }
}

/* Given as `http: null`, a kind counts as left out. */
static size_t count_kinds(const struct doc_node *node)
{
    static const char *const kinds[] = {"http", "tcp", "exec"};
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        const struct doc_node *kind = doc_node_get(node, kinds[i]);
        if (kind != NULL && !doc_node_is_null(kind)) {
            count++;
        }
    }
    return count;
}

void appspec_read_health(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD_OF_ALL("http", read_http),
        DOC_FIELD_OF_ALL("tcp", read_tcp),
        DOC_FIELD_OF_ALL("exec", read_exec),
        DOC_FIELD(struct workload_spec, health.interval_ms, "interval", docread_duration, .min = 1),
        DOC_FIELD(struct workload_spec, health.timeout_ms, "timeout", docread_duration, .min = 1),
        DOC_FIELD(struct workload_spec, health.start_period_ms, "startPeriod", docread_duration),
        DOC_FIELD(struct workload_spec, health.failures, "failures", docread_int, .min = 1,
                  .max = 1000),
        DOC_FIELD(struct workload_spec, health.successes, "successes", docread_int, .min = 1,
                  .max = 1000),
        DOC_FIELDS_END,
    };
    docread_mapping(reader, spot, fields, target);
    if (spot->node->kind == DOC_MAPPING && count_kinds(spot->node) != 1) {
        docread_error(reader, spot, "needs exactly one of http, tcp, exec, has %zu",
                      count_kinds(spot->node));
    }
}
