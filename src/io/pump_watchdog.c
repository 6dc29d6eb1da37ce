/*
 * pump: the watchdog, a thread that looks at the lanes while they work and sleeps without a timer
 * while none does. When one hangs in a file, the channels whose files are elsewhere move on.
 */
#include "pump_private.h"

#include <time.h>

/* Moves what does not sit on the hung device; what does would only hang the next lane as well. */
static void evacuate(struct pump *pump, struct pump_lane *hung)
{
    dev_t device = hung->current->device;
    struct pump_lane *to = pump_lane_find_healthy(pump);
    list_each (it, &hung->channels) {
        struct pump_channel *ch = list_entry(it, struct pump_channel, link);
        if (ch == hung->current) {
            continue;
        }
        if (device != 0 && ch->device == device) {
            if (!ch->stalled) {
                ch->stalled = true;
                pump_post_locked(pump, pump_event_new(ch, PUMP_EV_STALLED));
            }
            continue;
        }
        if (to == NULL && pump_lane_start(pump, &to, NULL) < 0) {
            return; /* too many hang, or no thread to be had: tried again at the next tick */
        }
        hung->moves++;
        pump_lane_remove(ch);
        ch->wants_watch = true;
        pump_lane_add(to, ch);
    }
}

/* Whether the lane did anything since the last look. */
static bool look_at(struct pump *pump, struct pump_lane *lane, int64_t now_ms)
{
    if (lane->state != PUMP_LANE_RUNNING) {
        return false;
    }
    bool active = lane->current != NULL || lane->turns != lane->seen_turns;
    lane->seen_turns = lane->turns;
    if (lane->current == NULL || now_ms - lane->busy_since_ms < PUMP_STALLED_MS) {
        return active;
    }
    if (!lane->stalled) {
        lane->stalled = true;
        lane->moves++;
        pump->stalled_lanes++;
        lane->current->stalled = true;
        pump_post_locked(pump, pump_event_new(lane->current, PUMP_EV_STALLED));
    }
    evacuate(pump, lane);
    return true;
}

static void sleep_until(struct pump *pump, bool active)
{
    if (!active) {
        pump->watchdog_sleeps = true;
        pthread_cond_wait(&pump->watchdog_wake, &pump->lock);
        pump->watchdog_sleeps = false;
        return;
    }
    struct timespec ts;
    (void) clock_gettime(CLOCK_MONOTONIC, &ts);
    ts.tv_nsec += PUMP_WATCHDOG_MS * 1000000L;
    if (ts.tv_nsec >= 1000000000L) {
        ts.tv_nsec -= 1000000000L;
        ts.tv_sec++;
    }
    (void) pthread_cond_timedwait(&pump->watchdog_wake, &pump->lock, &ts);
}

void *pump_watchdog_main(void *arg)
{
    struct pump *pump = arg;
    pthread_mutex_lock(&pump->lock);
    while (!pump->watchdog_done) {
        bool active = false;
        int64_t now_ms = pump_now_ms();
        for (size_t i = 0; i < PUMP_MAX_LANES; i++) {
            active = look_at(pump, &pump->lanes[i], now_ms) || active;
        }
        sleep_until(pump, active);
    }
    pthread_mutex_unlock(&pump->lock);
    return NULL;
}
