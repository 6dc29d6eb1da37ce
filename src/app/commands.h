/*
 * commands: the client's commands, `edgible NOUN VERB`. One file a noun; the table of all is in
 * commands.c.
 */
#ifndef EDGIBLE_COMMANDS_H
#define EDGIBLE_COMMANDS_H

#include "edgible/parse.h"
#include "edgible/strv.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Exit codes of every command. */
enum {
    EXIT_OK = 0,
    EXIT_NOT_OK = 1,    /* unhealthy, invalid, different, not found */
    EXIT_USAGE = 2,     /* wrong usage */
    EXIT_NO_ANSWER = 3, /* the agent or control plane did not answer */
    EXIT_REFUSED = 4,   /* policy or permission */
};

struct plane;

/* What the command line says; NULL, false and the values named where it says nothing. */
struct command_options {
    const char *socket, *config; /* which agent, or whose control plane */
    const char *control_plane;   /* URL of one, with the credentials for it */
    const char *token_file, *ca_file, *cert_file, *key_file;
    const char *device; /* of a control plane's */
    const char *id, *name, *workload, *level, *module, *target_state;
    struct strv files;    /* of each -f, in order */
    const char *argument; /* the word that is no option */
    bool json, plain, raw, follow, watch, no_wait, new_device, help;
    bool is_of_device;   /* the noun is `device`: --name is one's */
    int64_t lines;       /* -1 */
    mono_ms timeout_ms;  /* -1 */
    struct plane *plane; /* the control plane that is spoken to; NULL: an agent is */
};

/* Returns the exit code. */
typedef int (*command_fn)(const struct command_options *options);

struct command {
    const char *noun, *verb;
    const char *usage; /* what follows the verb */
    const char *about;
    const char *takes; /* its options, long names; one with a ! is required; ARG: a word */
    command_fn run;
};

/* Runs `NOUN VERB …`; argv[0] is the noun; preset: what stood before it. */
int commands_run(int argc, char **argv, const struct command_options *preset);
/* To stdout or stderr; of one noun, or all where it is NULL. */
void commands_print_usage(FILE *to, const char *noun);

/* "edgible: " and the message, to stderr; returns EXIT_USAGE. */
int command_usage_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

int cmd_stack_validate(const struct command_options *options);
int cmd_stack_diff(const struct command_options *options);
int cmd_stack_deploy(const struct command_options *options);
int cmd_stack_status(const struct command_options *options);
int cmd_stack_teardown(const struct command_options *options);
int cmd_application_list(const struct command_options *options);
int cmd_application_get(const struct command_options *options);
int cmd_application_events(const struct command_options *options);
int cmd_application_logs(const struct command_options *options);
int cmd_application_restart(const struct command_options *options);
int cmd_application_update(const struct command_options *options);
int cmd_application_why(const struct command_options *options);
int cmd_device_application_health(const struct command_options *options);
int cmd_device_health(const struct command_options *options);
int cmd_agent_status(const struct command_options *options);
int cmd_agent_logs(const struct command_options *options);
int cmd_agent_set_log_level(const struct command_options *options);

#endif
