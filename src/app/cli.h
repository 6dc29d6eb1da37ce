/*
 * cli: what the command line asks for.
 */
#ifndef EDGIBLE_CLI_H
#define EDGIBLE_CLI_H

/* Runs what argv asks for; returns the exit code. */
int cli_run(int argc, char **argv);

#endif
