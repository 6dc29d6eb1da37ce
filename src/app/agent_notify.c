/*
 * What the service manager (systemd) is told: that the agent is ready, how its workloads are, that
 * it reloads or stops, and that its loop still turns. Nothing of it where no manager asks, and
 * nothing here can fail the agent.
 */
#include "agent_private.h"
#include "edgible/buf.h"
#include "edgible/log.h"
#include "edgible/sdnotify.h"
#include "edgible/workload.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* How often the status is told at most, and how long changes gather before it is. */
#define STATUS_EVERY_MS 1000
#define STATUS_GATHER_MS 100
/* What must not be lost is sent again so soon, where the manager's queue was full. */
#define AGAIN_MS 200
/* Beside the grace periods that are running: 10 s each for the kill, for what the logs still hold,
 * and for what is left then. */
#define STOP_MARGIN_MS 35000

struct notify {
    struct sdnotify *out;
    bool is_mute; /* the last message failed, and that was said */
    struct loop_timer *status_timer, *beat_timer, *again_timer;
    mono_ms status_at; /* when it was told last */
    char *status;      /* what was told */
    char *again;       /* what was not taken, and must be */
};

/* --- sending -------------------------------------------------------------------------------------
 */

/* False where it was not taken. */
static bool send_lines(struct notify *notify, const char *lines)
{
    struct err err = {0};
    char text[ERR_MSG_MAX];
    bool is_sent = sdnotify_send(notify->out, lines, &err) == 0;
    if (!is_sent && err.code != EAGAIN && !notify->is_mute) {
        log_warn("agent", "the service manager cannot be told: %s",
                 err_text(&err, text, sizeof(text)));
    }
    notify->is_mute = !is_sent && err.code != EAGAIN;
    return is_sent || err.code != EAGAIN;
}

/* For what changes the state that the manager thinks this service is in: it is sent until it is
 * taken, in order. */
static void send_surely(struct notify *notify, const char *lines)
{
    if (notify->again != NULL) {
        char *both = xasprintf("%s\n%s", notify->again, lines);
        free(notify->again);
        notify->again = both;
    } else if (!send_lines(notify, lines)) {
        notify->again = xstrdup(lines);
    }
    if (notify->again != NULL && notify->again_timer != NULL) {
        loop_timer_arm(notify->again_timer, loop_now() + AGAIN_MS);
    }
}

static void on_again(void *arg)
{
    struct agent *agent = arg;
    struct notify *notify = agent->notify;
    CLEANUP(free) char *lines = steal_ptr(&notify->again);
    send_surely(notify, lines);
}

/* --- the status ----------------------------------------------------------------------------------
 */

static void count_status(void *arg, const struct workload *workload)
{
    size_t *counts = arg;
    counts[workload_status(workload)]++;
}

/* "12 workloads: 11 running, 1 backoff; source directory". */
static char *describe(const struct agent *agent)
{
    CLEANUP(buf) struct buf text = {0};
    size_t counts[STATUS_COUNT] = {0};
    size_t all = supervisor_workload_count(agent->supervisor);
    supervisor_each(agent->supervisor, NULL, count_status, counts);
    if (agent->stopping) {
        buf_add_str(&text, "stops: ");
    }
    buf_printf(&text, "%zu workload%s", all, all == 1 ? "" : "s");
    const char *before = ": ";
    for (int i = 0; i < STATUS_COUNT; i++) {
        if (counts[i] > 0) {
            buf_printf(&text, "%s%zu %s", before, counts[i], status_name((enum status) i));
            before = ", ";
        }
    }
    if (agent->source != NULL && !agent->stopping) {
        struct source_state source;
        source_describe(agent->source, &source);
        buf_printf(&text, "; source %s", source.type);
    }
    return buf_steal(&text);
}

/* A stop may take as long as the grace periods of all ranks; which is known of one rank at a time.
 */
static void add_extension(const struct agent *agent, struct buf *lines)
{
    mono_ms left = supervisor_grace_left(agent->supervisor, loop_now());
    if (agent->stopping && left > 0) {
        buf_printf(lines, "\nEXTEND_TIMEOUT_USEC=%" PRId64,
                   ((int64_t) left + STOP_MARGIN_MS) * 1000);
    }
}

/* The STATUS= line with what belongs to it; remembers that it was told. */
static void add_status(struct agent *agent, struct buf *lines)
{
    struct notify *notify = agent->notify;
    free(notify->status);
    notify->status = describe(agent);
    notify->status_at = loop_now();
    buf_printf(lines, "STATUS=%s", notify->status);
    add_extension(agent, lines);
}

