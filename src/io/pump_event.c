/* pump: the queue of events to the loop's thread. */
#include "pump_private.h"

#include <stdlib.h>
#include <string.h>

/* A chatty workload and a loop that is late: these say the same however often they are said. */
static bool is_said_once(enum pump_event_type type)
{
    return type == PUMP_EV_ROTATED || type == PUMP_EV_REOPENED;
}

struct pump_queued_event *pump_event_new(struct pump_channel *ch, enum pump_event_type type)
{
    struct pump_queued_event *queued = xcalloc(1, sizeof(*queued));
    queued->event.type = type;
    queued->event.channel = ch;
    queued->event.owner = ch->owner;
    return queued;
}

void pump_post_locked(struct pump *pump, struct pump_queued_event *take_event)
{
    struct pump_channel *ch = take_event->event.channel;
    unsigned bit = 1U << take_event->event.type;
    if (pump->orphaned || (is_said_once(take_event->event.type) && (ch->queued & bit) != 0)) {
        strv_fini(&take_event->event.lines);
        free(take_event);
        return;
    }
    if (ch != NULL) {
        ch->queued |= bit;
    }
    list_add_tail(&pump->events, &take_event->link);
    /* Under the lock, so that pump_free() returns only when nobody will call it any more. */
    pump->notify(pump->arg);
}

void pump_post(struct pump_channel *ch, struct pump_queued_event *take_event)
{
    pthread_mutex_lock(&ch->pump->lock);
    pump_post_locked(ch->pump, take_event);
    pthread_mutex_unlock(&ch->pump->lock);
}

bool pump_next_event(struct pump *pump, struct pump_event *ret)
{
    struct pump_queued_event *queued = NULL;
    pthread_mutex_lock(&pump->lock);
    if (!list_is_empty(&pump->events)) {
        queued = list_entry(pump->events.next, struct pump_queued_event, link);
        list_remove(&queued->link);
        if (queued->event.channel != NULL) {
            queued->event.channel->queued &= ~(1U << queued->event.type);
        }
    }
    pthread_mutex_unlock(&pump->lock);
    if (queued == NULL) {
        return false;
    }
    *ret = queued->event;
    free(queued);
    if (ret->type == PUMP_EV_CLOSED) {
        pump_channel_free(ret->channel);
    }
    return true;
}

static void publish_counters(struct pump_channel *ch)
{
    struct logfile_counters now = logfile_counters(ch->file);
    atomic_store_explicit(&ch->bytes_written, ch->before.bytes_written + now.bytes_written,
                          memory_order_relaxed);
    atomic_store_explicit(&ch->bytes_dropped, ch->before.bytes_dropped + now.bytes_dropped,
                          memory_order_relaxed);
    atomic_store_explicit(&ch->rotations, ch->before.rotations + now.rotations,
                          memory_order_relaxed);
}

struct pump_counters pump_channel_counters(const struct pump_channel *ch)
{
    return (struct pump_counters){
        .bytes_written = atomic_load_explicit(&ch->bytes_written, memory_order_relaxed),
        .bytes_dropped = atomic_load_explicit(&ch->bytes_dropped, memory_order_relaxed),
        .rotations = atomic_load_explicit(&ch->rotations, memory_order_relaxed),
    };
}

void pump_report(struct pump_channel *ch, unsigned happened)
{
    publish_counters(ch);
    if ((happened & LOGFILE_REOPENED) != 0) {
        pump_post(ch, pump_event_new(ch, PUMP_EV_REOPENED));
    }
    if ((happened & LOGFILE_ROTATED) != 0) {
        pump_post(ch, pump_event_new(ch, PUMP_EV_ROTATED));
    }
    if ((happened & LOGFILE_ROOM) != 0) {
        struct pump_queued_event *queued = pump_event_new(ch, PUMP_EV_DROPPED);
        queued->event.bytes = logfile_dropped_bytes(ch->file);
        pump_post(ch, queued);
    }
    if ((happened & LOGFILE_FULL) != 0) {
        struct pump_queued_event *queued = pump_event_new(ch, PUMP_EV_DISK_FULL);
        const char *text = NULL;
        queued->event.error = logfile_drop_reason(ch->file, &text);
        (void) snprintf(queued->event.message, sizeof(queued->event.message), "%s", text);
        pump_post(ch, queued);
    }
}
