/*
 * The inside of the supervisor, shared by supervisor.c (who is supervised), start_gate.c and
 * stop_order.c (the order of starting and of stopping), supervisor_look.c (who asks), sandboxed.c
 * (who may be in a sandbox), sweep.c (looking at processes) and end_sweep.c (what is left at the
 * agent's end).
 */
#ifndef EDGIBLE_SUPERVISOR_PRIVATE_H
#define EDGIBLE_SUPERVISOR_PRIVATE_H

#include "edgible/killtree.h"
#include "edgible/list.h"
#include "edgible/map.h"
#include "edgible/pump.h"
#include "edgible/strv.h"
#include "edgible/supervisor.h"
#include "edgible/work.h"
#include "edgible/workload.h"

/* A workload and what the supervisor knows of it. */
struct member {
    struct list link;       /* in members */
    struct list sweep_link; /* in sweeps while a sweep is asked for, then in swept */
    char *key;              /* <application>/<workload> */
    struct workload *workload;
    struct killtree_rounds rounds; /* of a stubborn one */
    bool leader_ended;             /* at the beginning of its sweep */
    bool seen;                     /* in the application being applied */
    bool removing;                 /* stops, and is then forgotten */
    bool suspending;               /* stops, and stays */
    bool renewing;                 /* stops, and starts again, each in its order */
    bool stop_sent;                /* of one that is leaving */
    bool for_good;                 /* of one being removed: its unit description goes, too */
    bool given_up;                 /* at the agent's end: nothing waits for it any more */
    mono_ms closing_since;         /* its log; 0: it is not being closed */
    /* Of the order of stopping: its own node, its application's behind and before its members,
     * and the rank. */
    size_t node, app_node, app_gate, rank;
};

static inline bool member_is_leaving(const struct member *m)
{
    return m->removing || m->suspending || m->renewing;
}

/* sandboxed.c: the users that had workloads in a sandbox in this boot, those that an earlier agent
 * (or this one, before it executed itself anew) had first. */
struct sandboxed {
    uid_t *uids;
    size_t count, earlier;
    bool is_anybody; /* the record cannot be read */
};

/* All workloads that have processes. Zeroed, then filled once. */
struct sweep_targets {
    struct killtree_target *items; /* health checks under way among them */
    bool *is_asked;                /* of each: whether a sweep is asked for */
    pid_t *children;               /* their leaders; sorted */
    size_t count, child_count;
    struct strv texts;           /* owned, where the items do not borrow from the workloads */
    struct cgroup_root *cgroups; /* owned; NULL: theirs is the supervisor's */
};

struct supervisor {
    struct supervisor_params params;
    struct workload_ctx ctx;
    char *device_name, *log_dir, *log_dir_given, *boot_id;
    struct creds *own_creds; /* looked up once: the name services are slow */
    pid_t helper;            /* 0: none */
    struct list members;
    struct map *by_key;
    struct map *app_nodes; /* application → its first member, while ranks are made */
    struct pump *pump;
    struct log_keeper *log_keeper;
    struct loop_async *pump_async;
    struct loop_timer *bury_timer;
    size_t leaving_count;
    bool shutting_down, empty_said;
    bool is_abandoned; /* workloads go on without this agent */
    bool had_sandbox;  /* some workload has one, or had one */
    struct lost *lost; /* owned; NULL: not looked for */
    struct sandboxed sandboxed;
    bool is_short_of_fds; /* some workload was refused for want of descriptors */

