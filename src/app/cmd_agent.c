/* edgible agent … */
#include "client.h"
#include "edgible/log.h"
#include "edgible/mem.h"
#include "not_taken.h"
#include "terminal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void print_line(const char *label, const char *value)
{
    if (value != NULL) {
        CLEANUP(free) char *clean = client_clean(value);
        (void) printf("%-13s %s\n", label, clean);
    }
}

static void print_workloads(const struct json *workloads)
{
    CLEANUP(buf) struct buf text = {0};
    for (const struct json *count = json_first(workloads); count != NULL;
         count = json_next(count)) {
        bool is_total = strcmp(json_item_key(count), "total") == 0;
        const char *before = text.len == 0 ? "" : strchr(text.data, ':') == NULL ? ": " : ", ";
        buf_printf(&text, "%s%.0f%s%s", before, json_item_number(count, 0), is_total ? "" : " ",
                   is_total ? "" : json_item_key(count));
    }
    print_line("Workloads:", buf_str(&text));
}

static void add_word(struct buf *text, const char *before, const char *word)
{
    if (word != NULL) {
        buf_printf(text, "%s%s", before, word);
    }
}

static void print_source(const struct json *source)
{
    CLEANUP(buf) struct buf where = {0};
    CLEANUP(buf) struct buf reports = {0};
    const struct json *told = json_get(source, "reports");
    if (json_string(source, "type") == NULL) { /* the agent stops */
        return;
    }
    buf_printf(&where, "%s '%s': %s", json_string(source, "type"), json_string(source, "location"),
               json_string(source, "state"));
    add_word(&where, ": ", json_string(source, "error"));
    add_word(&where, ", last read ", json_string(source, "lastContactAt"));
    add_word(&where, ", next ", json_string(source, "nextContactAt"));
    print_line("Source:", where.data);
    print_line("Changes by:", json_string(source, "mode"));
    if (told != NULL) {
        buf_add_str(&reports, json_string(told, "state"));
        add_word(&reports, ": ", json_string(told, "error"));
        add_word(&reports, ", last taken ", json_string(told, "lastTakenAt"));
        print_line("Reports:", reports.data);
    }
}

static void print_status(const struct json *agent)
{
    char age[48];
    const struct json *self = json_get(agent, "resources");
    CLEANUP(free)
    char *version = xasprintf(
        "%s, PID %.0f, up for %s", json_string(agent, "version"), json_number(agent, "pid", 0),
        client_format_age(json_number(agent, "uptimeSeconds", 0), age, sizeof(age)));
    CLEANUP(free)
    char *uses = xasprintf("%.1f MiB, %.0f descriptors, %.1f s of CPU",
                           json_number(self, "memoryBytes", 0) / (1024.0 * 1024.0),
                           json_number(self, "openFiles", 0), json_number(self, "cpuSeconds", 0));
    CLEANUP(free) char *count = xasprintf("%.0f", json_number(agent, "applications", 0));
    print_line("Agent:", version);
    print_line("Device:", json_string(json_get(agent, "device"), "name"));
    print_line("Configuration:", json_string(agent, "configFile"));
    print_source(json_get(agent, "source"));
    print_line("Applications:", count);
    print_workloads(json_get(agent, "workloads"));
    print_line("Uses:", uses);
    print_line("Log level:", json_string(agent, "logLevel"));
    not_taken_print(agent, NOT_TAKEN_ALL, NULL);
}

static int show_status(const struct command_options *options)
{
    CLEANUP(json) struct json *agent = NULL;
    int code = client_get(options, "/v1/agent", &agent);
    if (code != EXIT_OK) {
        return code;
    }
    if (options->json) {
        client_print_json(agent);
    } else {
        print_status(agent);
    }
    return EXIT_OK;
}

int cmd_agent_status(const struct command_options *options)
{
    bool rewrites = isatty(STDOUT_FILENO) == 1 && !options->plain && !options->json;
    int code = show_status(options);
    while (options->watch && code == EXIT_OK && fflush(stdout) == 0) {
        struct timespec second = {.tv_sec = 1};
        (void) nanosleep(&second, NULL);
        if (rewrites) {
            terminal_control("\033[H\033[2J");
        } else if (!options->json) {
            (void) fputs("\n", stdout);
        }
        code = show_status(options);
    }
    return code;
}

static int check_level(const char *name)
{
    enum log_level level = LOG_INFO;
    return log_level_parse(name, &level) == 0
               ? EXIT_OK
               : command_usage_error("'%s' is no log level: error, warn, info or debug", name);
}

#define KEPT_LINES 1000 /* as many as an agent keeps, at most */

/* The caller frees. */
static char *logs_path(const struct command_options *options, long long lines)
{
    struct buf path = {0};
    buf_printf(&path, "/v1/agent/logs?lines=%lld&follow=%s",
               lines < KEPT_LINES ? lines : KEPT_LINES, options->follow ? "true" : "false");
    if (options->level != NULL) {
        buf_add_str(&path, "&level=");
        http_add_escaped(&path, options->level);
    }
    if (options->module != NULL) {
        buf_add_str(&path, "&module=");
        http_add_escaped(&path, options->module);
    }
    return buf_steal(&path);
}

struct logs_following {
    const struct command_options *options;
    long long lines; /* of the next request */
};

/* What an agent keeps begins with it: of the next one all is new. */
static char *next_logs_path(void *arg)
{
    struct logs_following *f = arg;
    return logs_path(f->options, f->lines);
}

static int on_logs(void *arg, const char *data, size_t len)
{
    struct logs_following *f = arg;
    f->lines = KEPT_LINES;
    return fwrite(data, 1, len, stdout) == len && fflush(stdout) == 0 ? 0 : -1;
}

int cmd_agent_logs(const struct command_options *options)
{
    int usage = options->level != NULL ? check_level(options->level) : EXIT_OK;
    if (usage != EXIT_OK) {
        return usage;
    }
    long long lines = options->lines >= 0 ? (long long) options->lines : 100;
    if (options->follow && options->plane == NULL) {
        struct logs_following f = {options, lines};
        struct client_following following = {
            .path = next_logs_path, .accept = "text/plain", .on_data = on_logs, .arg = &f};
        return client_follow(options, &following);
    }
    CLEANUP(free) char *path = logs_path(options, lines);
    return client_stream_out(options, path);
}

int cmd_agent_set_log_level(const struct command_options *options)
{
    int usage = check_level(options->argument);
    if (usage != EXIT_OK) {
        return usage;
    }
    CLEANUP(json) struct json *wanted = json_object();
    CLEANUP(json) struct json *agent = NULL;
    CLEANUP(buf) struct buf body = {0};
    json_set_string(wanted, "logLevel", options->argument);
    CLEANUP(free) char *text = json_text(wanted);
    buf_add_str(&body, text);
    int code = client_call(options, "PATCH", "/v1/agent", &body, 0, &agent);
    if (code == EXIT_OK && options->json) {
        client_print_json(agent);
    } else if (code == EXIT_OK) {
        (void) printf("the log level is %s now\n", json_string(agent, "logLevel"));
    }
    return code;
}
