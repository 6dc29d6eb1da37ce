/* What the next agent is told of a workload, and what this one was told by the one before. */
#include "edgible/clock.h"
#include "edgible/fd.h"
#include "edgible/log.h"
#include "health.h"
#include "log_keeper.h"
#include "workload_private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A parent that does not reap holds the exit status back: so long it is waited for. */
#define STATUS_WAIT_MS 1000
#define STATUS_POLL_MS 5
/* A process that was let go on has its program after this, unless its file system hangs. */
#define EXEC_WAIT_MS 100

/* --- writing -------------------------------------------------------------------------------------
 */

static char *record_name(const struct workload *w)
{
    return xasprintf("units/%s/%s.json", w->application, w->spec.name);
}

uint64_t workload_hash_text(const char *text)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (const unsigned char *c = (const unsigned char *) text; *c != '\0'; c++) {
        hash = (hash ^ *c) * UINT64_C(1099511628211);
    }
    return hash > 1 ? hash : 2;
}

void workload_set_application(struct workload *w, int64_t generation,
                              const struct strv *app_depends_on)
{
    CLEANUP(strv) struct strv copy = {0}; /* it may be our own */
    strv_copy(&copy, app_depends_on);
    w->generation = generation;
    w->is_unit_saved = false;
    strv_fini(&w->app_depends_on);
    w->app_depends_on = copy;
    copy = (struct strv){0};
}

const struct strv *workload_app_depends_on(const struct workload *w)
{
    return &w->app_depends_on;
}

int64_t workload_generation(const struct workload *w)
{
    return w->generation;
}

/* Its text can have megabytes, and a start saves it. */
void workload_save_unit(struct workload *w)
{
    if (w->is_unit_saved) {
        return;
    }
    w->is_unit_saved = true;
    CLEANUP(free)
    char *text = unit_text(w->application, w->generation, &w->app_depends_on, &w->spec);
    uint64_t hash = workload_hash_text(text);
    if (hash != w->unit_hash) {
        CLEANUP(free) char *name = record_name(w);
        persist_put(w->ctx->persist, name, text);
        w->unit_hash = hash;
    }
}

void workload_fill_end(const struct workload *w, struct run_end *end)
{
    bool ran = !w->has_fault && w->start_error == NULL && w->ended_unix_ms != 0;
    *end = (struct run_end){
        .at_unix_ms = w->ended_unix_ms,
        .uptime_ms = ran ? w->fsm.ended_at - w->fsm.started_at : 0,
        .is_known = w->exit.known,
        .is_signal = w->exit.signaled,
        .core_dumped = w->exit.core_dumped,
        .oom_killed = w->exit.oom_killed,
        .code = w->exit.code,
        .fault_stage = w->has_fault ? (int64_t) w->fault.stage : -1,
        .fault_errno = w->fault.error,
        .start_error = w->start_error,
        .start_stage = w->start_stage,
        .start_errno = w->start_errno,
        .unhealthy = w->unhealthy,
        .tail = w->tail,
    };
}

static void save_state(struct workload *w, int log_fd)
{
    /* One that is settled but not released yet is none any more. */
    bool has_process = w->fsm.alive || w->fsm.state == WL_STARTING;
    char boot_id[64];
    char pidfd_inode[24];
    char pipe_inode[24];
    (void) snprintf(boot_id, sizeof(boot_id), "%s", w->ctx->boot_id);
    (void) snprintf(pidfd_inode, sizeof(pidfd_inode), "%" PRIu64, w->pidfd_inode);
    (void) snprintf(pipe_inode, sizeof(pipe_inode), "%" PRIu64, w->pipe_inode);
    struct run_state state = {
        .boot_id = boot_id,
        .fsm = w->fsm,
        .pid = has_process ? w->pid : 0,
        .start_ticks = (int64_t) w->start_ticks,
        .pidfd_inode = w->pidfd_inode != 0 ? pidfd_inode : NULL,
        .uid = w->creds != NULL ? (int64_t) w->creds->uid : 0,
        .pipe_inode = pipe_inode,
        .log_fd = log_fd,
        .run = (int64_t) w->run,
        .in_cgroup = w->in_cgroup,
        .is_healthy = w->health != NULL && health_is_healthy(w->health),
        .started_unix_ms = w->started.unix_ms,
        .started_boot_ms = w->started.boot_ms,
    };
    workload_fill_end(w, &state.end);
    state.before = w->before; /* borrowed */
    CLEANUP(free) char *text = run_state_text(&state);
    uint64_t hash = workload_hash_text(text);
    if (hash != w->state_hash) {
        CLEANUP(free) char *name = record_name(w);
        persist_put_volatile(w->ctx->persist, name, text);
        w->state_hash = hash;
    }
    w->record_is_final = w->fsm.state == WL_FAILED || w->fsm.state == WL_COMPLETED;
}

