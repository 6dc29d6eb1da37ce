/*
 * proc_priv: what proc and killtree share, for src/sys only.
 */
#ifndef EDGIBLE_SYS_PROC_PRIV_H
#define EDGIBLE_SYS_PROC_PRIV_H

#include "edgible/proc.h"

#include <stdbool.h>
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

/* "12" -> 12; 0 where the name is no PID. */
pid_t proc_parse_pid(const char *text);

#endif
