/*
 * limits: puts a workload's limits into force as far as this system can, and remembers how.
 */
#ifndef EDGIBLE_SVC_LIMITS_H
#define EDGIBLE_SVC_LIMITS_H

#include "edgible/appspec.h"
#include "edgible/cgroup.h"
#include "edgible/creds.h"
#include "edgible/report.h"
#include "edgible/spawn.h"

/* What of them is to be done by the child goes into request, the rest is done at once. cgroup_fd is
 * the workload's, -1: none. Fills states (LIMIT_COUNT of them). */
void limits_apply(const struct limits_spec *limits, const struct cgroup_root *cgroups,
                  int cgroup_fd, const struct creds *creds, struct spawn_request *request,
                  enum limit_state *states);

#endif
