/*
 * orphan: whose an orphan is, that is, a child of this process which is no workload's first
 * process; for src/sys only.
 *
 * A process chooses its environment, its session and its open files, so none of them proves that
 * it is not a workload's. An orphan belongs to one of its possible makers, and evidence only
 * chooses among them: a process that names nobody, or somebody who cannot have made it, still has
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
 * Possible makers are those that are older and can run a process of its user; where there are none
 * (a program with the set-user-ID bit changed it), all that are older. Evidence is, in this order:
 * its cgroup, the log pipe that it prints to, its environment. `others` are the further targets of
 * this agent; target itself among them, and items whose leader is 0, count as not there.
 */
enum orphan_owner orphan_find_owner(const struct census *census, size_t position,
                                    const struct killtree_target *target,
                                    const struct killtree_target *others, size_t other_count);

#endif
