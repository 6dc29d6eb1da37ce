/*
 * workload: one supervised workload: executes what the state machine (wl_fsm) decides.
 *
 * Made and freed by the supervisor. After workload_set_removing() it stops, and when nothing of
 * it is left ctx->on_gone() is called, from the loop, when it may be freed.
 */
#ifndef EDGIBLE_WORKLOAD_H
#define EDGIBLE_WORKLOAD_H

#include "edgible/appspec.h"
#include "edgible/cgroup.h"
#include "edgible/config.h"
#include "edgible/creds.h"
#include "edgible/events.h"
#include "edgible/killtree.h"
#include "edgible/loop.h"
#include "edgible/lost.h"
#include "edgible/persist.h"
#include "edgible/pump.h"
#include "edgible/report.h"
#include "edgible/run_state.h"
#include "edgible/wl_fsm.h"

#include <sys/resource.h>

struct workload;

/* How long stops took, from the stop signal until nothing was left. */
#define STOP_BUCKETS 8
extern const mono_ms stop_bucket_ms[STOP_BUCKETS]; /* upper bounds */
struct stop_times {
    uint64_t buckets[STOP_BUCKETS + 1]; /* the last one: longer than all */
    uint64_t count;
    mono_ms sum_ms;
};

/* What the health checks of all workloads share. */
struct health_shared {
    size_t under_way, max_under_way;
    int64_t last_number; /* of exec checks, counted over all */
    bool has_ended;      /* one has, and what it left was not looked for yet */
};

/* What all workloads share; outlives them. Nothing is owned. */
struct workload_ctx {
    struct loop *loop;
    struct pump *pump;
    struct events *events;
    struct persist *persist;
    struct log_keeper *log_keeper;
    const char *boot_id;
    const struct cgroup_root *cgroups; /* NULL: none */
    const struct creds *own_creds;     /* the agent's user; NULL: could not be looked up yet */
    const char *device_name;
    const char *log_dir;       /* without links, as the agent found it at its start */
    const char *log_dir_given; /* as the configuration names it, and documents may */
    struct rlimit open_files;  /* what workloads get */
    const struct policy_config *policy;
    struct stop_times *stop_times;
    struct loop_share *launches; /* of all workloads */
    struct health_shared *health;
    /* Asks for a sweep of the workload: workload_sweep() is called soon, from the loop. */
    void (*request_sweep)(void *arg, struct workload *workload);
    /* An exec check has ended: what it left behind is ended soon. */
    void (*on_check_end)(void *arg);
    /* A process of the user is about to be started in a sandbox, or was by an earlier agent. */
    void (*on_sandbox)(void *arg, uid_t uid, bool is_adopted);
    /* The workload has come to rest. */
    void (*on_rest)(void *arg, struct workload *workload);
    /* It is in another state, or in another state of health. */
    void (*on_change)(void *arg, struct workload *workload);
    void *arg;
};

/* spec is copied and must be complete (defaults applied). */
struct workload *workload_new(const struct workload_ctx *ctx, const char *application,
                              const struct workload_spec *spec);
/* Only of one whose log is closed (workload_is_disposable()). */
void workload_free(struct workload *workload);

/* What its unit description says of its application; before the first start and with each update.
 */
void workload_set_application(struct workload *workload, int64_t generation,
                              const struct strv *app_depends_on);
const struct strv *workload_app_depends_on(const struct workload *workload);
int64_t workload_generation(const struct workload *workload);

/* Takes over where an earlier agent of this boot ended: adopts the process, or sees that it has
 * ended. Instead of the first workload_start(). */
void workload_resume(struct workload *workload, const struct run_state *state);
/* The same where no record says how it was left: what its cgroup still holds, and what is lost
 * (NULL: nothing), is stopped first. */
void workload_resume_without_state(struct workload *workload, const struct lost *lost);
/* Whether the record is of a run before the current one: it tells of no process, or of one that is
 * gone, while a first process of the workload that prints to another pipe is among the lost. */
bool workload_is_record_old(const struct workload *workload, const struct run_state *state,
                            const struct lost *lost);
/* There is a unit description of it already, whatever that says. */
void workload_note_unit(struct workload *workload);
/* Its record of this boot is removed, and its unit description where for_good. */
void workload_forget(struct workload *workload, bool for_good);
/* Of a paused pump: the read end of its log pipe outlives exec where keep, and the record says
 * which it is. */
void workload_hand_over(struct workload *workload, bool keep);
/* Lets go of its process, which goes on; only workload_free() may follow. */
void workload_abandon(struct workload *workload);

