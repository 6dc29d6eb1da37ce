/*
 * agent: the daemon: puts the parts together, and runs until it is told to end.
 */
#ifndef EDGIBLE_AGENT_H
#define EDGIBLE_AGENT_H

/* Runs the agent in the foreground; returns its exit code. argv0 is how the program was called. */
int agent_run(const char *argv0, const char *config_path);

/* What an agent asks of a program before it makes way for it (SIGUSR2): whether it runs here, can
 * read the configuration, and up to which version the records. Returns the exit code. */
int agent_self_check(const char *config_path);

/* Prints what is wrong with the configuration; returns the exit code. */
int agent_check_config(const char *config_path);

/* Prints what the agent would run, and all that is wrong; returns the exit code. */
int agent_check(const char *config_path);

#endif
