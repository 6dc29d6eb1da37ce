/* What is said of a workload: its events, each with its reason. */
#include "edgible/buf.h"
#include "edgible/reason.h"
#include "health.h"
#include "workload_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TAIL_WAIT_MS 1000
/* Of what a workload can bring about as often as it likes. */
#define LOG_TELL_MS 10000

/* Numbers of fields, as text. */
struct number {
    char text[24];
};

static const char *number_text(struct number *n, int64_t value)
{
    (void) snprintf(n->text, sizeof(n->text), "%" PRId64, value);
    return n->text;
}

static void say(struct workload *w, enum event_type type, enum log_level level,
                const struct log_field *fields, const char *message)
{
    struct event event = {
        .type = type,
        .level = level,
        .application = w->application,
        .workload = w->spec.name,
        .fields = fields,
    };
    events_emit(w->ctx->events, &event, "%s/%s %s", w->application, w->spec.name, message);
}

/* How it ended, and that the agent ended it, where its failed health check was why. The caller
 * frees. */
static char *add_unhealthy(const struct workload *w, const char *exit)
{
    return w->unhealthy != NULL ? xasprintf("was unhealthy (%s), and %s", w->unhealthy, exit)
                                : xstrdup(exit);
}

/* Why the last run ended or the last try failed. The caller frees. */
char *workload_last_reason(const struct workload *w)
{
    if (w->start_error != NULL) {
        return xstrdup(w->start_error);
    }
    if (w->has_fault) {
        return reason_of_fault(&w->fault, &w->spec, w->creds->user);
    }
    CLEANUP(free) char *exit = reason_of_exit(&w->exit, w->fsm.ended_at - w->fsm.started_at);
    bool is_clean = w->exit.known && !w->exit.signaled && w->exit.code == 0;
    if (is_clean && w->fsm.term_left_sent && w->unhealthy == NULL) {
        return xasprintf("%s and left processes running, which were stopped with it: a program "
                         "that goes into the background has to be told to stay in the foreground",
                         exit);
    }
    return add_unhealthy(w, exit);
}

void workload_add_rapid_count(const struct workload *w, struct buf *text)
{
    if (w->fsm.rapid_failures > 0 && w->spec.restart.max_rapid_failures > 0) {
        buf_printf(text, "; %u rapid failure%s of %" PRId64, w->fsm.rapid_failures,
                   w->fsm.rapid_failures == 1 ? "" : "s", w->spec.restart.max_rapid_failures);
    }
}

/* stage and errno, or code, or signal: the same in exited, backoff and failed. */
struct cause_fields {
    struct number code;
    char errno_text[32], signal_text[32];
    const char *stage, *errno_name, *code_text, *signal;
};

static void fill_cause(const struct workload *w, struct cause_fields *c)
{
    if (w->start_error != NULL || w->has_fault) {
        int error = w->has_fault ? w->fault.error : w->start_errno;
        c->stage = w->has_fault ? spawn_stage_name(w->fault.stage) : w->start_stage;
        c->errno_name =
            error != 0 ? reason_errno_name(error, c->errno_text, sizeof(c->errno_text)) : NULL;
    } else if (w->exit.known && w->exit.signaled) {
        c->signal = signal_name(w->exit.code, c->signal_text, sizeof(c->signal_text));
    } else if (w->exit.known) {
        c->code_text = number_text(&c->code, w->exit.code);
    }
}

void workload_say_started(struct workload *w)
{
    struct number pid;
    struct number restarts;
    struct log_field fields[] = {
        {"pid",             number_text(&pid, w->pid)},
        {"restarts",          number_text(&restarts, w->fsm.restarts)},
        {"status",        status_name(workload_status(w))},
        {0},
    };
    char message[64];
    (void) snprintf(message, sizeof(message), "started with PID %d", (int) w->pid);
    say(w, EVENT_STARTED, LOG_INFO, fields, message);
}

