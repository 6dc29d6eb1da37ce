#include "edgible/workload.h"

#include "edgible/clock.h"
#include "edgible/fault.h"
#include "edgible/fd.h"
#include "edgible/log.h"
#include "edgible/oom.h"
#include "edgible/spec_diff.h"
#include "health.h"
#include "workload_private.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* Sweeps in state killing before the thorough way is taken. */
#define STUBBORN_ROUNDS 3
/* A program that ends at once was executed, too, and is nothing to depend on. */
#define READY_AFTER_MS 200

static bool on_exit_readable(void *arg);
static void on_deadline(void *arg);

struct workload *workload_new(const struct workload_ctx *ctx, const char *application,
                              const struct workload_spec *spec)
{
    struct workload *w = xcalloc(1, sizeof(*w));
    w->ctx = ctx;
    w->application = xstrdup(application);
    workload_spec_copy(&w->spec, spec);
    w->cgroup = xasprintf("%s.%s", application, spec->name);
    w->pidfd = -1;
    w->handshake_fd = -1;
    workload_note_log(w);
    wl_fsm_init(&w->fsm, (uint32_t) ((uintptr_t) w >> 4) ^ (uint32_t) loop_now());
    w->timer = loop_timer_new(ctx->loop, on_deadline, w);
    return w;
}

void workload_free(struct workload *w)
{
    if (w == NULL) {
        return;
    }
    assert(w->channel == NULL);
    workload_drop_launch(w);
    workload_end_tail_wait(w);
    loop_timer_free(w->timer);
    loop_timer_free(w->status_timer);
    loop_io_free(w->exit_io);
    loop_io_free(w->handshake_io);
    fd_close(&w->pidfd);
    fd_close(&w->handshake_fd);
    creds_free(w->creds);
    workload_spec_fini(&w->spec);
    strv_fini(&w->tail);
    health_free(w->health);
    free(w->unhealthy);
    free(w->held);
    free(w->start_error);
    free(w->start_stage);
    run_end_fini(&w->before);
    strv_fini(&w->app_depends_on);
    free(w->application);
    free(w->cgroup);
    free(w);
}

const char *workload_application(const struct workload *w)
{
    return w->application;
}

const struct workload_spec *workload_spec(const struct workload *w)
{
    return &w->spec;
}

enum wl_state workload_state(const struct workload *w)
{
    return w->fsm.state;
}

bool workload_is_at_rest(const struct workload *w)
{
    return wl_fsm_is_at_rest(&w->fsm);
}

pid_t workload_pid(const struct workload *w)
{
    return w->pid;
}

bool workload_has_cgroup(const struct workload *w)
{
    return w->in_cgroup;
}

const char *workload_cgroup(const struct workload *w)
{
    return w->in_cgroup ? w->cgroup : NULL;
}

bool workload_kill_target(const struct workload *w, struct killtree_target *ret)
{
    if (w->pid == 0) {
        return false;
    }
    *ret = (struct killtree_target){
        .leader = w->pid,
        .start_ticks = w->start_ticks,
        .uid = w->creds->uid,
        .application = w->application,
        .workload = w->spec.name,
        .device = w->ctx->device_name,
        .adopted = w->adopted,
        /* Its health checks are children of this agent, and so are their orphans. */
        .is_foreign = w->adopted && !w->is_child && w->spec.health.kind != HEALTH_EXEC,
        .log_pipe = w->pipe_inode,
        .cgroups = w->in_cgroup ? w->ctx->cgroups : NULL,
        .cgroup = w->in_cgroup ? w->cgroup : NULL,
    };
    return true;
}

bool workload_is_in_sandbox(const struct workload *w)
{
    return w->in_sandbox || w->spec.sandbox.present;
}

/* --- effects -----------------------------------------------------------------------------------
 */

