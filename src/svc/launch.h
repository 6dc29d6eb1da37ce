/*
 * launch: what a process of a workload is started with, looked up and judged by the policy: its
 * program, its folder and its sandbox. Looked up on a thread (see look.h) wherever a path has to
 * be, with copies of the specification and the policy.
 */
#ifndef EDGIBLE_SVC_LAUNCH_H
#define EDGIBLE_SVC_LAUNCH_H

#include "edgible/doc_path.h"
#include "edgible/loop.h"
#include "edgible/strv.h"
#include "edgible/syscall_filter.h"
#include "edgible/workload.h"

/* What is launched, as it was opened: what the policy judges is what runs. */
struct launch_found {
    struct strv paths;       /* what the command can mean; after the check the one that runs */
    struct doc_path program; /* where the policy limits commands; fd -1: nothing to run is there */
    struct doc_path folder;  /* where it limits where to write */
    bool is_folder_known;    /* it works nowhere else, nor where nothing was to be opened */
    int sandbox_fd;          /* -1: none */
    bool has_filter;         /* beside it */
    struct syscall_filter filter;
    bool runs_fd; /* program.fd is executed, as its path could lead elsewhere by then */
};

struct launch;

/*
 * Begins to look, for the command or for that of the health check, with the workload's creds. Where
 * that takes more than a moment launch_is_over() is false, and done() is called once, from the
 * loop, unless the launch is freed before. NULL where nothing can be looked up now: EBUSY where it
 * may be in a moment, else as look_start().
 */
struct launch *launch_new(const struct workload *w, bool is_check, loop_fn done, void *arg,
                          struct err *err);
/* Never waits. */
void launch_free(struct launch *launch);
bool launch_is_over(const struct launch *launch);
bool launch_is_check(const struct launch *launch);
/* Of one that is not over: when it counts as hanging. */
mono_ms launch_deadline(const struct launch *launch);
/* Of one that is not over: says which path does not answer. */
int launch_hangs(const struct launch *launch, struct err *err);
/* Of one that is over; borrowed. NULL: it is refused (ERR_SPEC), or the machine's fault. */
struct launch_found *launch_take(struct launch *launch, struct err *err);

#endif