const char *workload_application(const struct workload *workload);
const struct workload_spec *workload_spec(const struct workload *workload);
enum wl_state workload_state(const struct workload *workload);
bool workload_is_at_rest(const struct workload *workload);

void workload_start(struct workload *workload);
/* It is wanted, and is to be started later, for this reason; copied. Only of one that is stopped;
 * workload_start() or workload_stop() end that. */
void workload_hold(struct workload *workload, const char *reason);
bool workload_is_held(const struct workload *workload);
/* When what depends on it may start: 0: now; -1: not before its state changes. */
mono_ms workload_ready_in(const struct workload *workload);
void workload_stop(struct workload *workload);
/* When the grace period of a stop ends that is under way; 0: there is none. */
mono_ms workload_grace_end(const struct workload *workload);
/* Since when it is being killed; 0: it is not. */
mono_ms workload_killing_since(const struct workload *workload);
/* The processes of it that lived at the last look. */
const pid_t *workload_left(const struct workload *workload, size_t *ret_count);
/* Ends a stop's grace period now. */
void workload_skip_grace(struct workload *workload);
/* What becomes of the process when its specification changes. */
enum workload_renewal {
    RENEW_NOTHING, /* it serves as it is */
    RENEW_NOW,     /* it is restarted */
    RENEW_LATER,   /* the caller stops and starts it, each in its order */
};
/* Takes over a new version of the specification. */
void workload_update(struct workload *workload, const struct workload_spec *spec,
                     enum workload_renewal renewal);

/* The policy of its context is another one: its log is judged by it from the next opening on. */
void workload_follow_policy(struct workload *workload);
/* A new process, its counters forgiven; one that is not wanted starts. */
void workload_restart(struct workload *workload);

enum status workload_status(const struct workload *workload);
/* Why it is so; NULL where the status says it all. The caller frees. */
char *workload_reason(const struct workload *workload);
/* Fills all but what has to be looked for in the system: ports' listening, resources. *report must
 * be zeroed; the caller finishes it before the workload changes. brief: without last exit, ports
 * and log. */
void workload_fill_report(const struct workload *workload, bool brief,
                          struct workload_report *report);
/* What it waits for just now, as a sentence: what a stop still waits for; NULL: nothing. The caller
 * frees. */
char *workload_waits_for(const struct workload *workload);
/* Where its log is. The caller frees. */
char *workload_log_file(const struct workload *workload);
/* Whether its next run would write to the log of the other one, which has processes still. */
bool workload_waits_for_log(const struct workload *workload, const struct workload *other);
/* With whose rights that file is read. */
struct log_owner workload_log_owner(const struct workload *workload);
/* Where a policy lets a document's log be, and with that no content in it that no agent wrote;
 * NULL: there is no policy. Borrowed. */
const struct strv *workload_policy_paths(const struct policy_config *policy);
/* The patterns of the policy that its place must match; NULL: none. Borrowed. */
const struct strv *workload_log_allowed(const struct workload *workload);
/* Where it stands; the workload's, NULL while it is closed. */
struct log_place *workload_log_place(const struct workload *workload);

/* Closes the log of a workload at rest; on_rest is called again when that is done. */
void workload_close(struct workload *workload);
bool workload_is_disposable(const struct workload *workload);

/* Whether its processes, those of the run before a change included, may be in a sandbox. */
bool workload_is_in_sandbox(const struct workload *workload);

/* The process of a health check of it that is under way; 0: none. */
pid_t workload_check_pid(const struct workload *workload);
/* Fills *ret, without names, where such a process is under way; false where none is. */
bool workload_check_target(const struct workload *workload, struct killtree_target *ret);
/* The number of that command; -1: none runs. */
int64_t workload_check_number(const struct workload *workload);
/* Its process, 0 where it has none. A zombie that is not released yet counts. */
pid_t workload_pid(const struct workload *workload);
/* Fills *ret where the workload has processes; false where it has none. */
bool workload_kill_target(const struct workload *workload, struct killtree_target *ret);
/* Whether its cgroup alone tells what is left of it. */
bool workload_has_cgroup(const struct workload *workload);
/* The name of its cgroup; NULL where it is in none. */
const char *workload_cgroup(const struct workload *workload);
/*
 * Answer to request_sweep: what a look at the processes found. In state killing, what was found
 * is sent SIGKILL. census is NULL where there was no need for one (left_count is 0 then).
 */
void workload_swept(struct workload *workload, const struct census *census, const pid_t *left,
                    size_t left_count);
/* True where the last sweeps did not get rid of what is left: killtree_round() is called for. */
bool workload_is_stubborn(const struct workload *workload);

/* Hands a pump event to the workload that it is for. */
void workload_on_pump(const struct pump_event *event);

#endif