static void on_status(void *arg)
{
    struct agent *agent = arg;
    struct notify *notify = agent->notify;
    CLEANUP(free) char *status = describe(agent);
    if (!agent->stopping && notify->status != NULL && strcmp(status, notify->status) == 0) {
        return;
    }
    CLEANUP(buf) struct buf lines = {0};
    add_status(agent, &lines);
    if (agent->stopping) {
        send_surely(notify, buf_str(&lines));
    } else if (!send_lines(notify, buf_str(&lines))) {
        agent_notify_change(agent);
    }
}

void agent_notify_change(struct agent *agent)
{
    struct notify *notify = agent->notify;
    if (notify == NULL || notify->status_timer == NULL || notify->status == NULL ||
        loop_timer_is_armed(notify->status_timer)) {
        return;
    }
    mono_ms soon = loop_now() + STATUS_GATHER_MS;
    mono_ms earliest = notify->status_at + STATUS_EVERY_MS;
    loop_timer_arm(notify->status_timer, soon > earliest ? soon : earliest);
}

/* --- the watchdog --------------------------------------------------------------------------------
 */

/* From the loop's own timer: a loop that does not turn does not beat. */
static void on_beat(void *arg)
{
    struct agent *agent = arg;
    struct notify *notify = agent->notify;
    (void) send_lines(notify, "WATCHDOG=1");
    loop_timer_arm(notify->beat_timer, loop_now() + sdnotify_watchdog_ms(notify->out) / 2);
}

/* --- life ----------------------------------------------------------------------------------------
 */

void agent_notify_open(struct agent *agent)
{
    struct err err = {0};
    struct sdnotify *out = sdnotify_take(&err);
    if (out != NULL) {
        agent->notify = xcalloc(1, sizeof(*agent->notify));
        agent->notify->out = out;
    } else if (err.code != 0) {
        char text[ERR_MSG_MAX];
        log_warn("agent", "the service manager cannot be told anything: %s",
                 err_text(&err, text, sizeof(text)));
    }
}

void agent_notify_close(struct agent *agent)
{
    struct notify *notify = steal_ptr(&agent->notify);
    if (notify == NULL) {
        return;
    }
    loop_timer_free(notify->status_timer);
    loop_timer_free(notify->beat_timer);
    loop_timer_free(notify->again_timer);
    sdnotify_free(notify->out);
    free(notify->status);
    free(notify->again);
    free(notify);
}

void agent_notify_ready(struct agent *agent)
{
    struct notify *notify = agent->notify;
    if (notify == NULL) {
        return;
    }
    if (notify->status_timer == NULL) {
        notify->status_timer = loop_timer_new(agent->loop, on_status, agent);
        notify->again_timer = loop_timer_new(agent->loop, on_again, agent);
        notify->beat_timer = loop_timer_new(agent->loop, on_beat, agent);
        if (sdnotify_watchdog_ms(notify->out) > 0) {
            on_beat(agent);
        }
    }
    CLEANUP(buf) struct buf lines = {0};
    buf_printf(&lines, "READY=1\nMAINPID=%d\n", (int) getpid());
    add_status(agent, &lines);
    send_surely(notify, buf_str(&lines));
}

void agent_notify_reloading(struct agent *agent)
{
    if (agent->notify == NULL) {
        return;
    }
    struct timespec now = {0};
    (void) clock_gettime(CLOCK_MONOTONIC, &now);
    CLEANUP(free)
    char *lines = xasprintf("RELOADING=1\nMONOTONIC_USEC=%" PRId64,
                            (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000);
    send_surely(agent->notify, lines);
}

void agent_notify_stopping(struct agent *agent)
{
    if (agent->notify == NULL) {
        return;
    }
    CLEANUP(buf) struct buf lines = {0};
    buf_add_str(&lines, "STOPPING=1\n");
    if (agent->detaching) {
        buf_add_str(&lines, "STATUS=detaches; workloads go on");
    } else {
        add_status(agent, &lines);
    }
    send_surely(agent->notify, buf_str(&lines));
}

void agent_notify_failed(struct agent *agent, const struct err *why)
{
    char text[ERR_MSG_MAX];
    if (agent->notify != NULL) {
        CLEANUP(free)
        char *lines = xasprintf("STATUS=cannot run: %s", err_text(why, text, sizeof(text)));
        (void) send_lines(agent->notify, lines);
    }
}

void agent_notify_hand_over(const struct agent *agent, bool keep)
{
    if (agent->notify == NULL) {
        return;
    }
    if (keep) {
        sdnotify_show(agent->notify->out);
    } else {
        sdnotify_hide();
    }
}