void workload_say_health(struct workload *w)
{
    bool is_bad = health_is_unhealthy(w->health);
    const char *trouble = is_bad ? health_trouble(w->health) : NULL;
    struct log_field fields[] = {
        {"status", is_bad ? "unhealthy" : "running"},
        {"reason",        trouble},
        {0},
    };
    CLEANUP(free)
    char *message = is_bad ? xasprintf("is unhealthy: %s", trouble)
                           : xstrdup("is healthy: it passes its health check");
    say(w, is_bad ? EVENT_UNHEALTHY : EVENT_HEALTHY, is_bad ? LOG_WARN : LOG_INFO, fields, message);
}

void workload_say_adopted(struct workload *w)
{
    struct number pid;
    struct number restarts;
    struct log_field fields[] = {
        {"pid",             number_text(&pid, w->pid)},
        {"restarts",          number_text(&restarts, w->fsm.restarts)},
        {"status",        "running"},
        {0},
    };
    char message[64];
    (void) snprintf(message, sizeof(message), "is adopted: it runs with PID %d", (int) w->pid);
    say(w, EVENT_ADOPTED, LOG_INFO, fields, message);
}

void workload_say_exited(struct workload *w)
{
    if (w->has_fault) {
        return; /* it never ran: backoff or failed says why */
    }
    struct cause_fields c = {0};
    struct number pid;
    fill_cause(w, &c);
    CLEANUP(free) char *exit = reason_of_exit(&w->exit, loop_now() - w->fsm.started_at);
    CLEANUP(free) char *reason = add_unhealthy(w, exit);
    struct log_field fields[] = {
        {"pid",     number_text(&pid, w->pid)},
        {"code",  c.code_text},
        {"signal",    c.signal},
        {"oomKilled",         w->exit.oom_killed ? "true" : NULL},
        {0},
    };
    /* A NULL value leaves its field out. */
    say(w, EVENT_EXITED, LOG_INFO, fields, reason);
}

static void say_backoff(struct workload *w)
{
    struct cause_fields c = {0};
    struct number delay;
    struct number restarts;
    char delay_text[48];
    fill_cause(w, &c);
    mono_ms left = w->fsm.deadline - w->stepped_at;
    CLEANUP(free) char *reason = workload_last_reason(w);
    CLEANUP(buf) struct buf text = {0};
    buf_printf(&text, "%s", reason);
    workload_add_rapid_count(w, &text);
    CLEANUP(free)
    char *message =
        xasprintf("starts again in %s: %s",
                  format_duration(left > 0 ? left : 0, delay_text, sizeof(delay_text)), text.data);
    struct log_field fields[] = {
        {"status",               "backoff"},
        {"delay_ms",                      number_text(&delay, left > 0 ? left : 0)},
        {"restarts",number_text(&restarts, w->fsm.restarts)},
        {"reason",                      text.data},
        {"stage",                   c.stage},
        {"errno",                      c.errno_name},
        {"code",c.code_text},
        {"signal",                c.signal},
        {0                     },
    };
    say(w, EVENT_BACKOFF, w->fsm.end == WL_END_CLEAN ? LOG_INFO : LOG_WARN, fields, message);
}

static void join_tail(const struct workload *w, struct buf *text)
{
    for (size_t i = 0; i < w->tail.count; i++) {
        buf_printf(text, "%s%s", i > 0 ? "\n" : "", w->tail.items[i]);
    }
}

void workload_say_failed(struct workload *w)
{
    workload_end_tail_wait(w);
    struct cause_fields c = {0};
    fill_cause(w, &c);
    CLEANUP(free) char *reason = workload_last_reason(w);
    CLEANUP(buf) struct buf text = {0};
    CLEANUP(buf) struct buf output = {0};
    buf_printf(&text, "%s", reason);
    workload_add_rapid_count(w, &text);
    if (w->spec.restart.when == RESTART_NEVER) {
        buf_add_str(&text, "; its restart policy is never");
    }
    join_tail(w, &output);
    CLEANUP(free) char *message = xasprintf("failed: %s", text.data);
    struct log_field fields[] = {
        {"status",      "failed"},
        {"reason",             text.data},
        {"stage",c.stage},
        {"errno",       c.errno_name},
        {"code",             c.code_text},
        {"signal",c.signal},
        {"output",        output.len > 0 ? output.data : NULL},
        {0            },
    };
    say(w, EVENT_FAILED, LOG_ERROR, fields, message);
}

