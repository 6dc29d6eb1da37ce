/*
 * statedir: the agent's own files: one agent a directory, and files that are there whole or not.
 */
#ifndef EDGIBLE_STATEDIR_H
#define EDGIBLE_STATEDIR_H

#include "edgible/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * Takes <dir>/agent.lock for this process (OFD lock, so it ends with the process) and writes the
 * PID into it; the directory is made where it is missing (0700). Returns the descriptor to hold,
 * or -1: EBUSY with the message "… is in use by the agent with PID n", or errno's code where the
 * disk takes nothing (fd_is_disk_refusal()) and has no such file.
 */
int statedir_lock(const char *dir, struct err *err) MUST_CHECK;

/* Replaces `name` in dirfd with data: temporary file, fsync, rename, fsync of the directory;
 * without the two where sync is false, for what need not outlive a loss of power. */
int statedir_write_file(int dirfd, const char *name, const void *data, size_t len, mode_t mode,
                        bool sync, struct err *err) MUST_CHECK;
/* Replaces `name`, mode 0600, for what is written often and need not outlive a loss of power: what
 * it was is kept beside it as the next temporary file, so that no inode is made or freed. */
int statedir_exchange_file(int dirfd, const char *name, const void *data, size_t len,
                           struct err *err) MUST_CHECK;
/* statedir_write_file() in two halves, for many files that are synced together in between and
 * afterwards. */
int statedir_prepare_file(int dirfd, const char *name, const void *data, size_t len, mode_t mode,
                          bool sync, struct err *err) MUST_CHECK;
int statedir_finish_file(int dirfd, const char *name, bool sync, struct err *err) MUST_CHECK;
/* fsync of a directory. */
int statedir_sync(int dirfd, struct err *err) MUST_CHECK;
/* With its temporary file; one that is not there is fine. */
int statedir_remove_file(int dirfd, const char *name, bool sync, struct err *err) MUST_CHECK;

#endif