static void release(struct workload *w)
{
    struct proc_exit ignored;
    if (w->pidfd >= 0) {
        (void) !proc_wait_pidfd(w->pidfd, true, &ignored, NULL);
    }
    FAULT_POINT("reaped");
    loop_io_free(steal_ptr(&w->exit_io));
    loop_io_free(steal_ptr(&w->handshake_io));
    loop_timer_free(steal_ptr(&w->status_timer));
    fd_close(&w->pidfd);
    fd_close(&w->handshake_fd);
    if (w->in_cgroup) {
        (void) cgroup_remove(w->ctx->cgroups, w->cgroup);
    }
    if (w->ctx->cgroups != NULL && w->spec.health.kind == HEALTH_EXEC) {
        /* Of a check that was ended with it, and was still dying then. */
        CLEANUP(free) char *check = xasprintf("%s.check", w->cgroup);
        (void) cgroup_remove(w->ctx->cgroups, check);
    }
    w->in_cgroup = false;
    w->in_sandbox = false;
    w->adopted = false;
    w->pid = 0;
    w->left_count = 0;
    w->kill_rounds = 0;
    w->stuck_said = false;
}

static void send_stop_signal(struct workload *w)
{
    if (w->adopted && proc_read_start_ticks(w->pid) != w->start_ticks) {
        return; /* it has just ended, and may be reaped: the number may be another's */
    }
    /* Until the child has made its own session there is no such group: then the child alone. */
    if (!killtree_signal_group(w->pid, w->spec.stop.signal)) {
        proc_signal(w->pidfd, w->pid, w->spec.stop.signal);
    }
}

/* Everything that is left, from the cgroup too where there is one, without a look at /proc. */
static void kill_known(struct workload *w)
{
    struct killtree_target target;
    if (workload_kill_target(w, &target)) {
        killtree_kill_group(&target);
    }
    if (w->pidfd >= 0) {
        proc_signal(w->pidfd, w->pid, SIGKILL);
    }
    w->kill_rounds++;
}

static void term_left(struct workload *w)
{
    if (w->seen != NULL) {
        /* In stopping, the group has had its signal already. */
        pid_t skip = w->fsm.state == WL_STOPPING ? w->pid : 0;
        killtree_signal_pids(w->seen, w->left, w->left_count, w->spec.stop.signal, skip);
    }
}

void workload_execute(struct workload *w, unsigned effects)
{
    if ((effects & WL_DO_RELEASE) != 0) {
        release(w);
    }
    if ((effects & WL_DO_SPAWN) != 0) {
        if (loop_share_lasts(w->ctx->loop, w->ctx->launches)) {
            workload_launch(w);
        } else {
            w->fsm.deadline = loop_now(); /* in one of the next turns */
        }
    }
    if ((effects & WL_DO_TERM) != 0) {
        send_stop_signal(w);
        FAULT_POINT("stop-signal-sent");
    }
    if ((effects & WL_DO_TERM_LEFT) != 0) {
        term_left(w);
    }
    if ((effects & WL_DO_KILL) != 0) {
        kill_known(w);
    }
    if ((effects & (WL_DO_KILL | WL_DO_SWEEP)) != 0) {
        w->ctx->request_sweep(w->ctx->arg, w);
    }
}

static void arm(struct workload *w)
{
    if (w->fsm.deadline != 0) {
        loop_timer_arm(w->timer, w->fsm.deadline);
    } else {
        loop_timer_disarm(w->timer);
    }
}

const mono_ms stop_bucket_ms[STOP_BUCKETS] = {50, 100, 500, 1000, 2500, 5000, 10000, 30000};

static void count_stop(struct workload *w)
{
    bool is_stopping = w->fsm.state == WL_STOPPING || w->fsm.state == WL_KILLING;
    if (is_stopping && w->stopping_since == 0) {
        w->stopping_since = loop_now();
    } else if (!is_stopping && w->stopping_since != 0) {
        struct stop_times *times = w->ctx->stop_times;
        mono_ms took = loop_now() - w->stopping_since;
        size_t bucket = 0;
        while (bucket < STOP_BUCKETS && took > stop_bucket_ms[bucket]) {
            bucket++;
        }
        times->buckets[bucket]++;
        times->count++;
        times->sum_ms += took;
        w->stopping_since = 0;
    }
}

