/*
 * check_output: what the command of a health check prints, read on a thread: whoever writes to a
 * pipe can keep its lock for ever, and with it who reads, opens or closes it.
 */
#ifndef EDGIBLE_CHECK_OUTPUT_H
#define EDGIBLE_CHECK_OUTPUT_H

#include "edgible/err.h"
#include "edgible/loop.h"

#include <stdbool.h>
#include <stddef.h>

/* So much is kept. */
#define CHECK_OUTPUT_BYTES 4096

struct check_output;

/* Reads until nobody can write any more, and then calls over(arg) on the loop's thread. owner is
 * whose check it is, copied. *ret_end is the command's end of the pipe; the caller closes it. NULL
 * with ERR_HOST where there is no pipe or thread, or too many of them hang, of all or of this
 * owner. */
struct check_output *check_output_new(struct loop *loop, const char *owner, loop_fn over, void *arg,
                                      int *ret_end, struct err *err);
/* over() has been, or would be, called: everything has been read. */
bool check_output_is_over(const struct check_output *output);
/* Copies what has been read so far; returns how much. */
size_t check_output_copy(const struct check_output *output, char text[CHECK_OUTPUT_BYTES]);
/* Never blocks; over() is not called any more. */
void check_output_free(struct check_output *output);

#endif
