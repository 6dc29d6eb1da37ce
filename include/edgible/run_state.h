/*
 * run_state: what is known of a workload for this boot only: its process, its counters and
 * deadlines, and how its last run ended. Kept as <runtimeDir>/units/<application>/<workload>.json,
 * so that the next agent goes on where this one ended. Pure. Format: docs/state.md.
 */
#ifndef EDGIBLE_RUN_STATE_H
#define EDGIBLE_RUN_STATE_H

#include "edgible/state_doc.h"
#include "edgible/wl_fsm.h"

#include <sys/types.h>

/* How the last run ended, or why the last try failed. */
struct run_end {
    int64_t at_unix_ms; /* 0: there was none */
    int64_t uptime_ms;  /* of the run; 0 where the program never ran */
    bool is_known, is_signal, core_dumped, oom_killed;
    int64_t code;                     /* exit status or signal */
    int64_t fault_stage, fault_errno; /* an enum spawn_stage; -1: the program ran */
    char *start_error, *start_stage;  /* where no process could be made; NULL else */
    int64_t start_errno;
    char *unhealthy;  /* it was stopped for failing its health check: why; NULL: it was not */
    struct strv tail; /* its last lines */
};

struct run_state {
    char *boot_id;
    struct wl_fsm fsm;
    int64_t pid; /* 0: no process */
    int64_t start_ticks;
    char *pidfd_inode; /* decimal; NULL before Linux 6.9, where it says nothing */
    int64_t uid;       /* who it runs as */
    char *pipe_inode;  /* decimal; of the log pipe */
    int64_t log_fd;    /* over a re-exec: the pipe's read end; -1 else */
    int64_t run;       /* number of the run, for the log */
    bool in_cgroup;
    bool is_healthy;         /* it passed its health check */
    int64_t started_unix_ms; /* of the last process; 0: there was none */
    int64_t started_boot_ms; /* the same by CLOCK_BOOTTIME; 0: not known */
    struct run_end end;      /* of the current or last run */
    struct run_end before;   /* of the run before the current one, which has not ended yet */
};

void run_end_fini(struct run_end *end);

void run_state_fini(struct run_state *state);
void cleanup_run_state(struct run_state *state);
char *run_state_text(const struct run_state *state);
/* *state must be zeroed; the caller finishes it, also after an error. What could not have been
 * written by run_state_text() is corrupt: the machine is in one of its states. */
enum state_doc_result run_state_read(const char *name, const char *text, size_t len,
                                     struct run_state *state, struct err *err) MUST_CHECK;

#endif
