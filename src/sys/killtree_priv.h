/*
 * killtree_priv: what killtree and orphan ask of a target, for src/sys only.
 */
#ifndef EDGIBLE_SYS_KILLTREE_PRIV_H
#define EDGIBLE_SYS_KILLTREE_PRIV_H

#include "census.h"
#include "edgible/killtree.h"
#include "edgible/proc.h"

#include <stdbool.h>
#include <string.h>

/* True where the process is not older than the target, which can then be its maker. */
static inline bool killtree_can_make(const struct killtree_target *target,
                                     const struct proc_stat *stat)
{
    return stat->start_ticks >= target->start_ticks;
}

/* True where the target can run a process of that user. */
static inline bool killtree_can_run_as(const struct killtree_target *target, uid_t uid)
{
    return target->uid == 0 || target->uid == uid;
}

/* True where the environment names the target. */
static inline bool killtree_is_named(const struct killtree_target *target,
                                     const struct census_cookie *cookie)
{
    return target->application != NULL && target->workload != NULL && target->device != NULL &&
           strcmp(cookie->application, target->application) == 0 &&
           strcmp(cookie->workload, target->workload) == 0 &&
           strcmp(cookie->device, target->device) == 0;
}

static inline bool killtree_is_same(const struct killtree_target *a,
                                    const struct killtree_target *b)
{
    return a == b || (a->leader == b->leader && a->start_ticks == b->start_ticks);
}

#endif