void workload_save_state(struct workload *w)
{
    /* While it is being started the record stays as it was, until there is a process to speak of:
     * who finds the older one starts it as well, unless that says that nothing more is done. */
    if (!w->is_forgotten && (w->fsm.state != WL_STARTING || w->record_is_final)) {
        save_state(w, -1);
    }
}

void workload_save_identity(struct workload *w)
{
    save_state(w, -1);
}

void workload_note_unit(struct workload *w)
{
    w->unit_hash = 1; /* no text's */
    w->is_unit_saved = false;
}

void workload_forget(struct workload *w, bool for_good)
{
    CLEANUP(free) char *name = record_name(w);
    w->is_forgotten = true;
    persist_remove_volatile(w->ctx->persist, name);
    if (for_good && w->unit_hash != 0) {
        persist_remove(w->ctx->persist, name);
    }
}

void workload_hand_over(struct workload *w, bool keep)
{
    /* Without a process there is nothing to come. */
    int fd = w->channel != NULL && w->pid != 0 ? pump_channel_fd(w->channel) : -1;
    if (fd >= 0) {
        (void) fcntl(fd, F_SETFD, keep ? 0 : FD_CLOEXEC);
    }
    save_state(w, keep ? fd : -1);
}

void workload_abandon(struct workload *w)
{
    w->is_forgotten = true; /* what is written stays as it is */
    w->channel = NULL;      /* the pump's, and freed with it */
}

/* --- the end of an adopted process
 * -----------------------------------------------------------------
 */

static void on_status_poll(void *arg)
{
    workload_ask_adopted_exit(arg);
}

static void poll_later(struct workload *w, loop_fn fn)
{
    loop_timer_free(w->status_timer);
    w->status_timer = loop_timer_new(w->ctx->loop, fn, w);
    loop_timer_arm(w->status_timer, loop_now() + STATUS_POLL_MS);
}

void workload_ask_adopted_exit(struct workload *w)
{
    struct proc_exit zombie = proc_read_zombie_exit(w->pid);
    if (w->status_until == 0) {
        w->status_until = loop_now() + STATUS_WAIT_MS;
    }
    if (zombie.known) {
        w->exit = zombie; /* may be gone with the next look */
    }
    int rc = proc_read_pidfd_exit(w->pidfd, &w->exit, NULL);
    if (rc == 0 && !w->exit.known && loop_now() < w->status_until) {
        poll_later(w, on_status_poll);
        return;
    }
    loop_timer_free(steal_ptr(&w->status_timer));
    w->status_until = 0;
    workload_take_exit(w);
}

/* --- taking over
 * -----------------------------------------------------------------------------------
 */

static uint64_t number_of(const char *text)
{
    return text != NULL ? strtoull(text, NULL, 10) : 0;
}

static void take_end(struct workload *w, const struct run_end *end)
{
    w->ended_unix_ms = end->at_unix_ms;
    w->exit = (struct proc_exit){
        .known = end->is_known,
        .signaled = end->is_signal,
        .code = (int) end->code,
        .core_dumped = end->core_dumped,
        .oom_killed = end->oom_killed,
    };
    w->has_fault = end->fault_stage >= 0 && end->fault_stage < SPAWN_STAGE_COUNT;
    if (w->has_fault) {
        w->fault.stage = (enum spawn_stage) end->fault_stage;
        w->fault.error = (int) end->fault_errno;
    }
    w->start_error = xstrdup_or_null(end->start_error);
    w->start_stage = xstrdup_or_null(end->start_stage);
    w->start_errno = (int) end->start_errno;
    w->unhealthy = xstrdup_or_null(end->unhealthy);
    strv_copy(&w->tail, &end->tail);
}

/* A user who is gone since still owns the process. */
static struct creds *look_up_creds(const struct workload *w, uid_t uid)
{
    struct creds *creds = workload_look_up_creds(w, NULL);
    if (creds == NULL) {
        creds = xcalloc(1, sizeof(*creds));
        creds->user = xstrdup(w->spec.user != NULL ? w->spec.user : "");
        creds->home = xstrdup("/");
        creds->shell = xstrdup("/bin/sh");
        creds->uid = uid;
    }
    creds->uid = uid;
    return creds;
}

