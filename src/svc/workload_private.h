/*
 * The inside of a workload, shared by workload.c (events and effects), workload_launch.c (from
 * specification to process), workload_state.c (what the next agent is told of it, and what this one
 * was told) and workload_report.c (what is said of it).
 */
#ifndef EDGIBLE_WORKLOAD_PRIVATE_H
#define EDGIBLE_WORKLOAD_PRIVATE_H

#include "edgible/buf.h"
#include "edgible/clock.h"
#include "edgible/creds.h"
#include "edgible/proc.h"
#include "edgible/spawn.h"
#include "edgible/workload.h"

#define LEFT_MAX 256
#define PENDING_MAX 16

struct launch;

enum log_state { LOG_CLOSED, LOG_OPENING, LOG_OPEN, LOG_BROKEN, LOG_CLOSING };

struct workload {
    const struct workload_ctx *ctx;
    char *application;
    struct workload_spec spec;
    struct wl_fsm fsm;
    struct loop_timer *timer;
    char *held; /* why its start is put off; NULL: it is not */

    /* The machine's events that wait while a step is being executed. */
    struct {
        enum wl_event event;
        enum wl_end end;
    } pending[PENDING_MAX];
    size_t pending_count;
    bool stepping;
    mono_ms stepped_at; /* the time of the last step */

    /* The process of the current run. */
    struct creds *creds;
    bool is_outdated; /* the specification names another program, user or sandbox than that run's */
    uint64_t log_hash, old_log_hash; /* of the log's plain path: the next run's, and of that run */
    bool has_log_file;               /* of that run: its specification named its log */
    pid_t pid;
    uint64_t start_ticks;
    int pidfd;
    int handshake_fd;
    uint64_t pidfd_inode;
    bool adopted;  /* an earlier agent made it: it may not be our child */
    bool is_child; /* of one that is adopted: it is, as after SIGUSR2 */
    uint64_t pipe_inode;
    struct clock_moment started; /* of the last process; zeroes: there was none */
    struct loop_io *exit_io;
    struct loop_io *handshake_io;
    struct loop_timer *status_timer; /* of an adopted one: waits for its status, or its exec */
    mono_ms status_until;
    uint64_t run;
    bool in_cgroup;
    bool in_sandbox; /* as it was started, whatever the specification says by now */
    char *cgroup;

    /* What is left of it, as the last sweep found it. */
    pid_t left[LEFT_MAX];
    size_t left_count;
    const struct census *seen; /* the sweep's, while the machine is told of it; NULL: none */
    unsigned kill_rounds;
    bool stuck_said;

    /* Why the last run ended, or the last try failed. */
    struct proc_exit exit;
    struct spawn_fault fault;
    bool has_fault;
    char *start_error; /* the sentence where no process could be made */
    char *start_stage;
    int start_errno;
    int64_t ended_unix_ms; /* of both; 0: neither */
    struct run_end before; /* of the run before this one */

    enum limit_state limits[LIMIT_COUNT]; /* of the last start */
    struct health *health;                /* NULL: it does not run, or has no check */
    bool was_healthy;                     /* when an earlier agent looked */
    char *unhealthy; /* why the run was, or is being, stopped for its health; NULL: not */

    /* What is written down of it. */
    int64_t generation;
    struct strv app_depends_on;
    bool is_unit_saved;             /* nothing of it has changed since */
    uint64_t unit_hash, state_hash; /* of the texts written last; 0: none, 1: not known */
    bool record_is_final;           /* its record of this boot says failed or completed */
    bool is_forgotten;

    /* For metrics. */
    mono_ms stopping_since; /* 0: it is not being stopped */
    uint64_t restarts_by[RESTART_REASON_COUNT];
    bool log_full;

    struct pump_channel *channel;
    enum log_state log;
    bool wants_spawn; /* a start waits for the log */
    /* What a start needs is being looked up, or was; also while an earlier start's look hangs.
     * NULL: neither. */
    struct launch *launch;
    struct strv tail; /* the last lines of the last run */
    bool tail_pending;
    struct log_told {
        mono_ms at;     /* when it was told of last; 0: never */
        uint64_t count; /* since then */
    } rotated, reopened, stalled;
    bool is_stall_told;
    struct loop_timer *tail_wait; /* the failed event waits for the tail, but not for ever */
};

