/*
 * agent: the daemon: puts the parts together, and runs until it is told to end.
 */
#ifndef EDGIBLE_AGENT_H
#define EDGIBLE_AGENT_H

/* Runs the agent in the foreground; returns its exit code. */
int agent_run(const char *config_path);

/* Prints what the agent would run, and all that is wrong; returns the exit code. */
int agent_check(const char *config_path);

#endif
