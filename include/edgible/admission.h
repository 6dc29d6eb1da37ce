/*
 * admission: whether a document may run on this device: it is for it, within its owner's policy,
 * and what it depends on is there. Paths are judged by where they lead now; each launch judges
 * anew what it opened, and who it would run as.
 */
#ifndef EDGIBLE_ADMISSION_H
#define EDGIBLE_ADMISSION_H

#include "edgible/appspec.h"
#include "edgible/config.h"
#include "edgible/map.h"

/* NULL where the document is for this device, else why not. The caller frees. */
char *admission_not_for_device(const struct config *config, const struct app_spec *app);

/* A copy of app with the configuration's defaults filled in, and with the grace period and restart
 * delays that the policy lets it have. The policy's limits are not filled in: they count from a
 * start on (admission_start_limits()), and restart nothing. */
struct app_spec *admission_complete(const struct config *config, const struct app_spec *app);

/* What applications take of that which the policy limits for all of them together. */
struct admission_load {
    size_t workloads;  /* that this agent runs */
    int64_t log_bytes; /* the most that their log files can take; INT64_MAX: that or more */
};

/* Adds those of an application, which is complete, to the load. good: the version that it can go
 * back to, NULL: none; the larger one counts. */
void admission_add_load(struct admission_load *load, const struct app_spec *app,
                        const struct app_spec *good);
void admission_join_load(struct admission_load *load, const struct admission_load *more);

/* What is opened for the paths of a workload where they are judged, and again where it is launched:
 * some 5 ms. */
#define ADMISSION_STEPS_MAX 1024

/* NULL where the policy allows it, else one sentence of all that it violates, each with its place
 * in the document, the rule and the configuration file: the first 20, and how many more. app is
 * complete; own_user is who the agent is; others is the load of all other applications. Where its
 * paths lead through thousands of folders, or its sandboxes have hundreds of paths, those of its
 * last workloads are judged at their launches alone; without judges_paths, all are. The caller
 * frees. */
char *admission_policy_refusal(const struct policy_config *policy, const struct app_spec *app,
                               const char *own_user, const struct admission_load *others,
                               bool judges_paths);
/* The same, in the loop: its paths are looked up on a thread, and judged at its launches alone
 * where that takes too long. The caller frees. */
char *admission_refusal_in_time(const struct policy_config *policy, const struct app_spec *app,
                                const char *own_user, const struct admission_load *others);

/*
 * NULL where each application that it depends on is among the known, and no circle leads back to
 * it; else the sentence that refuses it. known: name → const struct app_spec, or a value that is
 * `known` itself where nothing but its name is known. The caller frees.
 */
char *admission_depends_refusal(const struct app_spec *app, struct map *known);

/* NULL where no two of its workloads have one log, and none has that of a workload of the known
 * (as above; values that are `known` itself are passed over); else the sentence that refuses it.
 * Paths are compared as they are written. log_dir: for logs that have no logFile; "." where it is
 * not known. The caller frees. */
char *admission_log_refusal(const char *log_dir, const struct app_spec *app, struct map *known);

/* --- at a launch --- */

/* The policy may be stricter than the one that accepted the document. Its words for what does not
 * depend on the program and log: user, group, environment, privileges and what is read; NULL: it
 * may start. The caller frees. */
char *admission_start_refusal(const struct policy_config *policy,
                              const struct workload_spec *workload, const char *own_user);
/* Where its programs with bare names are looked for; borrowed. */
const char *admission_search_path(const struct workload_spec *workload);
/* What was asked for, as far as the policy lets it, and its limits where nothing was. */
struct limits_spec admission_start_limits(const struct policy_config *policy,
                                          const struct limits_spec *asked);
/* The policy's words for a program that may not be run; NULL: it may. path is resolved. */
char *admission_program_refusal(const struct policy_config *policy, const char *path);
/* The same for a folder or log file. */
char *admission_write_refusal(const struct policy_config *policy, const char *path);

#endif
