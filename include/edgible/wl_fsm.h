/*
 * wl_fsm: the life of one workload as a pure function: (state, event, now) → effects, with the
 * next deadline as data. No clock, no I/O. The table is src/core/wl_fsm.c; docs/state-machine.md
 * is printed from it.
 *
 * Two inputs are kept apart: what is wanted (START, STOP, RESTART, RENEW, KILL) and what happens
 * (the rest). Who calls executes the effects, then arms one timer from `deadline`.
 */
#ifndef EDGIBLE_WL_FSM_H
#define EDGIBLE_WL_FSM_H

#include "edgible/appspec.h"
#include "edgible/parse.h"

#include <stdbool.h>
#include <stdint.h>

enum wl_state {
    WL_STOPPED,  /* at rest: not wanted */
    WL_STARTING, /* its next start is due (deadline: or waits for that), its log is opened, its
                    process made, until exec succeeded */
    WL_RUNNING,
    WL_STOPPING,  /* stop signal sent; grace period */
    WL_ENDING,    /* its leader exited by itself; what is left of it is stopped; grace period */
    WL_KILLING,   /* SIGKILL sent, until nothing is left */
    WL_BACKOFF,   /* waits for its next start */
    WL_COMPLETED, /* at rest: ended, and its policy says so */
    WL_FAILED,    /* at rest: no further try (but each retryFailedAfter) */
    WL_STATE_COUNT
};

enum wl_event {
    WL_EV_START,       /* wanted: up. Nothing where it is wanted already */
    WL_EV_STOP,        /* wanted: down */
    WL_EV_RESTART,     /* wanted: a new process, counters forgiven */
    WL_EV_RENEW,       /* new generation, same process: counters forgiven */
    WL_EV_KILL,        /* a stop's grace period is over now */
    WL_EV_SPAWNED,     /* a process exists */
    WL_EV_NOT_STARTED, /* no process could be made; `end` says whose fault it is */
    WL_EV_STARTED,     /* exec succeeded */
    WL_EV_EXITED,      /* the leader exited; `end` */
    WL_EV_GONE,        /* a sweep found nothing left, after the leader's exit */
    WL_EV_LEFT,        /* a sweep found something left */
    WL_EV_UNHEALTHY,   /* it runs, but fails its health check: restarted as if it had exited */
    WL_EV_DEADLINE,
    WL_EVENT_COUNT
};

/* How a process, or the try to start one, ended. */
enum wl_end {
    WL_END_CLEAN,      /* exit status 0 */
    WL_END_ERROR,      /* another status, a signal, or not known */
    WL_END_FAULT,      /* could not be started: the specification's fault */
    WL_END_HOST_FAULT, /* could not be started: the machine's fault, not charged */
};

/* Effects: bits, executed in this order. */
enum {
    WL_DO_SPAWN = 1 << 0,     /* answered by SPAWNED and STARTED or EXITED, or NOT_STARTED */
    WL_DO_TERM = 1 << 1,      /* stop signal, then SIGCONT, to the group */
    WL_DO_TERM_LEFT = 1 << 2, /* the same to all that the last sweep found (not twice to a group) */
    WL_DO_KILL = 1 << 3,      /* SIGKILL to all that is left, then as SWEEP */
    WL_DO_SWEEP = 1 << 4,     /* answered by GONE or LEFT */
    WL_DO_RELEASE = 1 << 5,   /* nothing is left: reap the leader, remove the cgroup */
};

struct wl_fsm {
    enum wl_state state;
    bool wanted;         /* up */
    bool alive;          /* a process exists that is not released */
    bool leader_exited;  /* of an alive one */
    bool judged;         /* its end is its own: the restart policy decides what comes next */
    bool term_left_sent; /* WL_DO_TERM_LEFT was done in this stop */
    enum wl_end end;     /* of the last process or try */
    mono_ms started_at;  /* exec of the last process; 0: never */
    mono_ms ended_at;    /* exit of the last process */
    mono_ms deadline;    /* 0: none */
    mono_ms grace_end;   /* of STOPPING and ENDING */
    mono_ms killing_since;
    mono_ms poll_ms;  /* between two sweeps */
    unsigned delay_n; /* doublings of the next delay */
    unsigned rapid_failures;
    unsigned host_tries;
    unsigned restarts; /* by policy, since the workload was first started; hand-made ones not */
    uint32_t random;
};

/* After this long in KILLING, what is left is reported as stuck in the kernel. */
#define WL_STUCK_AFTER_MS 5000

void wl_fsm_init(struct wl_fsm *fsm, uint32_t seed);

/* `end` counts for EXITED and NOT_STARTED only. Returns effects. */
unsigned wl_fsm_step(struct wl_fsm *fsm, const struct restart_policy *restart,
                     const struct stop_policy *stop, enum wl_event event, enum wl_end end,
                     mono_ms now);

/* What an agent that begins finds of the process that the one before it left behind. */
enum wl_found {
    WL_FOUND_NOTHING,   /* there was none */
    WL_FOUND_LEADER,    /* its leader, alive or a zombie: its end is told by WL_EV_EXITED */
    WL_FOUND_NO_LEADER, /* its leader has ended and cannot be asked; others of it may live */
};

/*
 * Goes on from a machine that an earlier agent left, whose times are of the same boot. Returns
 * effects. With WL_FOUND_NO_LEADER, and the machine not knowing of the exit, WL_EV_EXITED is to
 * follow. A process that was being made when that agent ended is started anew, and that is not
 * charged.
 */
unsigned wl_fsm_resume(struct wl_fsm *fsm, const struct restart_policy *restart,
                       const struct stop_policy *stop, enum wl_found found, mono_ms now);

/* Whether something is to happen at the deadline; else it is 0. */
bool wl_fsm_uses_deadline(const struct wl_fsm *fsm);
/* Invariants that hold between any two steps; NULL where they do, else the one that is broken. */
const char *wl_fsm_broken(const struct wl_fsm *fsm);

/* At rest: nothing runs, and nothing but a command or retryFailedAfter moves it. */
bool wl_fsm_is_at_rest(const struct wl_fsm *fsm);

/* Lower-case, as in docs: "killing". */
const char *wl_state_name(enum wl_state state);
const char *wl_event_name(enum wl_event event);
/* Name of the handler of a cell, for docs/state-machine.md; NULL would be an empty cell. */
const char *wl_fsm_cell(enum wl_state state, enum wl_event event);

#endif
