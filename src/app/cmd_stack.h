/*
 * cmd_stack: what the commands of `edgible stack` share.
 */
#ifndef EDGIBLE_CMD_STACK_H
#define EDGIBLE_CMD_STACK_H

#include "commands.h"
#include "edgible/appspec.h"
#include "edgible/buf.h"
#include "edgible/json_doc.h"

/* The documents of a file, as text and parsed. */
struct stack {
    struct buf text;
    struct app_docs docs;
};

/* EXIT_OK, or what to exit with after it was said what is wrong. */
int stack_read(const struct command_options *options, struct stack *stack);
void cleanup_stack(struct stack *stack);
/* In metadata.dependsOn order: what others depend on first, or last where reversed. */
void stack_names(const struct stack *stack, bool reversed, struct strv *names);

/* What PUT /v1/applications answers. */
void stack_print_plan(const struct json *plan);

mono_ms stack_now(void);
/* After so many looks: short at first, a fifth of a second later on. */
void stack_pause(unsigned looks);
mono_ms stack_timeout(const struct command_options *options);

#endif
