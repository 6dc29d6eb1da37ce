#include "edgible/wl_fsm.h"

#include "edgible/backoff.h"

#include <assert.h>
#include <stddef.h>

#define FIRST_SWEEP_MS 2
#define MAX_SWEEP_MS 250
#define FIRST_KILL_MS 5
#define MAX_KILL_MS 1000
#define HOST_RETRY_MS 100
#define HOST_RETRY_MAX_MS 10000

struct step {
    struct wl_fsm *fsm;
    const struct restart_policy *restart;
    const struct stop_policy *stop;
    enum wl_end end;
    mono_ms now;
};

typedef unsigned (*handler)(const struct step *s);

static mono_ms earlier(mono_ms a, mono_ms b)
{
    return a < b ? a : b;
}

/* A deadline of 0 means none, so a time of 0 becomes 1. */
static mono_ms at(const struct step *s, mono_ms delay)
{
    mono_ms when = s->now + delay;
    return when > 0 ? when : 1;
}

static void forgive(struct wl_fsm *fsm)
{
    fsm->delay_n = 0;
    fsm->rapid_failures = 0;
    fsm->host_tries = 0;
}

/* --- entering states --------------------------------------------------------------------- */

static unsigned enter_stopped(const struct step *s)
{
    s->fsm->state = WL_STOPPED;
    s->fsm->deadline = 0;
    return 0;
}

static unsigned enter_starting(const struct step *s)
{
    s->fsm->state = WL_STARTING;
    s->fsm->deadline = 0;
    s->fsm->leader_exited = false;
    s->fsm->judged = false;
    return WL_DO_SPAWN;
}

/* The start that a command or a new generation asks for: not too soon after the last one. */
static unsigned enter_starting_in_time(const struct step *s)
{
    struct wl_fsm *fsm = s->fsm;
    mono_ms delay = s->restart->min_delay_ms;
    unsigned effects = enter_starting(s);
    if (fsm->started_at == 0 || s->now - fsm->started_at >= delay) {
        return effects;
    }
    fsm->deadline = earlier(fsm->started_at + delay, at(s, delay));
    return 0;
}

static unsigned enter_grace(const struct step *s, enum wl_state state)
{
    struct wl_fsm *fsm = s->fsm;
    fsm->state = state;
    fsm->grace_end = at(s, s->stop->grace_ms);
    fsm->deadline = fsm->grace_end;
    fsm->term_left_sent = false;
    fsm->poll_ms = FIRST_SWEEP_MS;
    return 0;
}

static unsigned enter_stopping(const struct step *s)
{
    return enter_grace(s, WL_STOPPING) | WL_DO_TERM;
}

static unsigned enter_killing(const struct step *s)
{
    struct wl_fsm *fsm = s->fsm;
    fsm->state = WL_KILLING;
    fsm->killing_since = s->now;
    fsm->poll_ms = FIRST_KILL_MS;
    fsm->deadline = at(s, fsm->poll_ms);
    return WL_DO_KILL;
}

static unsigned enter_backoff(const struct step *s, mono_ms delay)
{
    s->fsm->state = WL_BACKOFF;
    s->fsm->deadline = at(s, delay);
    return 0;
}

static unsigned enter_failed(const struct step *s)
{
    s->fsm->state = WL_FAILED;
    s->fsm->deadline =
        s->restart->retry_failed_after_ms > 0 ? at(s, s->restart->retry_failed_after_ms) : 0;
    return 0;
}

/* --- what comes after an end --------------------------------------------------------------- */

static bool was_rapid(const struct step *s)
{
    const struct wl_fsm *fsm = s->fsm;
    return fsm->end == WL_END_FAULT || fsm->ended_at - fsm->started_at < s->restart->rapid_after_ms;
}

static unsigned restart_or_fail(const struct step *s)
{
    struct wl_fsm *fsm = s->fsm;
    fsm->rapid_failures = was_rapid(s) ? fsm->rapid_failures + 1 : 0;
    if (s->restart->max_rapid_failures > 0 &&
        fsm->rapid_failures >= (uint64_t) s->restart->max_rapid_failures) {
        return enter_failed(s);
    }
    mono_ms delay = backoff_delay(s->restart->initial_delay_ms, s->restart->max_delay_ms,
                                  fsm->delay_n, backoff_random(&fsm->random));
    if (fsm->delay_n < 62) {
        fsm->delay_n++;
    }
    /* What chance takes from the delay, it does not take from the policy's. */
    return enter_backoff(s, delay > s->restart->min_delay_ms ? delay : s->restart->min_delay_ms);
}