static void count_restart(struct workload *w)
{
    enum restart_reason reason = RESTARTED_AFTER_EXIT;
    if (w->fsm.end == WL_END_FAULT || w->fsm.end == WL_END_HOST_FAULT) {
        reason = w->fsm.end == WL_END_FAULT ? RESTARTED_AFTER_FAULT : RESTARTED_AFTER_HOST_FAULT;
    } else if (w->unhealthy != NULL) {
        reason = RESTARTED_AFTER_UNHEALTHY;
    } else if (w->exit.signaled) {
        reason = RESTARTED_AFTER_SIGNAL;
    }
    w->restarts_by[reason]++;
}

/* One that runs is checked, where it has a check, and no other. */
void workload_follow_health(struct workload *w)
{
    enum health_kind kind = w->spec.health.kind;
    /* The program of a check runs as the workload's user: never as the one before. */
    bool is_checked = w->fsm.state == WL_RUNNING && kind != HEALTH_NONE &&
                      !(kind == HEALTH_EXEC && w->is_outdated);
    if (is_checked && w->health == NULL) {
        w->health = health_new(w, w->was_healthy);
    } else if (!is_checked && w->health != NULL) {
        health_free(steal_ptr(&w->health));
    }
    w->was_healthy = false;
}

void workload_on_health(struct workload *w)
{
    workload_say_health(w);
    workload_save_state(w);
    if (health_is_unhealthy(w->health) && w->spec.restart.when != RESTART_NEVER) {
        free(w->unhealthy);
        w->unhealthy = xstrdup(health_trouble(w->health));
        workload_post(w, WL_EV_UNHEALTHY, WL_END_CLEAN);
    } else {
        w->ctx->on_change(w->ctx->arg, w);
    }
}

struct restart_policy workload_restart_policy(const struct workload *w)
{
    struct restart_policy restart = w->spec.restart;
    mono_ms min_delay = w->ctx->policy->min_restart_delay_ms;
    restart.min_delay_ms = min_delay != UNSET ? min_delay : 0;
    return restart;
}

static void step(struct workload *w, enum wl_event event, enum wl_end end)
{
    enum wl_state from = w->fsm.state;
    w->stepped_at = loop_now();
    const struct restart_policy restart = workload_restart_policy(w);
    unsigned effects = wl_fsm_step(&w->fsm, &restart, &w->spec.stop, event, end, w->stepped_at);
    const char *broken = wl_fsm_broken(&w->fsm);
    if (broken != NULL) {
        log_error("supervisor", "%s/%s: %s, in %s after %s", w->application, w->spec.name, broken,
                  wl_state_name(w->fsm.state), wl_event_name(event));
        assert(broken == NULL);
    }
    if ((effects & (WL_DO_SPAWN | WL_DO_TERM | WL_DO_KILL)) == 0) {
        workload_save_state(w); /* what is said is written; what is still to be done is not */
    }
    if (w->fsm.state != from) {
        count_stop(w);
        if (w->fsm.state == WL_BACKOFF) {
            count_restart(w);
        }
        workload_say_transition(w, from);
    }
    workload_execute(w, effects);
    if (w->fsm.state != from) {
        workload_follow_health(w);
        w->ctx->on_change(w->ctx->arg, w);
        if (wl_fsm_is_at_rest(&w->fsm)) {
            w->ctx->on_rest(w->ctx->arg, w);
        }
    }
}

void workload_run_pending(struct workload *w)
{
    w->stepping = true;
    for (size_t i = 0; i < w->pending_count; i++) {
        step(w, w->pending[i].event, w->pending[i].end);
    }
    w->pending_count = 0;
    w->stepping = false;
    arm(w);
    workload_save_state(w);
}

/* Effects may post events themselves: those are taken in turn, not nested. */
void workload_post(struct workload *w, enum wl_event event, enum wl_end end)
{
    assert(w->pending_count < PENDING_MAX);
    w->pending[w->pending_count].event = event;
    w->pending[w->pending_count].end = end;
    w->pending_count++;
    if (!w->stepping) {
        workload_run_pending(w);
    }
}

