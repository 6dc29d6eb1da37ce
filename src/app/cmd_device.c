/* edgible device … */
#include "client.h"
#include "edgible/mem.h"
#include "not_taken.h"
#include "table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *or_empty(const char *text)
{
    return text != NULL ? text : "";
}

static void add_row(struct table *table, const struct json *row)
{
    const char *workload = json_string(row, "workload");
    char restarts[24] = "";
    char uptime[48] = "";
    double count = json_number(row, "restarts", -1);
    double seconds = json_number(row, "uptimeSeconds", -1);
    if (count >= 0) {
        (void) snprintf(restarts, sizeof(restarts), "%.0f", count);
    }
    if (seconds >= 0) {
        (void) client_format_age(seconds, uptime, sizeof(uptime));
    }
    const char *cells[] = {or_empty(json_string(row, "application")),
                           workload != NULL ? workload : "-",
                           or_empty(json_string(row, "status")),
                           restarts,
                           uptime,
                           or_empty(json_string(row, "reason"))};
    table_add(table, cells);
}

int cmd_device_application_health(const struct command_options *options)
{
    static const char *const titles[] = {"APPLICATION", "WORKLOAD", "STATUS", "RESTARTS",
                                         "UPTIME",      "REASON",   NULL};
    CLEANUP(buf) struct buf path = {0};
    CLEANUP(json) struct json *rows = NULL;
    buf_add_str(&path, "/v1/application-health");
    if (options->name != NULL) {
        buf_add_str(&path, "?device=");
        http_add_escaped(&path, options->name);
    }
    int code = client_get(options, path.data, &rows);
    if (code != EXIT_OK) {
        return code;
    }
    CLEANUP(table) struct table *table = table_new(titles);
    bool any_bad = false;
    for (const struct json *row = json_first(rows); row != NULL; row = json_next(row)) {
        any_bad = any_bad || client_is_bad(or_empty(json_string(row, "status")));
        add_row(table, row);
    }
    if (options->json) {
        client_print_json(rows);
    } else if (json_first(rows) == NULL) {
        (void) printf("no applications\n");
    } else {
        table_print_out(table);
    }
    return any_bad ? EXIT_NOT_OK : EXIT_OK;
}

static int check_name(const struct command_options *options)
{
    CLEANUP(json) struct json *agent = NULL;
    bool is_asked = options->name != NULL && options->plane == NULL;
    int code = is_asked ? client_get(options, "/v1/agent", &agent) : EXIT_OK;
    if (code != EXIT_OK || !is_asked) {
        return code;
    }
    const char *name = or_empty(json_string(json_get(agent, "device"), "name"));
    return strcmp(name, options->name) == 0
               ? EXIT_OK
               : client_fail(EXIT_NOT_OK, "this agent is of the device '%s', not '%s'", name,
                             options->name);
}

int cmd_device_health(const struct command_options *options)
{
    CLEANUP(json) struct json *health = NULL;
    int code = check_name(options);
    if (code == EXIT_OK) {
        code = client_call(options, "GET", "/v1/health", NULL, 503, &health);
    }
    if (code != EXIT_OK) {
        return code;
    }
    const char *status = or_empty(json_string(health, "status"));
    bool ok = strcmp(status, "ok") == 0;
    if (*status == '\0') { /* a problem document: there was no room for one more connection */
        return client_fail(EXIT_NO_ANSWER, "%s", or_empty(json_string(health, "detail")));
    }
    if (options->json) {
        client_print_json(health);
        return ok ? EXIT_OK : EXIT_NOT_OK;
    }
    if (ok) {
        (void) printf("Health check OK\n");
    }
    for (const struct json *reason = json_first(json_get(health, "reasons")); reason != NULL;
         reason = json_next(reason)) {
        CLEANUP(free) char *clean = client_clean(or_empty(json_item_string(reason)));
        (void) printf("%s\n", clean);
    }
    code = not_taken_show(options, NOT_TAKEN_IGNORED, NULL);
    if (code != EXIT_OK) {
        return code;
    }
    return ok ? EXIT_OK : EXIT_NOT_OK;
}