static unsigned retry_host_fault(const struct step *s)
{
    struct wl_fsm *fsm = s->fsm;
    mono_ms delay = backoff_delay(HOST_RETRY_MS, HOST_RETRY_MAX_MS, fsm->host_tries,
                                  backoff_random(&fsm->random));
    if (fsm->host_tries < 62) {
        fsm->host_tries++;
    }
    return enter_backoff(s, delay);
}

/* The workload ended, or could not be started, by itself: its policy decides. */
static unsigned judge(const struct step *s)
{
    struct wl_fsm *fsm = s->fsm;
    if (fsm->end == WL_END_HOST_FAULT) {
        return retry_host_fault(s);
    }
    fsm->host_tries = 0;
    bool ran = fsm->end == WL_END_CLEAN || fsm->end == WL_END_ERROR;
    if (ran && fsm->ended_at - fsm->started_at >= s->restart->stable_after_ms) {
        forgive(fsm);
    }
    if (fsm->end == WL_END_CLEAN && s->restart->when != RESTART_ALWAYS) {
        if (fsm->term_left_sent) {
            return enter_failed(s); /* what it left running, a daemon most likely, was stopped */
        }
        fsm->state = WL_COMPLETED;
        fsm->deadline = 0;
        return 0;
    }
    if (s->restart->when == RESTART_NEVER) {
        return enter_failed(s);
    }
    return restart_or_fail(s);
}

/* Nothing is left of the process. */
static unsigned settle(const struct step *s)
{
    struct wl_fsm *fsm = s->fsm;
    bool judged = fsm->judged;
    fsm->alive = false;
    fsm->leader_exited = false;
    fsm->judged = false;
    if (!fsm->wanted) {
        return WL_DO_RELEASE | enter_stopped(s);
    }
    if (!judged) {
        return WL_DO_RELEASE | enter_starting_in_time(s);
    }
    return WL_DO_RELEASE | judge(s);
}

/* --- handlers, one or more cells each -------------------------------------------------------- */

static unsigned ignore(const struct step *s)
{
    (void) s;
    return 0;
}

static unsigned want_up(const struct step *s)
{
    s->fsm->wanted = true;
    return 0;
}

static unsigned start_fresh(const struct step *s)
{
    s->fsm->wanted = true;
    forgive(s->fsm);
    return enter_starting_in_time(s);
}

static unsigned rest_down(const struct step *s)
{
    s->fsm->wanted = false;
    return enter_stopped(s);
}

static unsigned starting_stop(const struct step *s)
{
    s->fsm->wanted = false;
    return s->fsm->alive ? enter_stopping(s) : enter_stopped(s);
}

static unsigned starting_restart(const struct step *s)
{
    forgive(s->fsm);
    return s->fsm->alive ? enter_stopping(s) : enter_starting_in_time(s);
}

static unsigned starting_kill(const struct step *s)
{
    return s->fsm->wanted || !s->fsm->alive ? 0 : enter_killing(s);
}

static unsigned starting_deadline(const struct step *s)
{
    bool is_due = s->fsm->deadline != 0 && s->now >= s->fsm->deadline;
    return is_due && !s->fsm->alive ? enter_starting(s) : 0;
}

static unsigned starting_spawned(const struct step *s)
{
    s->fsm->alive = true;
    s->fsm->started_at = s->now;
    s->fsm->deadline = 0; /* of a start that was put off, and came by another event */
    return 0;
}

static unsigned starting_started(const struct step *s)
{
    s->fsm->state = WL_RUNNING;
    s->fsm->started_at = s->now;
    return 0;
}

static unsigned starting_not_started(const struct step *s)
{
    s->fsm->end = s->end;
    s->fsm->started_at = s->now;
    s->fsm->ended_at = s->now;
    return judge(s);
}

/* The leader exited without being told to. */
static unsigned exited_by_itself(const struct step *s)
{
    s->fsm->leader_exited = true;
    s->fsm->judged = true;
    s->fsm->end = s->end;
    s->fsm->ended_at = s->now;
    return enter_grace(s, WL_ENDING) | WL_DO_SWEEP;
}

static unsigned running_stop(const struct step *s)
{
    s->fsm->wanted = false;
    return enter_stopping(s);
}

static unsigned running_restart(const struct step *s)
{
    forgive(s->fsm);
    return enter_stopping(s);
}

/* Its end is charged, whatever status it ends with. */
static unsigned running_unhealthy(const struct step *s)
{
    s->fsm->judged = true;
    s->fsm->end = WL_END_ERROR;
    return enter_stopping(s);
}

static unsigned renew(const struct step *s)
{
    forgive(s->fsm);
    return 0;
}

