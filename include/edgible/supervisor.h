/*
 * supervisor: all workloads of the device: what is wanted of them, the order in which they stop,
 * one sweep of the processes for all that need one, and the reaping of orphans.
 */
#ifndef EDGIBLE_SUPERVISOR_H
#define EDGIBLE_SUPERVISOR_H

#include "edgible/appspec.h"
#include "edgible/cgroup.h"
#include "edgible/config.h"
#include "edgible/err.h"
#include "edgible/events.h"
#include "edgible/loop.h"
#include "edgible/mem.h"
#include "edgible/persist.h"
#include "edgible/run_state.h"
#include "edgible/state_doc.h"

#include <sys/resource.h>

struct supervisor;
struct workload;
struct stop_times;

struct supervisor_params {
    struct loop *loop; /* borrowed, as is all here; outlives the supervisor */
    struct events *events;
    struct persist *persist;
    const struct cgroup_root *cgroups; /* NULL: none */
    const char *device_name, *log_dir; /* copied */
    const char *boot_id;               /* copied */
    const char *journal_dir;           /* of the pump; copied */
    struct rlimit open_files_before;   /* what workloads get */
    const struct policy_config *policy;
    struct rlimit open_files_now; /* what the budget of descriptors is made from */
    /* Nothing is left of an application that was removed. */
    void (*on_app_gone)(void *arg, const char *name);
    /* Some workloads had been refused for want of descriptors, and some are free again: call
     * supervisor_fill() for each application that is wanted. */
    void (*on_room)(void *arg);
    /* A workload is in another state, or in another state of health; nothing may be changed from
     * inside the call. */
    void (*on_change)(void *arg, const struct workload *workload);
    void (*on_forgotten)(void *arg); /* there is one workload less; as on_change */
    void (*on_empty)(void *arg);     /* after supervisor_shutdown(), when nothing is left */
    void *arg;
};

struct supervisor *supervisor_new(const struct supervisor_params *params, struct err *err);
/* Only when nothing is left, after on_empty, or after supervisor_abandon(). */
void supervisor_free(struct supervisor *sup);
DEFINE_CLEANUP(supervisor, struct supervisor, supervisor_free)

/* Some records are missing or damaged: before the first adoption it looks for processes of
 * workloads of which none tells. They are stopped before these start. */
void supervisor_look_for_lost(struct supervisor *sup);

/*
 * Takes over a workload that an earlier agent left behind, as its unit description says and, where
 * state is not NULL, from where that one was. supervisor_apply() or _remove() of its application is
 * to follow.
 */
void supervisor_adopt(struct supervisor *sup, const struct unit *unit,
                      const struct run_state *state);
/* All that an earlier agent left has been adopted. */
void supervisor_end_adoption(struct supervisor *sup);

/*
 * Makes the application run as the spec says, which must be complete (defaults applied): starts
 * what is new, stops what it no longer has, and of what changed restarts only what has to.
 *
 * With suspended, nothing of it is to run: what does stops, in reverse dependsOn order, and stays
 * known.
 */
void supervisor_apply(struct supervisor *sup, const struct app_spec *spec, int64_t generation,
                      bool suspended);

/* Starts those workloads of an applied application that were refused for want of descriptors, as
 * far as there are now enough; touches no other. */
void supervisor_fill(struct supervisor *sup, const struct app_spec *spec, int64_t generation);

/* A new process for the workload, or for all of the application where it is NULL. False where there
 * is none of that name. */
bool supervisor_restart(struct supervisor *sup, const char *application, const char *workload);

/* Stops the applications and forgets them; in dependsOn order, reversed. Unknown names are
 * ignored. */
void supervisor_remove(struct supervisor *sup, const char *const *names, size_t count);

/* Stops everything, then all children of this process outside its own session that are left;
 * on_empty is called from the loop afterwards. A workload that SIGKILL does not end, or whose log
 * cannot be closed, is named in the log after 10 s and given up. A second call skips what is left
 * of the grace periods. */
void supervisor_shutdown(struct supervisor *sup);

/*
 * The workloads go on without this process. supervisor_pause() makes the logs stand still, with
 * nothing on its way from pipe to file (-1 where one is being written to a disk that hangs); for an
 * exec in this process supervisor_hand_over() keeps the pipes open over it, and takes that back
 * where keep is false, as supervisor_unpause() does with the pause. supervisor_abandon() lets go of
 * everything: only supervisor_free() may follow.
 */
int supervisor_pause(struct supervisor *sup, struct err *err) MUST_CHECK;
void supervisor_unpause(struct supervisor *sup);
void supervisor_hand_over(struct supervisor *sup, bool keep);
void supervisor_abandon(struct supervisor *sup);

/* A child of this process that is no workload's: it is neither reaped nor taken for an orphan of
 * one. 0: there is none. */
void supervisor_set_helper(struct supervisor *sup, pid_t pid);

/* From now on this policy counts for each launch; borrowed. */
void supervisor_set_policy(struct supervisor *sup, const struct policy_config *policy);

/* NULL where there is none. Valid until the loop's next turn. */
const struct workload *supervisor_find(const struct supervisor *sup, const char *application,
                                       const char *workload);
/* How long the longest grace period that is running goes on; 0: none is. */
mono_ms supervisor_grace_left(const struct supervisor *sup, mono_ms now);
const struct stop_times *supervisor_stop_times(const struct supervisor *sup);
/* Whether any workload has had a sandbox since this process began. */
bool supervisor_had_sandbox(const struct supervisor *sup);
/* Whether a process that has no_new_privs may be of a workload in a sandbox: told by its parents,
 * their sessions and groups, and its cgroup, of which it can choose none. What only its environment
 * tells is not believed, and true is what cannot be told. Holds if the process lives still. */
bool supervisor_may_be_in_sandbox(const struct supervisor *sup, pid_t pid, uid_t uid);
/* Some workload is being stopped for good or suspended. */
bool supervisor_has_leaving(const struct supervisor *sup);
typedef void supervisor_fn(void *arg, const struct workload *workload);
/* For each workload of the application, all where it is NULL. */
void supervisor_each(const struct supervisor *sup, const char *application, supervisor_fn *fn,
                     void *arg);

/* Number of workloads known, the ones being removed included. */
size_t supervisor_workload_count(const struct supervisor *sup);

#endif
