/*
 * check_mark: finds what health checks leave behind. Each check has in its environment who made it
 * and its number, so that those of its processes that left its session and group can be told from
 * the workload's. (Where there are cgroups, that of the check tells as well.)
 */
#ifndef EDGIBLE_CHECK_MARK_H
#define EDGIBLE_CHECK_MARK_H

#include <stdint.h>
#include <sys/types.h>

#define CHECK_MARK_NAME "EDGIBLE_CHECK"
#define CHECK_MARK_BYTES 48

/* What the variable is to say in check `number` of this process. */
void check_mark_format(int64_t number, char buf[CHECK_MARK_BYTES]);

/* The number of the check that a child of this process is of; -1: of none that this process made.
 */
int64_t check_mark_of(pid_t child);

/* SIGKILL to what is left of checks of this device whose agent does not live any more. */
void check_mark_kill_old(const char *device);

#endif
