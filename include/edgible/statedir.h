/*
 * statedir: the agent's own files: one agent a directory, and files that are there whole or not.
 */
#ifndef EDGIBLE_STATEDIR_H
#define EDGIBLE_STATEDIR_H

#include "edgible/err.h"

#include <stddef.h>
#include <sys/types.h>

/*
 * Takes <dir>/agent.lock for this process (OFD lock, so it ends with the process) and writes the
 * PID into it; the directory is made where it is missing (0700). Returns the descriptor to hold,
 * or -1: EBUSY with the message "… is in use by the agent with PID n".
 */
int statedir_lock(const char *dir, struct err *err) MUST_CHECK;

/* Replaces `name` in dirfd with data: temporary file, fsync, rename, fsync of the directory. */
int statedir_write_file(int dirfd, const char *name, const void *data, size_t len, mode_t mode,
                        struct err *err) MUST_CHECK;

#endif