    struct stop_times stop_times;
    struct loop_share launches, stops;
    struct loop_timer *stop_timer; /* the next turn goes on with the stops */
    struct health_shared health;
    size_t held_count; /* at most so many wait for what they depend on */
    struct loop_timer *gate_timer;
    struct list sweeps; /* asked for */
    struct list swept;  /* wait for the look that is under way, or is being gone through */
    struct work *look;  /* NULL: none is under way on a thread */
    bool goes_through;  /* what the last look saw, which are the next two */
    struct census *seen;
    struct sweep_targets seen_targets;
    struct killtree_orders orders; /* for the next look to send */
    struct loop_share sweep_share, reap_share;
    struct loop_timer *sweep_timer;
    struct loop_timer *orphan_timer;
    struct loop_signal *child_signal;
    mono_ms last_orphans;
    bool has_child_signal; /* since this pass began */
    pid_t reap_from;       /* where the next turn goes on; 0: with the first */
    bool reads_marks;      /* of this pass: a check has ended, and its orphans are looked for */
    /* Of the agent's end; the timers are NULL before. */
    struct loop_timer *end_timer, *give_up_timer, *grace_timer;
    struct work *end_look;  /* under way on a thread; NULL: none */
    struct work *old_marks; /* the same, at the agent's start */
    mono_ms shutdown_began, end_began, end_pause_ms;
    bool end_term_sent, end_hurries, has_given_up;
};

/* Looks who has come to rest, once the workload that says so is through with its step. */
void supervisor_bury_soon(struct supervisor *sup);

/* stop_order.c: gives every member that is leaving its place in the order. */
void stop_order_rank(struct supervisor *sup);
/* Stops the members of the lowest rank that is left, all at once: many in several turns. */
void stop_order_advance(struct supervisor *sup);
void stop_order_init(struct supervisor *sup);
void stop_order_fini(struct supervisor *sup);

/* start_gate.c: starts it, once what it depends on runs. */
void gate_start(struct supervisor *sup, struct member *m);
/* Something came or went: some that wait may start. */
void gate_look_again(struct supervisor *sup);
/* It is to stop in its order, and to start again in its order; the caller ranks. */
void gate_begin_renewal(struct member *m);
/* It has come to rest. */
void gate_end_renewal(struct supervisor *sup, struct member *m);
void gate_init(struct supervisor *sup);
void gate_fini(struct supervisor *sup);

/* end_sweep.c: from now on gives up members that have been stuck for too long, and skips all
 * grace periods once policy.maxGracePeriod is over. */
void end_sweep_watch_members(struct supervisor *sup);
/* True where a member is left that is not given up. */
bool end_sweep_has_awaited(const struct supervisor *sup);
/* Ends all children of the agent's that are left, then calls on_empty. */
void end_sweep_begin(struct supervisor *sup);
/* Skips the time between SIGTERM and SIGKILL, also of an end sweep that begins later. */
void end_sweep_hurry(struct supervisor *sup);
void end_sweep_fini(struct supervisor *sup);

/* sandboxed.c. Reads what earlier agents noted. */
void sandboxed_init(struct supervisor *sup);
/* As workload_ctx.on_sandbox; arg is the supervisor. */
void sandboxed_note(void *arg, uid_t uid, bool is_adopted);
/* Whether an earlier agent had any; whether a process of the user can be one that it left. */
bool sandboxed_had_earlier(const struct supervisor *sup);
/* Whether some may write to the groups of workloads, which are the agent's user's: then the group
 * that a process is in does not tell whose it is. */
bool sandboxed_may_move(const struct supervisor *sup);
bool sandboxed_may_be_earlier(const struct supervisor *sup, uid_t uid);

void cleanup_sweep_targets(struct sweep_targets *t);
void sweep_collect_targets(const struct supervisor *sup, struct sweep_targets *t);
/* The same with copies of all that the targets point to. */
void sweep_collect_for_thread(const struct supervisor *sup, struct sweep_targets *t);

/* Looks on a thread, or, where none can be made, at once. done() is called in any case, and frees
 * the work in *slot, which is NULL where there is no thread. */
void sweep_look(struct work **slot, const struct work_params *params);

void sweep_init(struct supervisor *sup);
void sweep_fini(struct supervisor *sup);
/* As workload_ctx.request_sweep; arg is the supervisor. */
void sweep_request(void *arg, struct workload *workload);
/* As workload_ctx.on_check_end. */
void sweep_orphans_soon(void *arg);

#endif