static void on_deadline(void *arg)
{
    workload_post(arg, WL_EV_DEADLINE, WL_END_CLEAN);
}

/* --- what happens to the process -----------------------------------------------------------------
 */

static void take_handshake(struct workload *w)
{
    enum spawn_outcome outcome = spawn_read_handshake(w->handshake_fd, &w->fault);
    if (outcome == SPAWN_PENDING) {
        return;
    }
    loop_io_free(steal_ptr(&w->handshake_io));
    fd_close(&w->handshake_fd);
    if (outcome == SPAWN_STARTED) {
        w->started = clock_moment_now();
        workload_post(w, WL_EV_STARTED, WL_END_CLEAN);
        workload_say_started(w);
    } else {
        /* The child's exit follows at once, and the machine is told of both as one. */
        w->has_fault = true;
    }
}

static bool on_handshake_readable(void *arg)
{
    struct workload *w = arg;
    take_handshake(w);
    return w->handshake_fd < 0;
}

void workload_watch_process(struct workload *w)
{
    w->exit_io = loop_io_new(w->ctx->loop, w->pidfd, on_exit_readable, w);
    if (w->handshake_fd >= 0) {
        w->handshake_io = loop_io_new(w->ctx->loop, w->handshake_fd, on_handshake_readable, w);
    }
}

static enum wl_end judge_exit(const struct workload *w)
{
    if (w->has_fault) {
        return spawn_fault_is_host(&w->fault) ? WL_END_HOST_FAULT : WL_END_FAULT;
    }
    return w->exit.known && !w->exit.signaled && w->exit.code == 0 ? WL_END_CLEAN : WL_END_ERROR;
}

/* A SIGKILL that nobody here sent: the group's own count tells, else the kernel's log. */
static bool was_oom_killed(const struct workload *w)
{
    if (!w->exit.known || !w->exit.signaled || w->exit.code != SIGKILL ||
        w->fsm.state == WL_KILLING) {
        return false;
    }
    int64_t of_group =
        w->in_cgroup ? cgroup_read_oom_kills(w->ctx->cgroups, w->cgroup) : (int64_t) -1;
    if (of_group >= 0) {
        return of_group > 0;
    }
    return oom_read_kills() > 0 && oom_has_killed(w->pid, w->fsm.started_at);
}

void workload_take_exit(struct workload *w)
{
    if (w->handshake_fd >= 0) {
        take_handshake(w);
    }
    if (!w->has_fault && w->channel != NULL) {
        w->tail_pending = true;
        pump_tail(w->channel);
    }
    w->ended_unix_ms = clock_unix_ms();
    w->exit.oom_killed = was_oom_killed(w);
    workload_say_exited(w);
    workload_post(w, WL_EV_EXITED, judge_exit(w));
}

static bool on_exit_readable(void *arg)
{
    struct workload *w = arg;
    struct err err = {0};
    /* Without reaping: the zombie pins pid and group while the rest is dealt with. */
    int ended = proc_wait_pidfd(w->pidfd, false, &w->exit, &err);
    if (ended == 0) {
        return false;
    }
    loop_io_free(steal_ptr(&w->exit_io));
    if (ended > 0) {
        workload_take_exit(w);
    } else if (w->adopted) {
        workload_ask_adopted_exit(w); /* ECHILD: another's child by now */
    } else {
        w->exit = (struct proc_exit){.known = false};
        workload_take_exit(w);
    }
    return true;
}

void workload_swept(struct workload *w, const struct census *census, const pid_t *left,
                    size_t left_count)
{
    if (w->pid == 0) {
        return;
    }
    w->left_count = left_count < LEFT_MAX ? left_count : LEFT_MAX;
    if (w->left_count > 0) {
        memcpy(w->left, left, w->left_count * sizeof(*left));
    }
    if (left_count == 0) {
        workload_post(w, WL_EV_GONE, WL_END_CLEAN);
        return;
    }
    if (w->fsm.state == WL_KILLING && census != NULL) {
        killtree_signal_pids(census, w->left, w->left_count, SIGKILL, 0);
        workload_say_stuck(w);
    }
    w->seen = census;
    workload_post(w, WL_EV_LEFT, WL_END_CLEAN);
    w->seen = NULL;
}

