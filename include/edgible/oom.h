/*
 * oom: whether the kernel's out-of-memory killer ended a process.
 */
#ifndef EDGIBLE_OOM_H
#define EDGIBLE_OOM_H

#include "edgible/parse.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* How many processes of this machine it has killed since boot; -1 where the kernel does not say. */
int64_t oom_read_kills(void);

/* The kernel's log tells that it killed this process, at or after this time (CLOCK_MONOTONIC).
 * False also where that log may not be read, which needs CAP_SYSLOG or dmesg_restrict=0. */
bool oom_has_killed(pid_t pid, mono_ms since);

#endif