/* A later stop may shorten the grace period, never lengthen it. */
static unsigned stopping_stop(const struct step *s)
{
    struct wl_fsm *fsm = s->fsm;
    fsm->wanted = false;
    fsm->grace_end = earlier(fsm->grace_end, at(s, s->stop->grace_ms));
    fsm->deadline = earlier(fsm->deadline, fsm->grace_end);
    return 0;
}

static unsigned stopping_restart(const struct step *s)
{
    forgive(s->fsm);
    s->fsm->judged = false;
    return 0;
}

static unsigned stopping_exited(const struct step *s)
{
    s->fsm->leader_exited = true;
    if (!s->fsm->judged) {
        s->fsm->end = s->end;
    }
    s->fsm->ended_at = s->now;
    return WL_DO_SWEEP;
}

static unsigned gone(const struct step *s)
{
    return s->fsm->leader_exited ? settle(s) : 0;
}

/* Something is left within the grace period: tell what has not been told, look again later. */
static unsigned grace_left(const struct step *s)
{
    struct wl_fsm *fsm = s->fsm;
    fsm->deadline = earlier(fsm->grace_end, at(s, fsm->poll_ms));
    fsm->poll_ms = earlier(fsm->poll_ms * 2, MAX_SWEEP_MS);
    if (!fsm->leader_exited || fsm->term_left_sent) {
        return 0;
    }
    fsm->term_left_sent = true;
    return WL_DO_TERM_LEFT;
}

static unsigned grace_deadline(const struct step *s)
{
    struct wl_fsm *fsm = s->fsm;
    if (s->now >= fsm->grace_end) {
        return enter_killing(s);
    }
    /* In case the sweep's answer is lost: no state without a way out. */
    fsm->deadline = fsm->grace_end;
    return fsm->leader_exited ? WL_DO_SWEEP : 0;
}

static unsigned killing_stop(const struct step *s)
{
    s->fsm->wanted = false;
    return 0;
}

static unsigned killing_left(const struct step *s)
{
    struct wl_fsm *fsm = s->fsm;
    fsm->deadline = at(s, fsm->poll_ms);
    fsm->poll_ms = earlier(fsm->poll_ms * 2, MAX_KILL_MS);
    return 0;
}

static unsigned killing_deadline(const struct step *s)
{
    (void) killing_left(s);
    return WL_DO_KILL;
}

static unsigned backoff_renew(const struct step *s)
{
    forgive(s->fsm);
    s->fsm->deadline = earlier(s->fsm->deadline, at(s, s->restart->initial_delay_ms));
    return 0;
}

static unsigned backoff_deadline(const struct step *s)
{
    s->fsm->restarts++;
    return enter_starting(s);
}

/* One more try each retryFailedAfter: the next rapid exit fails it again. */
static unsigned failed_deadline(const struct step *s)
{
    struct wl_fsm *fsm = s->fsm;
    fsm->delay_n = 0;
    if (fsm->rapid_failures > 0) {
        fsm->rapid_failures--;
    }
    fsm->restarts++;
    return enter_starting(s);
}

/* --- the table ------------------------------------------------------------------------------- */

struct cell {
    handler run;
    const char *name;
};

#define CELL(fn)                                                                                   \
    {                                                                                              \
        .run = (fn), .name = #fn                                                                   \
    }