bool workload_is_stubborn(const struct workload *w)
{
    return w->fsm.state == WL_KILLING && w->kill_rounds >= STUBBORN_ROUNDS;
}

/* --- what is wanted
 * -------------------------------------------------------------------------------- */

void workload_hold(struct workload *w, const char *reason)
{
    if (w->held == NULL || strcmp(w->held, reason) != 0) {
        free(w->held);
        w->held = xstrdup(reason);
        log_debug("supervisor", "%s/%s is pending: %s", w->application, w->spec.name, reason);
    }
}

bool workload_is_held(const struct workload *w)
{
    return w->held != NULL;
}

mono_ms workload_ready_in(const struct workload *w)
{
    if (w->fsm.state == WL_COMPLETED) {
        return 0;
    }
    /* One that is never started again is there to end: what depends on it waits for that. */
    if (w->fsm.state != WL_RUNNING || w->spec.restart.when == RESTART_NEVER) {
        return -1;
    }
    if (w->health != NULL) {
        return health_is_healthy(w->health) ? 0 : -1;
    }
    mono_ms left = w->fsm.started_at + READY_AFTER_MS - loop_now();
    return left > 0 ? left : 0;
}

void workload_start(struct workload *w)
{
    free(steal_ptr(&w->held));
    workload_post(w, WL_EV_START, WL_END_CLEAN);
}

void workload_stop(struct workload *w)
{
    workload_drop_launch(w);
    free(steal_ptr(&w->held));
    workload_post(w, WL_EV_STOP, WL_END_CLEAN);
}

mono_ms workload_grace_end(const struct workload *w)
{
    return w->fsm.state == WL_STOPPING || w->fsm.state == WL_ENDING ? w->fsm.grace_end : 0;
}

void workload_skip_grace(struct workload *w)
{
    workload_post(w, WL_EV_KILL, WL_END_CLEAN);
}

void workload_restart(struct workload *w)
{
    workload_post(w, WL_EV_RESTART, WL_END_CLEAN);
}

void workload_update(struct workload *w, const struct workload_spec *spec,
                     enum workload_renewal renewal)
{
    if (!w->is_outdated) {
        w->has_log_file = w->spec.log_file != NULL;
        w->old_log_hash = w->log_hash;
        w->is_outdated = spec_diff_workload(&w->spec, spec, NULL) == SPEC_RESTART;
    }
    workload_spec_fini(&w->spec);
    workload_spec_copy(&w->spec, spec);
    workload_note_log(w);
    w->is_unit_saved = false;
    workload_look_again(w);
    workload_configure_log(w);
    /* Else the record goes on to speak of what runs: the next agent has to renew that, too. */
    if (renewal == RENEW_NOTHING && w->unit_hash != 0 && !(w->is_outdated && w->pid != 0)) {
        workload_save_unit(w);
    }
    if (w->health != NULL) {
        w->was_healthy = health_is_healthy(w->health);
        health_free(steal_ptr(&w->health));
    }
    workload_follow_health(w);
    workload_post(w, renewal == RENEW_NOW ? WL_EV_RESTART : WL_EV_RENEW, WL_END_CLEAN);
}

void workload_follow_policy(struct workload *w)
{
    workload_look_again(w);
    if (w->health != NULL) {
        health_follow_policy(w->health);
    }
    workload_configure_log(w);
}

void workload_close(struct workload *w)
{
    if (w->channel != NULL && w->log != LOG_CLOSING) {
        w->log = LOG_CLOSING;
        pump_close(w->channel);
    }
}

bool workload_is_disposable(const struct workload *w)
{
    return wl_fsm_is_at_rest(&w->fsm) && w->channel == NULL;
}
