/*
 * spec_diff: what differs between two versions of a workload or application, and whether the
 * difference needs a restart. Pure.
 */
#ifndef EDGIBLE_SPEC_DIFF_H
#define EDGIBLE_SPEC_DIFF_H

#include "edgible/appspec.h"

enum spec_change {
    SPEC_SAME,
    SPEC_LIVE,    /* differs in what applies without a restart: ports, logFile, logs, restart,
                     stop, dependsOn, healthCheck */
    SPEC_RESTART, /* differs in what the process was started with: type, command, workingDir, env,
                     user, group, limits, sandbox */
};

/* Compares; fields, where not NULL, receives the paths that differ, such as "env.LOG_LEVEL",
 * "command[2]", "restart.policy". */
enum spec_change spec_diff_workload(const struct workload_spec *from,
                                    const struct workload_spec *to, struct strv *fields);

/* Adds the paths in which the applications differ beside their workloads, such as
 * "metadata.dependsOn". */
void spec_diff_app_head(const struct app_spec *from, const struct app_spec *to,
                        struct strv *fields);

/* True where the applications differ in anything at all, their workloads included. */
bool spec_diff_app_is_different(const struct app_spec *from, const struct app_spec *to);

#endif