void workload_end_tail_wait(struct workload *w)
{
    loop_timer_free(steal_ptr(&w->tail_wait));
}

static void on_tail_wait_over(void *arg)
{
    workload_say_failed(arg);
}

/* The failed event carries the last lines: a slow disk may delay it, a dead one must not. */
static void wait_for_tail(struct workload *w)
{
    workload_end_tail_wait(w);
    w->tail_wait = loop_timer_new(w->ctx->loop, on_tail_wait_over, w);
    loop_timer_arm(w->tail_wait, loop_now() + TAIL_WAIT_MS);
}

static void say_killing(struct workload *w)
{
    char grace[48];
    struct number pid;
    struct log_field fields[] = {
        {"status",          "stopping"},
        {"pid",                 number_text(&pid, w->pid)},
        {0},
    };
    CLEANUP(free) char *out_of_reach = workload_out_of_reach(w);
    CLEANUP(free)
    char *message =
        xasprintf("%s: its grace period of %s is %s%s%s",
                  out_of_reach != NULL ? "cannot be killed" : "is killed",
                  format_duration(w->spec.stop.grace_ms, grace, sizeof(grace)),
                  loop_now() < w->fsm.grace_end ? "cut short" : "over",
                  out_of_reach != NULL ? ", and " : "", out_of_reach != NULL ? out_of_reach : "");
    say(w, EVENT_KILLED, LOG_WARN, fields, message);
}

mono_ms workload_killing_since(const struct workload *w)
{
    return w->fsm.state == WL_KILLING ? w->fsm.killing_since : 0;
}

const pid_t *workload_left(const struct workload *w, size_t *ret_count)
{
    *ret_count = w->left_count;
    return w->left;
}

void workload_say_stuck(struct workload *w)
{
    if (w->stuck_said || loop_now() - w->fsm.killing_since < WL_STUCK_AFTER_MS) {
        return;
    }
    w->stuck_said = true;
    char wchan[64];
    struct number pid;
    proc_read_wchan(w->left[0], wchan, sizeof(wchan));
    struct log_field fields[] = {
        {"status",          "stopping"},
        {"pid",                 number_text(&pid, w->left[0])},
        {"killed","false"},
        {"wchan",                 wchan},
        {0                         },
    };
    CLEANUP(free) char *out_of_reach = workload_out_of_reach(w);
    CLEANUP(free)
    char *message =
        out_of_reach != NULL
            ? xasprintf("cannot be killed: %s; no second copy is started", out_of_reach)
            : xasprintf("does not die of SIGKILL: %zu processes are left, PID %d waits in the "
                        "kernel in '%s'; no second copy is started",
                        w->left_count, (int) w->left[0], wchan[0] != '\0' ? wchan : "?");
    say(w, EVENT_KILLED, LOG_ERROR, fields, message);
}

static void say_status(struct workload *w, enum event_type type, const char *status,
                       const char *message)
{
    struct number pid;
    struct log_field fields[] = {
        {"status",                        status},
        {"pid",                               w->pid != 0 ? number_text(&pid, w->pid) : NULL},
        {0},
    };
    say(w, type, LOG_INFO, fields, message);
}

static void say_completed(struct workload *w)
{
    CLEANUP(free) char *reason = workload_last_reason(w);
    CLEANUP(free) char *message = xasprintf("is completed: %s", reason);
    say_status(w, EVENT_STOPPED, "completed", message);
}

