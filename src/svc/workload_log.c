/* What the pump says of a workload's log. */
#include "edgible/log.h"
#include "edgible/loop.h"
#include "log_keeper.h"
#include "workload_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static void on_log_opened(struct workload *w)
{
    w->log = LOG_OPEN;
    if (w->wants_spawn) {
        w->wants_spawn = false;
        workload_launch_with_log(w);
    }
}

static bool is_host_error(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOMEM || error == EIO;
}

static void on_log_failed(struct workload *w, const struct pump_event *event)
{
    w->log = LOG_BROKEN;
    char text[ERR_MSG_MAX];
    struct err err = {.code = event->error};
    (void) snprintf(err.msg, sizeof(err.msg), "cannot open its log: %s", event->message);
    (void) err_text(&err, text, sizeof(text));
    if (w->wants_spawn) {
        workload_drop_launch(w);
        workload_launch_failed(w, is_host_error(event->error) ? WL_END_HOST_FAULT : WL_END_FAULT,
                               "log", event->error < ERR_SPEC ? event->error : 0, text);
    } else {
        log_warn("supervisor", "%s/%s: %s", w->application, w->spec.name, text);
    }
}

static void on_tail(struct workload *w, const struct pump_event *event)
{
    if (event->run == w->run) {
        strv_fini(&w->tail);
        strv_copy(&w->tail, &event->lines);
    }
    w->tail_pending = false;
    if (w->tail_wait != NULL) {
        workload_say_failed(w);
    }
    workload_save_state(w);
}

static void say_lost(const struct pump_event *event)
{
    char text[ERR_MSG_MAX];
    struct err err = {.code = event->error};
    (void) snprintf(err.msg, sizeof(err.msg), "%s", event->message);
    log_warn("supervisor",
             "%" PRIu64 " bytes of output that an agent before read and did not write are dropped: "
             "%s",
             event->bytes, err_text(&err, text, sizeof(text)));
}

void workload_on_pump(const struct pump_event *event)
{
    struct workload *w = event->owner;
    switch (event->type) {
    case PUMP_EV_OPENED:
        on_log_opened(w);
        break;
    case PUMP_EV_OPEN_FAILED:
        on_log_failed(w, event);
        break;
    case PUMP_EV_TAIL:
        on_tail(w, event);
        break;
    case PUMP_EV_CLOSED:
        log_keeper_drop(w->ctx->log_keeper, w->pipe_inode);
        w->channel = NULL;
        w->log = LOG_CLOSED;
        if (w->wants_spawn) {
            workload_open_log(w);
        } else {
            w->ctx->on_rest(w->ctx->arg, w);
        }
        break;
    case PUMP_EV_ROTATED:
    case PUMP_EV_REOPENED:
        workload_say_log(w, event);
        break;
    case PUMP_EV_DISK_FULL:
    case PUMP_EV_DROPPED:
        w->log_full = event->type == PUMP_EV_DISK_FULL;
        workload_say_log(w, event);
        break;
    case PUMP_EV_STALLED:
    case PUMP_EV_RESUMED:
        workload_say_log(w, event);
        break;
    case PUMP_EV_LOST:
        say_lost(event);
        break;
    case PUMP_EV_UNWATCHED:
        log_warn("supervisor", "%s", LOOP_LACKS_EPOLL);
        break;
    }
}