static void take_process(struct workload *w, const struct run_state *state)
{
    w->pid = (pid_t) state->pid;
    w->start_ticks = (uint64_t) state->start_ticks;
    w->pidfd_inode = number_of(state->pidfd_inode);
    w->pipe_inode = number_of(state->pipe_inode);
    /* Groups are below the agent's own, which may be another one now. */
    w->in_cgroup = state->in_cgroup && w->ctx->cgroups != NULL &&
                   cgroup_is_populated(w->ctx->cgroups, w->cgroup);
    w->adopted = true;
    struct proc_stat stat;
    w->is_child = proc_read_stat(w->pid, &stat, NULL) < 0 || stat.ppid == getpid();
    w->in_sandbox = w->spec.sandbox.present;
    w->creds = look_up_creds(w, (uid_t) state->uid);
    if (w->in_sandbox) {
        w->ctx->on_sandbox(w->ctx->arg, w->creds->uid, true);
    }
    workload_apply_limits(w);
}

/* The pipe's read end: the one that outlived a re-exec, the keeper's, or a new one of the
 * process's own. */
static int open_pipe(const struct workload *w, const struct run_state *state, struct err *err)
{
    struct stat st;
    int fd = (int) state->log_fd;
    if (fd > STDERR_FILENO && fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) &&
        st.st_ino == w->pipe_inode) {
        (void) fcntl(fd, F_SETFD, FD_CLOEXEC);
        return fd;
    }
    int kept = log_keeper_find(w->ctx->log_keeper, w->pipe_inode);
    return kept >= 0 ? kept : log_keeper_reopen(w->pid, w->pipe_inode, w->creds->uid, err);
}

static void adopt_log(struct workload *w, const struct run_state *state)
{
    char text[ERR_MSG_MAX];
    struct err err = {0};
    CLEANUP(free) char *path = NULL;
    struct pump_log log = workload_log(w, &path);
    int fd = open_pipe(w, state, &err);
    if (fd < 0 && err.code != ESRCH && err.code != ENOENT) {
        log_warn("supervisor", "%s/%s: what it prints cannot be read until it is restarted: %s",
                 w->application, w->spec.name, err_text(&err, text, sizeof(text)));
    }
    w->channel = pump_open(w->ctx->pump, &log, w);
    w->log = LOG_OPENING;
    if (fd >= 0) {
        (void) log_keeper_hold(w->ctx->log_keeper, fd, w->pipe_inode, 0);
        pump_attach(w->channel, fd, w->run, true);
    }
}

static enum wl_found find_leader(struct workload *w)
{
    struct err err = {0};
    char text[ERR_MSG_MAX];
    w->pidfd = proc_open_known(w->pid, w->start_ticks, w->pidfd_inode, &err);
    if (w->pidfd >= 0) {
        return WL_FOUND_LEADER;
    }
    if (err.code != ESRCH) {
        log_error("supervisor", "%s/%s: its process %d cannot be looked at, and is stopped: %s",
                  w->application, w->spec.name, (int) w->pid, err_text(&err, text, sizeof(text)));
    }
    return WL_FOUND_NO_LEADER;
}

/* One that was let go has its program within a moment; one that was not ends by itself. */
static enum wl_found await_exec(const struct workload *w)
{
    for (int i = 0; i < EXEC_WAIT_MS; i++) {
        if (proc_has_execed(w->pid)) {
            return WL_FOUND_LEADER;
        }
        if (proc_is_dead(w->pid)) {
            return WL_FOUND_NO_LEADER;
        }
        struct timespec ts = {.tv_nsec = 1000000};
        (void) nanosleep(&ts, NULL);
    }
    return WL_FOUND_LEADER;
}

static void on_exec_poll(void *arg)
{
    struct workload *w = arg;
    if (w->fsm.state != WL_STARTING || !proc_has_execed(w->pid)) {
        poll_later(w, on_exec_poll);
        return;
    }
    loop_timer_free(steal_ptr(&w->status_timer));
    w->started = clock_moment_now();
    workload_post(w, WL_EV_STARTED, WL_END_CLEAN);
    workload_say_started(w);
}

static enum wl_found find_process(struct workload *w, const struct run_state *state)
{
    if (state->pid == 0) {
        return WL_FOUND_NOTHING;
    }
    take_process(w, state);
    adopt_log(w, state);
    enum wl_found found = find_leader(w);
    if (found == WL_FOUND_LEADER && w->fsm.state == WL_STARTING) {
        found = await_exec(w);
        if (found == WL_FOUND_NO_LEADER) {
            fd_close(&w->pidfd);
        }
    }
    return found;
}

