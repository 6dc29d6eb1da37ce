/*
 * fd: file descriptors and whole files. Every descriptor made here is close-on-exec.
 */
#ifndef EDGIBLE_FD_H
#define EDGIBLE_FD_H

#include "edgible/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Gives away the descriptor in *fd and leaves -1 behind. */
static inline int steal_fd(int *fd)
{
    int stolen = *fd;
    *fd = -1;
    return stolen;
}

/* From so many files on, one sync of the whole file system is cheaper than one of each. */
#define FD_SYNC_ALL_FROM 8

/* Closes *fd where it is open and sets it to -1. */
void fd_close(int *fd);

/* Writes all len bytes, over short writes and EINTR. Sets err to the errno of the write. */
int fd_write_all(int fd, const void *data, size_t len, struct err *err) MUST_CHECK;

/* Reads the rest of fd into a new NUL-terminated buffer (caller frees); more than max bytes is
 * an error with code EFBIG. */
int fd_read_all(int fd, size_t max, char **ret_data, size_t *ret_len, struct err *err) MUST_CHECK;

/* Opens path (relative to dirfd; AT_FDCWD for the usual) and reads it whole, as fd_read_all. */
int fd_read_file(int dirfd, const char *path, size_t max, char **ret_data, size_t *ret_len,
                 struct err *err) MUST_CHECK;
/* The same of a regular file: anything else is an error with code EINVAL, and a FIFO in its place
 * is not waited for. */
int fd_read_regular_file(const char *path, size_t max, char **ret_data, size_t *ret_len,
                         struct err *err) MUST_CHECK;

/* Adds O_NONBLOCK. */
int fd_set_nonblocking(int fd, struct err *err) MUST_CHECK;

/* Marks every descriptor from this one on close-on-exec, those of libraries too. */
void fd_close_all_on_exec(int from);

/* Whether errno's value says that a disk takes nothing just now: full, read-only, or failing. */
bool fd_is_disk_refusal(int error);

/* mkdir -p with mode for what is missing; an existing directory is fine. */
int fd_make_dirs(const char *path, mode_t mode, struct err *err) MUST_CHECK;

#endif