// clang-format off
static const struct cell table[WL_STATE_COUNT][WL_EVENT_COUNT] = {
    [WL_STOPPED] = {
        [WL_EV_START] = CELL(start_fresh),      [WL_EV_STOP] = CELL(ignore),
        [WL_EV_RESTART] = CELL(ignore),         [WL_EV_RENEW] = CELL(renew),
        [WL_EV_KILL] = CELL(ignore),            [WL_EV_SPAWNED] = CELL(ignore),
        [WL_EV_NOT_STARTED] = CELL(ignore),     [WL_EV_STARTED] = CELL(ignore),
        [WL_EV_EXITED] = CELL(ignore),          [WL_EV_GONE] = CELL(ignore),
        [WL_EV_LEFT] = CELL(ignore),            [WL_EV_UNHEALTHY] = CELL(ignore),
        [WL_EV_DEADLINE] = CELL(ignore),
    },
    [WL_STARTING] = {
        [WL_EV_START] = CELL(want_up),          [WL_EV_STOP] = CELL(starting_stop),
        [WL_EV_RESTART] = CELL(starting_restart), [WL_EV_RENEW] = CELL(renew),
        [WL_EV_KILL] = CELL(starting_kill),     [WL_EV_SPAWNED] = CELL(starting_spawned),
        [WL_EV_NOT_STARTED] = CELL(starting_not_started),
        [WL_EV_STARTED] = CELL(starting_started),
        [WL_EV_EXITED] = CELL(exited_by_itself), [WL_EV_GONE] = CELL(ignore),
        [WL_EV_LEFT] = CELL(ignore),            [WL_EV_UNHEALTHY] = CELL(ignore),
        [WL_EV_DEADLINE] = CELL(starting_deadline),
    },
    [WL_RUNNING] = {
        [WL_EV_START] = CELL(want_up),          [WL_EV_STOP] = CELL(running_stop),
        [WL_EV_RESTART] = CELL(running_restart), [WL_EV_RENEW] = CELL(renew),
        [WL_EV_KILL] = CELL(ignore),            [WL_EV_SPAWNED] = CELL(ignore),
        [WL_EV_NOT_STARTED] = CELL(ignore),     [WL_EV_STARTED] = CELL(ignore),
        [WL_EV_EXITED] = CELL(exited_by_itself), [WL_EV_GONE] = CELL(ignore),
        [WL_EV_LEFT] = CELL(ignore),            [WL_EV_UNHEALTHY] = CELL(running_unhealthy),
        [WL_EV_DEADLINE] = CELL(ignore),
    },
    [WL_STOPPING] = {
        [WL_EV_START] = CELL(want_up),          [WL_EV_STOP] = CELL(stopping_stop),
        [WL_EV_RESTART] = CELL(stopping_restart), [WL_EV_RENEW] = CELL(renew),
        [WL_EV_KILL] = CELL(enter_killing),     [WL_EV_SPAWNED] = CELL(ignore),
        [WL_EV_NOT_STARTED] = CELL(ignore),     [WL_EV_STARTED] = CELL(ignore),
        [WL_EV_EXITED] = CELL(stopping_exited), [WL_EV_GONE] = CELL(gone),
        [WL_EV_LEFT] = CELL(grace_left),        [WL_EV_UNHEALTHY] = CELL(ignore),
        [WL_EV_DEADLINE] = CELL(grace_deadline),
    },
    [WL_ENDING] = {
        [WL_EV_START] = CELL(want_up),          [WL_EV_STOP] = CELL(stopping_stop),
        [WL_EV_RESTART] = CELL(stopping_restart), [WL_EV_RENEW] = CELL(renew),
        [WL_EV_KILL] = CELL(enter_killing),     [WL_EV_SPAWNED] = CELL(ignore),
        [WL_EV_NOT_STARTED] = CELL(ignore),     [WL_EV_STARTED] = CELL(ignore),
        [WL_EV_EXITED] = CELL(ignore),          [WL_EV_GONE] = CELL(gone),
        [WL_EV_LEFT] = CELL(grace_left),        [WL_EV_UNHEALTHY] = CELL(ignore),
        [WL_EV_DEADLINE] = CELL(grace_deadline),
    },
    [WL_KILLING] = {
        [WL_EV_START] = CELL(want_up),          [WL_EV_STOP] = CELL(killing_stop),
        [WL_EV_RESTART] = CELL(stopping_restart), [WL_EV_RENEW] = CELL(renew),
        [WL_EV_KILL] = CELL(ignore),            [WL_EV_SPAWNED] = CELL(ignore),
        [WL_EV_NOT_STARTED] = CELL(ignore),     [WL_EV_STARTED] = CELL(ignore),
        [WL_EV_EXITED] = CELL(stopping_exited), [WL_EV_GONE] = CELL(gone),
        [WL_EV_LEFT] = CELL(killing_left),      [WL_EV_UNHEALTHY] = CELL(ignore),
        [WL_EV_DEADLINE] = CELL(killing_deadline),
    },
    [WL_BACKOFF] = {
        [WL_EV_START] = CELL(want_up),          [WL_EV_STOP] = CELL(rest_down),
        [WL_EV_RESTART] = CELL(start_fresh),    [WL_EV_RENEW] = CELL(backoff_renew),
        [WL_EV_KILL] = CELL(ignore),            [WL_EV_SPAWNED] = CELL(ignore),
        [WL_EV_NOT_STARTED] = CELL(ignore),     [WL_EV_STARTED] = CELL(ignore),
        [WL_EV_EXITED] = CELL(ignore),          [WL_EV_GONE] = CELL(ignore),
        [WL_EV_LEFT] = CELL(ignore),            [WL_EV_UNHEALTHY] = CELL(ignore),
        [WL_EV_DEADLINE] = CELL(backoff_deadline),
    },
    [WL_COMPLETED] = {
        [WL_EV_START] = CELL(ignore),           [WL_EV_STOP] = CELL(rest_down),
        [WL_EV_RESTART] = CELL(start_fresh),    [WL_EV_RENEW] = CELL(renew),
        [WL_EV_KILL] = CELL(ignore),            [WL_EV_SPAWNED] = CELL(ignore),
        [WL_EV_NOT_STARTED] = CELL(ignore),     [WL_EV_STARTED] = CELL(ignore),
        [WL_EV_EXITED] = CELL(ignore),          [WL_EV_GONE] = CELL(ignore),
        [WL_EV_LEFT] = CELL(ignore),            [WL_EV_UNHEALTHY] = CELL(ignore),
        [WL_EV_DEADLINE] = CELL(ignore),
    },
    [WL_FAILED] = {
        [WL_EV_START] = CELL(ignore),           [WL_EV_STOP] = CELL(rest_down),
        [WL_EV_RESTART] = CELL(start_fresh),    [WL_EV_RENEW] = CELL(start_fresh),
        [WL_EV_KILL] = CELL(ignore),            [WL_EV_SPAWNED] = CELL(ignore),
        [WL_EV_NOT_STARTED] = CELL(ignore),     [WL_EV_STARTED] = CELL(ignore),
        [WL_EV_EXITED] = CELL(ignore),          [WL_EV_GONE] = CELL(ignore),
        [WL_EV_LEFT] = CELL(ignore),            [WL_EV_UNHEALTHY] = CELL(ignore),
        [WL_EV_DEADLINE] = CELL(failed_deadline),
    },
};
// clang-format on