/* workload.c */
/* The events that wait, then the timer and the record. */
void workload_run_pending(struct workload *w);
void workload_execute(struct workload *w, unsigned effects);
/* w->exit is known as far as it will be. */
void workload_take_exit(struct workload *w);
/* The restart policy of its document, with what the device's policy adds. */
struct restart_policy workload_restart_policy(const struct workload *w);
void workload_post(struct workload *w, enum wl_event event, enum wl_end end);
/* Watches the pidfd and the handshake of a process just made. */
void workload_watch_process(struct workload *w);

/* Who it is to run as. */
struct creds *workload_look_up_creds(const struct workload *w, struct err *err);
void workload_follow_health(struct workload *w);
/* Its health is another than before. */
void workload_on_health(struct workload *w);
/* workload_launch.c: looks up what the start needs, opens the log, then makes the process; posts
 * SPAWNED or NOT_STARTED. Goes on with a look that is under way, or fails where that hangs. */
void workload_launch(struct workload *w);
/* The start does not go on. */
void workload_drop_launch(struct workload *w);
/* What was looked up for its start is of another document, or of another policy, by now. */
void workload_look_again(struct workload *w);
/* For a start that waits for it; goes on with workload_launch_with_log() where it is open. */
void workload_open_log(struct workload *w);
/* Tells the pump what the log is to be; where that has to be judged anew, its answer comes. */
void workload_configure_log(struct workload *w);
void workload_launch_with_log(struct workload *w);
/* A group that a process is put into; fd -1: none. See cgroup_make(). */
struct process_group {
    int fd;
    bool is_fresh;
};
/* Makes a process of what was looked up, which is over. Codes: ERR_SPEC where the policy refuses
 * it, ERR_HOST. */
int workload_spawn(const struct workload *w, struct launch *launch, int output_fd,
                   struct process_group group, enum limit_state *states, struct spawned *ret,
                   struct err *err) MUST_CHECK;
/* Puts the limits of one that runs already into force anew, and finds out how they are. */
void workload_apply_limits(struct workload *w);
/* The start cannot go on: remembers why and posts NOT_STARTED. */
void workload_launch_failed(struct workload *w, enum wl_end end, const char *stage, int error,
                            const char *sentence);
/* The log of a run that is outdated, which stays as it is until the next start: a document's file
 * is never opened with the rights of the user before. NULL: there is none. Borrowed. */
const struct pump_log *workload_old_log(const struct workload *w);
/* Whether the path lies below the log folder by its text; then that folder's length, else 0. */
uint32_t workload_own_length(const char *log_dir, const char *path);
/* What the pump is told of the log. *path is filled and belongs to the caller. */
struct pump_log workload_log(const struct workload *w, char **path);

/* workload_state.c */
/* How the current run ended; strings and list are borrowed from w. */
void workload_fill_end(const struct workload *w, struct run_end *end);
/* Writes its unit description, or its record of this boot, where they differ from what was written
 * last. */
void workload_save_unit(struct workload *w);
/* FNV-1a. */
uint64_t workload_hash_text(const char *text);
/* The specification is another one: workload_waits_for_log() compares by what is noted here. */
void workload_note_log(struct workload *w);
void workload_save_state(struct workload *w);
/* The same for a process that has just been made. */
void workload_save_identity(struct workload *w);
/* The process of an adopted workload has ended; its status may take a moment to learn. */
void workload_ask_adopted_exit(struct workload *w);

/* workload_report.c */
/* Why the last run ended or the last try failed. The caller frees. */
char *workload_last_reason(const struct workload *w);
/* "; 3 rapid failures of 5" where there are any. */
void workload_add_rapid_count(const struct workload *w, struct buf *text);
void workload_say_adopted(struct workload *w);
void workload_say_transition(struct workload *w, enum wl_state from);
void workload_say_started(struct workload *w);
void workload_say_health(struct workload *w);
void workload_say_exited(struct workload *w);
void workload_say_failed(struct workload *w);
/* Nothing waits for the tail any more. */
void workload_end_tail_wait(struct workload *w);
/* "the agent (uid 1000) is not allowed to signal PID 12 of uid 0", which lives of it; NULL: it is
 * allowed to signal all of it. The caller frees. */
char *workload_out_of_reach(const struct workload *w);
/* What is left does not die: says so once a stop. */
void workload_say_stuck(struct workload *w);
void workload_say_log(struct workload *w, const struct pump_event *event);

#endif
