/*
 * commands: the client's commands, `edgible NOUN VERB`. One file a noun; the table of all is in
 * commands.c.
 */
#ifndef EDGIBLE_COMMANDS_H
#define EDGIBLE_COMMANDS_H

/* Exit codes of every command. */
enum {
    EXIT_OK = 0,
    EXIT_NOT_OK = 1,    /* unhealthy, invalid, different, not found */
    EXIT_USAGE = 2,     /* wrong usage */
    EXIT_NO_ANSWER = 3, /* the agent or control plane did not answer */
    EXIT_REFUSED = 4,   /* policy or permission */
};

/* A command; argv[0] is the verb. Returns the exit code. */
typedef int (*command_fn)(int argc, char **argv);

struct command {
    const char *noun, *verb;
    const char *usage; /* what follows the verb */
    const char *about;
    command_fn run;
};

/* Runs `NOUN VERB …`; argv[0] is the noun. */
int commands_run(int argc, char **argv);
/* To stdout or stderr. */
void commands_print_usage(int fd);

/* "edgible: " and the message, to stderr; returns EXIT_USAGE. */
int command_usage_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

int cmd_stack_validate(int argc, char **argv);

#endif
