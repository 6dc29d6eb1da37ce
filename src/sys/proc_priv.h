/*
 * proc_priv: what proc and killtree share, for src/sys only.
 */
#ifndef EDGIBLE_SYS_PROC_PRIV_H
#define EDGIBLE_SYS_PROC_PRIV_H

#include "edgible/proc.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* As proc_read_stat(), below an open /proc. Sets errno; costs no error text, since a census asks
 * thousands of times and processes come and go. */
int proc_stat_at(int proc_fd, pid_t pid, struct proc_stat *ret);

/* True where nothing of the process runs any more. A `Z` alone does not say so: the main thread of
 * a process can end (pthread_exit) while others go on. */
static inline bool proc_stat_is_dead(const struct proc_stat *stat)
{
    return stat->state == 'X' || stat->state == 'x' || (stat->state == 'Z' && stat->threads <= 1);
}

/* The first bytes of a file, `max` at the most, and a NUL behind; the caller frees. NULL where it
 * cannot be read. */
char *proc_read_head(int dirfd, const char *path, size_t max, size_t *ret_len);

/*
 * The start of its environment, with NULs inside and one behind; the caller frees. NULL where it
 * cannot be read.
 *
 * environ is read out of the memory of the process, under a lock that the process itself can hold
 * for ever, by a file system of its own. So a thread reads, for at most *wait_ms, from which the
 * time that it took is taken away; while a thread is left behind in a process, and while there are
 * 16 of them, it cannot be read.
 */
char *proc_read_environ(pid_t pid, int64_t *wait_ms, size_t *ret_len);

/* The inode of the pipe that a link in some /proc/PID/fd leads to; 0 where it leads to anything
 * else, or cannot be read. Nothing is asked of the file system of what is open there: it may be
 * one that never answers. */
uint64_t proc_link_to_pipe(int dirfd, const char *name);

/* "12" -> 12; 0 where the name is no PID. */
pid_t proc_parse_pid(const char *text);

#endif
