/* edgible application …: what is told of applications. */
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

static void print_line(const char *label, const char *value)
{
    if (value != NULL) {
        CLEANUP(free) char *clean = client_clean(value);
        (void) printf("%s%s\n", label, clean);
    }
}

/* --- list ----------------------------------------------------------------------------------------
 */

static void add_app(struct table *table, const struct json *app)
{
    char generation[24];
    char workloads[24];
    CLEANUP(free) char *error = not_taken_errors(app);
    (void) snprintf(generation, sizeof(generation), "%.0f", json_number(app, "generation", 0));
    (void) snprintf(workloads, sizeof(workloads), "%zu", json_count(json_get(app, "workloads")));
    const char *cells[] = {or_empty(json_string(app, "name")),
                           or_empty(json_string(app, "id")),
                           or_empty(json_string(app, "status")),
                           or_empty(json_string(app, "targetState")),
                           generation,
                           workloads,
                           or_empty(error)};
    table_add(table, cells);
}

int cmd_application_list(const struct command_options *options)
{
    static const char *const titles[] = {"NAME", "ID",        "STATUS", "TARGET",
                                         "GEN",  "WORKLOADS", "ERRORS", NULL};
    CLEANUP(json) struct json *apps = NULL;
    int code = client_get(options, "/v1/applications", &apps);
    if (code != EXIT_OK) {
        return code;
    }
    CLEANUP(table) struct table *table = table_new(titles);
    for (const struct json *app = json_first(apps); app != NULL; app = json_next(app)) {
        add_app(table, app);
    }
    if (options->json) {
        client_print_json(apps);
    } else if (json_first(apps) == NULL) {
        (void) printf("no applications\n");
    } else {
        table_print_out(table);
    }
    return not_taken_show(options, NOT_TAKEN_UNLISTED, NULL);
}

/* --- get -----------------------------------------------------------------------------------------
 */

static void print_exit(const struct json *end)
{
    char age[48];
    CLEANUP(buf) struct buf text = {0};
    const char *stage = json_string(end, "stage");
    const char *signal = json_string(end, "signal");
    double uptime = json_number(end, "uptimeSeconds", -1);
    if (end == NULL) {
        return;
    }
    buf_add_str(&text, or_empty(json_string(end, "at")));
    if (stage != NULL) {
        buf_printf(&text, ", could not be started: %s %s", stage,
                   or_empty(json_string(end, "errno")));
    } else if (signal != NULL) {
        buf_printf(&text, ", killed by %s%s", signal,
                   json_bool(end, "coreDumped", false) ? " (core dumped)" : "");
    } else if (json_get(end, "code") != NULL) {
        buf_printf(&text, ", status %.0f", json_number(end, "code", 0));
    }
    if (json_string(end, "unhealthy") != NULL) {
        buf_printf(&text, ", ended by the agent for its failed health check: %s",
                   json_string(end, "unhealthy"));
    }
    if (uptime >= 0) {
        buf_printf(&text, ", after %s", client_format_age(uptime, age, sizeof(age)));
    }
    print_line("    last exit: ", buf_str(&text));
}

static void print_ports(const struct json *ports)
{
    for (const struct json *port = json_first(ports); port != NULL; port = json_next(port)) {
        const struct json *listening = json_get(port, "listening");
        CLEANUP(free)
        char *text = xasprintf("%s %.0f/%s%s", or_empty(json_string(port, "name")),
                               json_number(port, "containerPort", 0),
                               or_empty(json_string(port, "protocol")),
                               listening == NULL                     ? ""
                               : json_bool(port, "listening", false) ? ", listening"
                                                                     : ", nothing listens");
        print_line("    port: ", text);
    }
}

static void print_workload(const struct command_options *options, const struct json *w)
{
    char age[48];
    const char *status = or_empty(json_string(w, "status"));
    double pid = json_number(w, "pid", 0);
    double uptime = json_number(w, "uptimeSeconds", -1);
    const struct json *uses = json_get(w, "resources");
    CLEANUP(free) char *name = client_clean(or_empty(json_string(w, "name")));
    (void) printf("  %s: ", name);
    client_print_status(options, status);
    if (pid > 0) {
        (void) printf(", PID %.0f", pid);
    }
    if (uptime >= 0) {
        (void) printf(", up for %s", client_format_age(uptime, age, sizeof(age)));
    }
    double restarts = json_number(w, "restarts", 0);
    if (restarts > 0) {
        (void) printf(", %.0f restart%s", restarts, restarts == 1 ? "" : "s");
    }
    (void) printf("\n");
    print_line("    reason: ", json_string(w, "reason"));
    print_line("    next start: ", json_string(w, "nextStartAt"));
    print_exit(json_get(w, "lastExit"));
    print_ports(json_get(w, "ports"));
    if (uses != NULL) {
        (void) printf("    uses: %.0f process%s, %.1f MiB, %.1f s of CPU\n",
                      json_number(uses, "processes", 0),
                      json_number(uses, "processes", 0) == 1 ? "" : "es",
                      json_number(uses, "memoryBytes", 0) / (1024.0 * 1024.0),
                      json_number(uses, "cpuSeconds", 0));
    }
    print_line("    log: ", json_string(json_get(w, "log"), "file"));
}

