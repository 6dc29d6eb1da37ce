/*
 * orphan: finds the workload that an orphan belongs to; for src/sys only. An orphan is a child of
 * this process that is not the first process of a workload.
 *
 * A process chooses its environment, its session and its open files, so none of them proves that
 * a workload did not make it. An orphan belongs to one of its possible makers, and evidence only
 * chooses among them: a process that names no workload, or one that cannot have made it, still has
 * a maker.
 */
#ifndef EDGIBLE_SYS_ORPHAN_H
#define EDGIBLE_SYS_ORPHAN_H

#include "census.h"
#include "edgible/killtree.h"

enum orphan_owner {
    ORPHAN_OF_TARGET, /* evidence says so, or nobody else can have made it */
    ORPHAN_OF_OTHERS, /* evidence says so, or the target cannot have made it */
    ORPHAN_UNCLEAR    /* the target and others can have made it: the last one that stops gets it */
};

/*
 * Possible makers are the targets that are older than the orphan and can run a process of its user.
 * Where there are none, a program with the set-user-ID bit changed the user, and all older targets
 * are possible makers. Evidence is, strongest first: the cgroup, the log pipe that the orphan
 * prints to, its environment. Where the target may move processes to the groups of others, its log
 * pipe is enough. `others` are the further targets of this agent; the target itself and
 * items whose leader is 0 are ignored there.
 */
enum orphan_owner orphan_find_owner(const struct census *census, size_t position,
                                    const struct killtree_target *target,
                                    const struct killtree_target *others, size_t other_count);

#endif