void wl_fsm_init(struct wl_fsm *fsm, uint32_t seed)
{
    *fsm = (struct wl_fsm){.state = WL_STOPPED, .random = seed};
}

unsigned wl_fsm_step(struct wl_fsm *fsm, const struct restart_policy *restart,
                     const struct stop_policy *stop, enum wl_event event, enum wl_end end,
                     mono_ms now)
{
    struct step s = {.fsm = fsm, .restart = restart, .stop = stop, .end = end, .now = now};
    assert(fsm->state < WL_STATE_COUNT && event < WL_EVENT_COUNT);
    return table[fsm->state][event].run(&s);
}

/* A deadline that cannot have been set by these policies is of other ones, or of nobody. */
static mono_ms bounded(mono_ms deadline, mono_ms now, mono_ms max_delay)
{
    mono_ms latest = now + max_delay;
    return deadline == 0 || deadline < latest ? deadline : latest;
}

static unsigned resume_starting(const struct step *s, enum wl_found found)
{
    struct wl_fsm *fsm = s->fsm;
    if (found == WL_FOUND_LEADER) {
        return 0;
    }
    if (found == WL_FOUND_NOTHING) {
        return enter_starting_in_time(s);
    }
    /* Whether it came as far as its program nobody knows: what is left of it goes first. */
    fsm->leader_exited = true;
    fsm->judged = false;
    return enter_grace(s, WL_STOPPING) | WL_DO_SWEEP;
}

unsigned wl_fsm_resume(struct wl_fsm *fsm, const struct restart_policy *restart,
                       const struct stop_policy *stop, enum wl_found found, mono_ms now)
{
    struct step s = {.fsm = fsm, .restart = restart, .stop = stop, .now = now};
    mono_ms retry = restart->retry_failed_after_ms;
    mono_ms delay = restart->max_delay_ms > HOST_RETRY_MAX_MS ? restart->max_delay_ms
                                                              : (mono_ms) HOST_RETRY_MAX_MS;
    switch (fsm->state) {
    case WL_STARTING:
        return resume_starting(&s, found);
    case WL_STOPPING:
    case WL_ENDING:
        /* One of 0 is of no machine; its deadline is in the past then. */
        fsm->grace_end = bounded(fsm->grace_end > 0 ? fsm->grace_end : 1, now, stop->grace_ms);
        fsm->deadline = fsm->grace_end;
        fsm->poll_ms = FIRST_SWEEP_MS;
        return fsm->leader_exited ? WL_DO_SWEEP : 0;
    case WL_KILLING:
        return enter_killing(&s);
    case WL_BACKOFF:
        /* A fifth more by chance: backoff_delay(). */
        fsm->deadline = bounded(fsm->deadline, now, delay + delay / 5);
        return 0;
    case WL_FAILED:
        fsm->deadline = retry > 0 ? bounded(fsm->deadline, now, retry) : 0;
        return 0;
    case WL_STOPPED:
    case WL_RUNNING:
    case WL_COMPLETED:
    case WL_STATE_COUNT:
        break;
    }
    return 0;
}

const char *wl_fsm_cell(enum wl_state state, enum wl_event event)
{
    return table[state][event].name;
}