static void print_app(const struct command_options *options, const struct json *app)
{
    const char *status = or_empty(json_string(app, "status"));
    CLEANUP(free) char *name = client_clean(or_empty(json_string(app, "name")));
    (void) printf("%s (%s): ", name, or_empty(json_string(app, "id")));
    client_print_status(options, status);
    (void) printf(", target %s, generation %.0f\n", or_empty(json_string(app, "targetState")),
                  json_number(app, "generation", 0));
    print_line("  source: ", json_string(app, "source"));
    for (const struct json *e = json_first(json_get(app, "errors")); e != NULL; e = json_next(e)) {
        print_line("  error: ", json_item_string(e));
    }
    for (const struct json *w = json_first(json_get(app, "warnings")); w != NULL;
         w = json_next(w)) {
        print_line("  ", json_item_string(w));
    }
    for (const struct json *w = json_first(json_get(app, "workloads")); w != NULL;
         w = json_next(w)) {
        print_workload(options, w);
    }
}

int cmd_application_get(const struct command_options *options)
{
    CLEANUP(free) char *path = client_app_path(options->id, "");
    CLEANUP(json) struct json *app = NULL;
    int code = client_get(options, path, &app);
    if (code == EXIT_OK && options->json) {
        client_print_json(app);
    } else if (code == EXIT_OK) {
        print_app(options, app);
    }
    return code;
}

/* --- why -----------------------------------------------------------------------------------------
 */

static void print_causes(const struct json *causes, const char *indent)
{
    for (const struct json *cause = json_first(causes); cause != NULL; cause = json_next(cause)) {
        print_line(indent, json_item_string(cause));
    }
}

static void print_history(const struct json *history)
{
    if (json_first(history) != NULL) {
        (void) printf("What happened last:\n");
    }
    for (const struct json *e = json_first(history); e != NULL; e = json_next(e)) {
        CLEANUP(free)
        char *text = xasprintf("  %s  %s", or_empty(json_string(e, "at")),
                               or_empty(json_string(e, "message")));
        print_line("", text);
    }
}

static void print_why(const struct command_options *options, const struct json *why)
{
    const char *status = or_empty(json_string(why, "status"));
    (void) printf("%s is ", or_empty(json_string(why, "application")));
    client_print_status(options, status);
    (void) printf(" (target state %s)\n", or_empty(json_string(why, "targetState")));
    print_causes(json_get(why, "because"), "  because ");
    for (const struct json *w = json_first(json_get(why, "workloads")); w != NULL;
         w = json_next(w)) {
        const char *state = or_empty(json_string(w, "status"));
        CLEANUP(free) char *name = client_clean(or_empty(json_string(w, "name")));
        (void) printf("%s is ", name);
        client_print_status(options, state);
        (void) printf("\n");
        print_causes(json_get(w, "because"), "  because ");
        print_line("  next: ", json_string(w, "next"));
    }
    print_history(json_get(why, "history"));
}

int cmd_application_why(const struct command_options *options)
{
    CLEANUP(free) char *path = client_app_path(options->id, "/why");
    CLEANUP(json) struct json *why = NULL;
    int code = client_get(options, path, &why);
    if (code == EXIT_OK && options->json) {
        client_print_json(why);
    } else if (code == EXIT_OK) {
        print_why(options, why);
    }
    return code;
}

/* --- what is done to it --------------------------------------------------------------------------
 */

static int change(const struct command_options *options, const char *method, const char *rest,
                  const struct json *wanted, const char *done)
{
    CLEANUP(free) char *path = client_app_path(options->id, rest);
    CLEANUP(free) char *text = json_text(wanted);
    CLEANUP(buf) struct buf body = {0};
    CLEANUP(json) struct json *app = NULL;
    buf_add_str(&body, text);
    int code = client_call(options, method, path, &body, 0, &app);
    if (code == EXIT_OK && options->json) {
        client_print_json(app);
    } else if (code == EXIT_OK) {
        (void) printf("%s %s\n", or_empty(json_string(app, "name")), done);
    }
    return code;
}

int cmd_application_restart(const struct command_options *options)
{
    CLEANUP(json) struct json *wanted = json_object();
    json_set_string(wanted, "workload", options->workload);
    return change(options, "POST", "/restart", wanted, "is being restarted");
}

int cmd_application_update(const struct command_options *options)
{
    CLEANUP(json) struct json *wanted = json_object();
    bool suspends = strcmp(options->target_state, "suspended") == 0;
    if (!suspends && strcmp(options->target_state, "running") != 0) {
        return command_usage_error("--target-state is running or suspended, not '%s'",
                                   options->target_state);
    }
    json_set_string(wanted, "targetState", options->target_state);
    return change(options, "PATCH", "", wanted,
                  suspends ? "is to be suspended" : "is to be running");
}