/* What an event would have been, had an agent been there. */
static void catch_up(struct workload *w, enum wl_found found)
{
    if (found == WL_FOUND_LEADER) {
        workload_watch_process(w);
        if (w->fsm.state == WL_STARTING) {
            on_exec_poll(w);
        }
        if (w->fsm.state == WL_RUNNING && !proc_is_dead(w->pid)) {
            workload_say_adopted(w);
        }
    } else if (found == WL_FOUND_NO_LEADER && !w->fsm.leader_exited) {
        w->exit = (struct proc_exit){.known = false};
        workload_take_exit(w);
    }
}

void workload_resume(struct workload *w, const struct run_state *state)
{
    uint32_t random = w->fsm.random;
    w->fsm = state->fsm;
    w->fsm.random = random;
    w->record_is_final = w->fsm.state == WL_FAILED || w->fsm.state == WL_COMPLETED;
    w->run = (uint64_t) state->run;
    w->started = (struct clock_moment){state->started_unix_ms, state->started_boot_ms};
    take_end(w, &state->end);
    w->before = state->before;
    w->before.start_error = xstrdup_or_null(state->before.start_error);
    w->before.start_stage = xstrdup_or_null(state->before.start_stage);
    w->before.unhealthy = xstrdup_or_null(state->before.unhealthy);
    w->before.tail = (struct strv){0};
    strv_copy(&w->before.tail, &state->before.tail);
    enum wl_found found = find_process(w, state);
    if (w->has_fault && w->creds == NULL) { /* why it did not start names the user */
        w->creds = look_up_creds(w, (uid_t) state->uid);
    }
    w->stepping = true;
    const struct restart_policy restart = workload_restart_policy(w);
    unsigned effects = wl_fsm_resume(&w->fsm, &restart, &w->spec.stop, found, loop_now());
    workload_execute(w, effects);
    w->stepping = false;
    w->was_healthy = state->is_healthy;
    workload_follow_health(w);
    workload_run_pending(w);
    catch_up(w, found);
}

static const struct lost_process *find_lost(const struct workload *w, const struct lost *lost)
{
    if (lost == NULL || lost->count == 0) {
        return NULL;
    }
    CLEANUP(creds) struct creds *creds = workload_look_up_creds(w, NULL);
    return creds != NULL ? lost_of(lost, w->application, w->spec.name, creds->uid) : NULL;
}

bool workload_is_record_old(const struct workload *w, const struct run_state *state,
                            const struct lost *lost)
{
    const struct lost_process *first = find_lost(w, lost);
    /* Each run has a log pipe of its own. */
    return first != NULL && first->log_pipe != 0 &&
           first->log_pipe != number_of(state->pipe_inode) &&
           (int64_t) first->start_ticks > state->start_ticks &&
           proc_read_start_ticks((pid_t) state->pid) != (uint64_t) state->start_ticks;
}

/* By loop_now(). */
static mono_ms start_of(uint64_t start_ticks)
{
    int64_t boot_ms = (int64_t) start_ticks * 1000 / sysconf(_SC_CLK_TCK);
    return loop_now() - (clock_moment_now().boot_ms - boot_ms);
}

void workload_resume_without_state(struct workload *w, const struct lost *lost)
{
    pid_t pid = 0;
    bool in_cgroup =
        w->ctx->cgroups != NULL && cgroup_list_pids(w->ctx->cgroups, w->cgroup, &pid, 1) > 0;
    const struct lost_process *first = find_lost(w, lost);
    pid = first != NULL ? first->pid : pid;
    if (pid == 0) {
        return;
    }
    uint64_t start_ticks = first != NULL ? first->start_ticks : proc_read_start_ticks(pid);
    log_warn("supervisor",
             "%s/%s: processes of it run that no record in runtimeDir tells of, such as PID %d; "
             "they are stopped before it is started",
             w->application, w->spec.name, (int) pid);
    struct run_state state = {
        .fsm = {.state = WL_ENDING, /* none of it has had a signal yet */
                .wanted = true,
                .alive = true,
                .leader_exited = true,
                .started_at = start_of(start_ticks),
                .grace_end = loop_now() + w->spec.stop.grace_ms},
        .pid = pid,
        .start_ticks = (int64_t) start_ticks,
        .uid = (int64_t) proc_read_uid(pid),
        .log_fd = -1,
        .in_cgroup = in_cgroup,
        .end = {.fault_stage = -1     },
    };
    workload_resume(w, &state);
}
