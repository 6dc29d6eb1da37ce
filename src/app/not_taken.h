/*
 * not_taken: what a person is shown of the documents that an agent does not take.
 */
#ifndef EDGIBLE_NOT_TAKEN_H
#define EDGIBLE_NOT_TAKEN_H

#include "commands.h"
#include "edgible/json_doc.h"
#include "edgible/strv.h"

enum not_taken {
    NOT_TAKEN_ALL,
    NOT_TAKEN_UNLISTED, /* those that no table of applications has */
    NOT_TAKEN_IGNORED,  /* those for other devices */
};

/* An application's errors in one line: the first, and how many more there are; NULL: none. The
 * caller frees. */
char *not_taken_errors(const struct json *app);

/* A line each, of what GET /v1/agent answered; names: of these applications only; NULL: of all. */
void not_taken_print(const struct json *agent, enum not_taken which, const struct strv *names);

/* The same, after asking the agent; nothing with --json, or of a control plane, whose devices
 * report it. Returns the exit code. */
int not_taken_show(const struct command_options *options, enum not_taken which,
                   const struct strv *names);

#endif
