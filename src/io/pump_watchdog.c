/*
 * pump: the watchdog, a thread that looks at the lanes while they work and sleeps without a timer
 * while none does. When one hangs in a file, the other channels move on, until another lane
 * hangs on the same device.
 */
#include "pump_private.h"

#include <time.h>

static void set_stalled(struct pump_channel *ch, bool stalled)
{
    if (ch->stalled != stalled) {
        ch->stalled = stalled;
        pump_post_locked(ch->pump, pump_event_new(ch, stalled ? PUMP_EV_STALLED : PUMP_EV_RESUMED));
    }
}

/* Moves all but what would only hang the next lane as well. What is on the device that hangs goes
 * to a lane of its own, so that it holds nobody else up if all of the device does. */
static void evacuate(struct pump *pump, struct pump_lane *hung)
{
    dev_t device = hung->current->device;
    struct pump_lane *to[2] = {pump_lane_find_healthy(pump, false, hung),
                               pump_lane_find_healthy(pump, true, hung)};
    bool tried[2] = {false, false};
    list_each (it, &hung->channels) {
        struct pump_channel *ch = list_entry(it, struct pump_channel, link);
        if (ch == hung->current) {
            continue;
        }
        if (pump_lane_find_hung(pump, ch) != NULL) {
            set_stalled(ch, true);
            continue;
        }
        bool is_trial = device != 0 && ch->device == device;
        if (to[is_trial] == NULL && !tried[is_trial]) {
            tried[is_trial] = true;
            if (pump_lane_start(pump, &to[is_trial], NULL) == 0) {
                to[is_trial]->is_trial = is_trial;
            }
        }
        if (to[is_trial] == NULL) {
            continue; /* too many hang, or no thread to be had: tried again at the next tick */
        }
        hung->moves++;
        pump_lane_remove(ch);
        ch->wants_watch = true;
        pump_lane_add(to[is_trial], ch);
        set_stalled(ch, false);
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
        set_stalled(lane->current, true);
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