/* Called before the transition's effects are executed. */
void workload_say_transition(struct workload *w, enum wl_state from)
{
    switch (w->fsm.state) {
    case WL_STARTING:
        say_status(w, EVENT_STARTING, "starting", "is being started");
        break;
    case WL_STOPPING:
        say_status(w, EVENT_STOPPING, "stopping", "is being stopped");
        break;
    case WL_STOPPED:
        if (from != WL_COMPLETED && from != WL_FAILED) {
            say_status(w, EVENT_STOPPED, "stopped", "has stopped; nothing of it is left");
        }
        break;
    case WL_KILLING:
        say_killing(w);
        break;
    case WL_BACKOFF:
        say_backoff(w);
        break;
    case WL_COMPLETED:
        say_completed(w);
        break;
    case WL_FAILED:
        if (w->tail_pending) {
            wait_for_tail(w);
        } else {
            workload_say_failed(w);
        }
        break;
    case WL_RUNNING:
    case WL_ENDING:
    case WL_STATE_COUNT:
        break;
    }
}

/* How often it has happened since it was told of last; 0: it is not told of now. */
static uint64_t take_told(struct log_told *told)
{
    uint64_t count = ++told->count;
    if (told->at != 0 && loop_now() - told->at < LOG_TELL_MS) {
        return 0;
    }
    *told = (struct log_told){.at = loop_now()};
    return count;
}

static void say_rotated(struct workload *w)
{
    struct number rotations;
    uint64_t count = take_told(&w->rotated);
    struct log_field fields[] = {
        {"rotations",       number_text(&rotations, (int64_t) count)},
        {0},
    };
    CLEANUP(free)
    char *message = count == 1 ? xstrdup("had its log rotated")
                               : xasprintf("had its log rotated %" PRIu64 " times", count);
    if (count > 0) {
        say(w, EVENT_LOG_ROTATED, LOG_INFO, fields, message);
    }
}

static void say_reopened(struct workload *w)
{
    uint64_t count = take_told(&w->reopened);
    if (count > 0) {
        log_warn("logs",
                 "%s/%s: its log was removed, moved or cut off by somebody else; a new one "
                 "is written (number of times: %" PRIu64 ")",
                 w->application, w->spec.name, count);
    }
}

static void say_stalled(struct workload *w, bool is_over)
{
    if (is_over && w->is_stall_told) {
        log_info("logs", "%s/%s: its log is written again", w->application, w->spec.name);
        w->is_stall_told = false;
    } else if (!is_over && take_told(&w->stalled) > 0) {
        log_warn("logs", "%s/%s: the file system of its log hangs", w->application, w->spec.name);
        w->is_stall_told = true;
    }
}

void workload_say_log(struct workload *w, const struct pump_event *event)
{
    char text[ERR_MSG_MAX];
    struct err err = {.code = event->error};
    (void) snprintf(err.msg, sizeof(err.msg), "cannot write its log, and drops what it prints: %s",
                    event->message);
    if (event->type == PUMP_EV_ROTATED) {
        say_rotated(w);
    } else if (event->type == PUMP_EV_DISK_FULL) {
        say(w, EVENT_DISK_FULL, LOG_WARN, NULL, err_text(&err, text, sizeof(text)));
    } else if (event->type == PUMP_EV_DROPPED) {
        struct number bytes;
        struct log_field fields[] = {
            {"bytes",                  number_text(&bytes, (int64_t) event->bytes)},
            {0},
        };
        CLEANUP(free)
        char *message =
            xasprintf("logs again; %" PRIu64 " bytes of its output were dropped", event->bytes);
        say(w, EVENT_LOG_DROPPED, LOG_WARN, fields, message);
    } else if (event->type == PUMP_EV_REOPENED) {
        say_reopened(w);
    } else if (event->type == PUMP_EV_STALLED || event->type == PUMP_EV_RESUMED) {
        say_stalled(w, event->type == PUMP_EV_RESUMED);
    }
}
