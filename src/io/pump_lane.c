/* pump: a lane, the thread that carries some of the channels. */
#include "edgible/fd.h"
#include "edgible/thread.h"
#include "pump_private.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MAX_EVENTS 64
/* A turn that moved less than PAUSE_BYTES is followed by a pause only in a streak of turns. */
#define PAUSE_BYTES ((size_t) 16 * 1024)
#define PAUSE_MIN_US 200
#define PAUSE_MAX_US 2000
#define STREAK_GAP_US 4000
#define STREAK_TURNS 4
/* A streaming pipe that gave less in a round is quiet again. */
#define COOL_BYTES ((size_t) 4 * 1024)
/* So long without work, and the buffer is given back. */
#define IDLE_MS 2000
/* Between two reads of what epoll has no room for. */
#define UNWATCHED_MS 100

static int64_t now_us(void)
{
    struct timespec ts;
    (void) clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t pump_now_ms(void)
{
    return now_us() / 1000;
}

void pump_lane_wake(const struct pump_lane *lane)
{
    uint64_t one = 1;
    (void) !write(lane->wake_fd, &one, sizeof(one));
}

void pump_lane_set_timer(struct pump_channel *ch, int64_t due_ms)
{
    ch->due_ms = due_ms;
    list_remove(&ch->timed);
    if (due_ms >= 0) {
        list_add_tail(&ch->lane->timed, &ch->timed);
    }
}

/* False: any process of the user can have used up the watches that it may have. */
static bool watch(struct pump_lane *lane, int fd, void *ptr)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = ptr};
    if (fd < 0 || epoll_ctl(lane->epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0 || errno == EEXIST) {
        return true;
    }
    if (!lane->pump->told_unwatched) {
        lane->pump->told_unwatched = true;
        struct pump_queued_event *queued = xcalloc(1, sizeof(*queued));
        queued->event.type = PUMP_EV_UNWATCHED;
        pump_post_locked(lane->pump, queued);
    }
    return false;
}

void pump_lane_listen(struct pump_lane *lane, struct pump_channel *ch)
{
    ch->is_unwatched = !watch(lane, ch->fd, ch);
    list_remove(&ch->hot);
    if (ch->is_unwatched) {
        list_add_tail(&lane->hot, &ch->hot);
    }
}

void pump_lane_add(struct pump_lane *lane, struct pump_channel *ch)
{
    ch->lane = lane;
    list_add_tail(&lane->channels, &ch->link);
    pump_lane_set_timer(ch, ch->due_ms);
    if (!list_is_empty(&ch->commands) || ch->wants_watch) {
        list_add_tail(&lane->todo, &ch->todo);
    }
    pump_lane_listen(lane, ch);
    pump_lane_wake(lane);
}

void pump_lane_remove(struct pump_channel *ch)
{
    if (ch->fd >= 0) {
        (void) epoll_ctl(ch->lane->epoll_fd, EPOLL_CTL_DEL, ch->fd, NULL);
    }
    list_remove(&ch->link);
    list_remove(&ch->todo);
    list_remove(&ch->timed);
    list_remove(&ch->hot);
    ch->wd = -1; /* the watch stays behind: others may use it, and a stray one does no harm */
}

struct pump_lane *pump_lane_find_healthy(struct pump *pump, bool is_trial,
                                         const struct pump_lane *but)
{
    for (size_t i = 0; i < PUMP_MAX_LANES; i++) {
        struct pump_lane *lane = &pump->lanes[i];
        if (lane != but && lane->state == PUMP_LANE_RUNNING && !lane->stalled &&
            lane->is_trial == is_trial) {
            return lane;
        }
    }
    return NULL;
}

struct pump_lane *pump_lane_find_hung(struct pump *pump, const struct pump_channel *ch)
{
    const struct pump_channel *first = NULL;
    for (size_t i = 0; i < PUMP_MAX_LANES && ch->device != 0; i++) {
        struct pump_lane *lane = &pump->lanes[i];
        const struct pump_channel *at = lane->current;
        if (lane->state != PUMP_LANE_RUNNING || !lane->stalled || at == NULL ||
            at->device != ch->device) {
            continue;
        }
        if (first != NULL && (at->uid != first->uid || at->uid == ch->uid)) {
            return lane;
        }
        first = first != NULL ? first : at;
    }
    return NULL;
}

/* Called with the lock held, which is released where the channel was taken. Otherwise the channel
 * has gone to a lane that hangs on its device already: two lanes a device are enough. */
static bool take_channel(struct pump_lane *lane, struct pump_channel *ch)
{
    struct pump *pump = lane->pump;
    if (pump->stalled_lanes > 0) {
        struct pump_lane *hung = pump_lane_find_hung(pump, ch);
        if (hung != NULL) {
            pump_lane_remove(ch);
            ch->wants_watch = true;
            pump_lane_add(hung, ch);
            ch->stalled = true;
            pump_post_locked(pump, pump_event_new(ch, PUMP_EV_STALLED));
            return false;
        }
    }
    lane->current = ch;
    lane->busy_since_ms = pump_now_ms();
    lane->turns++;
    if (pump->watchdog_sleeps) {
        pthread_cond_signal(&pump->watchdog_wake);
    }
    pthread_mutex_unlock(&pump->lock);
    return true;
}

static void end_stall(struct pump_lane *lane)
{
    struct pump *pump = lane->pump;
    lane->stalled = false;
    pump->stalled_lanes--;
    for (size_t i = 0; i < PUMP_MAX_LANES; i++) {
        if (pump->lanes[i].state == PUMP_LANE_RUNNING && pump->lanes[i].is_trial) {
            pump_lane_wake(&pump->lanes[i]); /* it may hand over */
        }
    }
    list_each (it, &lane->channels) {
        struct pump_channel *ch = list_entry(it, struct pump_channel, link);
        if (ch->stalled) {
            ch->stalled = false;
            pump_post_locked(pump, pump_event_new(ch, PUMP_EV_RESUMED));
        }
    }
}

/* Gives the channel back; the lock is held again afterwards. */
static void release_channel(struct pump_lane *lane)
{
    struct pump_channel *ch = lane->current;
    int64_t due_ms = ch->file != NULL ? pump_channel_next_ms(ch) : -1;
    dev_t device = ch->file != NULL && ch->is_open ? logfile_device(ch->file) : ch->device;
    pthread_mutex_lock(&lane->pump->lock);
    ch->device = device;
    pump_lane_set_timer(ch, due_ms);
    lane->current = NULL;
    if (lane->stalled) {
        end_stall(lane);
    }
}

/* One command, or the watch after a change of lanes. */
static void serve_channel(struct pump_lane *lane, struct pump_channel *ch)
{
    struct pump_command *cmd = NULL;
    dev_t device = 0;
    if (ch->device == 0) {
        /* Looked up before anything is done that could hang, so that the watchdog knows. */
        if (take_channel(lane, ch)) {
            device = logfile_device(ch->file);
            release_channel(lane);
            ch->device = device != 0 ? device : (dev_t) -1;
        }
        return;
    }
    if (!take_channel(lane, ch)) {
        return;
    }
    pthread_mutex_lock(&lane->pump->lock);
    if (!list_is_empty(&ch->commands)) {
        cmd = list_entry(ch->commands.next, struct pump_command, link);
        list_remove(&cmd->link);
        ch->uid = cmd->type == PUMP_CMD_CONFIGURE ? cmd->log.log.owner.uid : ch->uid;
    }
    bool wants_watch = ch->wants_watch;
    ch->wants_watch = false;
    pthread_mutex_unlock(&lane->pump->lock);
    bool closes = cmd != NULL && cmd->type == PUMP_CMD_CLOSE;
    if (cmd != NULL) {
        pump_channel_do(lane, ch, cmd);
    }
    if (wants_watch && ch->file != NULL) {
        pump_channel_watch(lane, ch);
    }
    release_channel(lane);
    if (closes) {
        int wd = ch->wd;
        pump_lane_remove(ch);
        pump_watch_drop(lane, wd);
        pump_post_locked(lane->pump, pump_event_new(ch, PUMP_EV_CLOSED));
    } else if (list_is_empty(&ch->commands)) {
        list_remove(&ch->todo);
    }
}

static void serve_todo(struct pump_lane *lane)
{
    while (!list_is_empty(&lane->todo)) {
        serve_channel(lane, list_entry(lane->todo.next, struct pump_channel, todo));
    }
}

/*
 * Once a pipe was polled, each write to it wakes its pollers, which costs a writer of short lines
 * a tenth of its speed. So a pipe that streams leaves the set and is read each round.
 */
static void set_hot(struct pump_lane *lane, struct pump_channel *ch, size_t bytes)
{
    bool is_hot = !list_is_empty(&ch->hot);
    ch->is_unwatched = ch->is_unwatched && bytes < COOL_BYTES;
    if (!is_hot && bytes >= PAUSE_BYTES && ch->fd >= 0 &&
        epoll_ctl(lane->epoll_fd, EPOLL_CTL_DEL, ch->fd, NULL) == 0) {
        list_add_tail(&lane->hot, &ch->hot);
    } else if (is_hot && bytes < COOL_BYTES) {
        pump_lane_listen(lane, ch);
    }
}

/* One batch of one pipe. False: some of the other channels may be on another lane by now. */
static bool serve_pipe(struct pump_lane *lane, struct pump_channel *ch)
{
    unsigned moves = lane->moves;
    if (take_channel(lane, ch)) {
        size_t bytes = pump_channel_carry(lane, ch);
        release_channel(lane);
        set_hot(lane, ch, bytes);
    }
    return lane->moves == moves && !lane->pump->orphaned && !lane->pump->pausing;
}

static void serve_pipes(struct pump_lane *lane, const struct epoll_event *events, int count)
{
    struct list round;
    list_init(&round);
    bool looks = pump_now_ms() >= lane->look_ms;
    lane->look_ms = looks ? pump_now_ms() + UNWATCHED_MS : lane->look_ms;
    while (!list_is_empty(&lane->hot)) {
        struct list *link = lane->hot.next;
        list_remove(link);
        list_add_tail(&round, link);
    }
    bool go_on = true;
    while (!list_is_empty(&round)) {
        struct pump_channel *ch = list_entry(round.next, struct pump_channel, hot);
        list_remove(&ch->hot);
        list_add_tail(&lane->hot, &ch->hot);
        go_on = go_on && ((ch->is_unwatched && !looks) || serve_pipe(lane, ch));
    }
    for (int i = 0; i < count && go_on; i++) {
        if (events[i].data.ptr != NULL) {
            go_on = serve_pipe(lane, events[i].data.ptr);
        }
    }
}

static void serve_timers(struct pump_lane *lane, int64_t now_ms)
{
    for (;;) {
        struct pump_channel *due = NULL;
        list_each (it, &lane->timed) {
            struct pump_channel *ch = list_entry(it, struct pump_channel, timed);
            if (ch->due_ms <= now_ms) {
                due = ch;
                break;
            }
        }
        if (due == NULL) {
            return;
        }
        if (take_channel(lane, due)) {
            pump_channel_tick(lane, due, now_ms);
            release_channel(lane);
        }
    }
}

/* Milliseconds to sleep at most; -1: until something happens. Gives the buffer back in idle times.
 */
static int next_timeout(struct pump_lane *lane)
{
    int64_t now_ms = pump_now_ms();
    int64_t due = lane->is_deaf ? now_ms + UNWATCHED_MS : -1;
    list_each (it, &lane->hot) {
        bool is_slow = list_entry(it, struct pump_channel, hot)->is_unwatched;
        int64_t at = is_slow ? lane->look_ms : now_ms;
        due = due < 0 || at < due ? at : due;
    }
    list_each (it, &lane->timed) {
        int64_t at = list_entry(it, struct pump_channel, timed)->due_ms;
        due = due < 0 || at < due ? at : due;
    }
    if (lane->journal.head != NULL) {
        int64_t idle_at = lane->last_turn_us / 1000 + IDLE_MS;
        if (now_ms >= idle_at) {
            pump_journal_unmap(&lane->journal);
        } else {
            due = due < 0 || idle_at < due ? idle_at : due;
        }
    }
    if (due < 0) {
        return -1;
    }
    return due <= now_ms ? 0 : (int) (due - now_ms > 60000 ? 60000 : due - now_ms + 1);
}

/*
 * A pause lets small writes gather into a large batch, which saves more CPU than anything else. As
 * long as it takes to fill a quarter of a pipe at the present rate, so that the writer need not
 * wait; none for a program that prints now and then, whose lines should land at once.
 */
static void pause_to_gather(struct pump_lane *lane)
{
    if (lane->moved_bytes == 0) {
        return;
    }
    int64_t now = now_us();
    int64_t gap_us = now - lane->last_turn_us + 1;
    lane->streak = gap_us < STREAK_GAP_US ? lane->streak + 1 : 0;
    int64_t pause_us = gap_us * (PUMP_PIPE_BYTES / 4) / (int64_t) lane->moved_bytes;
    pause_us = pause_us < PAUSE_MAX_US ? pause_us : PAUSE_MAX_US;
    if (!lane->had_full_batch && pause_us >= PAUSE_MIN_US &&
        (lane->moved_bytes >= PAUSE_BYTES || lane->streak >= STREAK_TURNS)) {
        struct timespec ts = {.tv_nsec = (long) (pause_us * 1000)};
        (void) nanosleep(&ts, NULL);
    }
    lane->last_turn_us = now;
    lane->moved_bytes = 0;
    lane->had_full_batch = false;
}

/* The last turn: everything the pipes hold, where somebody waits for that. */
static void drain_all(struct pump_lane *lane)
{
    serve_todo(lane);
    while (!list_is_empty(&lane->channels) && !lane->pump->orphaned) {
        struct pump_channel *ch = list_entry(lane->channels.next, struct pump_channel, link);
        if (take_channel(lane, ch)) {
            if (lane->pump->drains) {
                pump_channel_drain(lane, ch);
                pump_channel_tick(lane, ch, pump_now_ms());
            }
            pump_channel_hang_up(lane, ch);
            logfile_free(steal_ptr(&ch->file));
            release_channel(lane);
            pump_lane_remove(ch);
            pump_channel_free(ch);
        }
    }
}

/* A lane that hung is not needed once it is back: another one took over meanwhile; nor is one on
 * trial once none hangs. Normally there is one thread. */
static bool hand_over(struct pump_lane *lane)
{
    struct pump_lane *other = pump_lane_find_healthy(lane->pump, false, lane);
    if (other == NULL) {
        return false;
    }
    list_each (it, &lane->channels) {
        struct pump_channel *ch = list_entry(it, struct pump_channel, link);
        pump_lane_remove(ch);
        ch->wants_watch = true;
        pump_lane_add(other, ch);
    }
    return true;
}

static void close_lane(struct pump_lane *lane)
{
    fd_close(&lane->epoll_fd);
    fd_close(&lane->wake_fd);
    fd_close(&lane->inotify_fd);
    pump_journal_fini(&lane->journal);
}

/* Stands still between two batches while that is asked for; lock held. */
static void park(struct pump_lane *lane)
{
    struct pump *pump = lane->pump;
    pump->parked++;
    pthread_cond_broadcast(&pump->all_done);
    while (pump->pausing) {
        pthread_cond_wait(&pump->unpaused, &pump->lock);
    }
    pump->parked--;
}

static void hear(struct pump_lane *lane)
{
    bool is_woken = watch(lane, lane->wake_fd, lane);
    lane->is_deaf = !watch(lane, lane->inotify_fd, &lane->inotify_fd) || !is_woken;
}

/* One round; lock held before and after. False: the thread ends. */
static bool run_once(struct pump_lane *lane)
{
    struct pump *pump = lane->pump;
    struct epoll_event events[MAX_EVENTS];
    if (pump->pausing) {
        park(lane);
    }
    if (lane->is_deaf) {
        hear(lane);
    }
    int timeout = next_timeout(lane);
    pthread_mutex_unlock(&pump->lock);
    int count = epoll_wait(lane->epoll_fd, events, MAX_EVENTS, timeout);
    pthread_mutex_lock(&pump->lock);
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr == lane) {
            uint64_t times;
            (void) !read(lane->wake_fd, &times, sizeof(times));
            events[i].data.ptr = NULL;
        } else if (events[i].data.ptr == &lane->inotify_fd) {
            pump_watch_read(lane, pump_now_ms());
            events[i].data.ptr = NULL;
        }
    }
    unsigned moves = lane->moves;
    if (list_is_empty(&lane->todo)) {
        serve_pipes(lane, events, count);
    } else {
        serve_todo(lane); /* may end channels that are among the events: ask epoll again */
    }
    serve_timers(lane, pump_now_ms());
    bool is_over = lane->moves != moves || (lane->is_trial && pump->stalled_lanes == 0);
    if (is_over && hand_over(lane)) {
        return false;
    }
    if (pump->quitting) {
        drain_all(lane);
        return !list_is_empty(&lane->channels) && !pump->orphaned;
    }
    pthread_mutex_unlock(&pump->lock);
    pause_to_gather(lane);
    pthread_mutex_lock(&pump->lock);
    return true;
}

static void on_refused(struct pump *pump, uint64_t bytes, const struct err *err)
{
    struct pump_queued_event *queued = xcalloc(1, sizeof(*queued));
    queued->event.type = PUMP_EV_LOST;
    queued->event.bytes = bytes;
    queued->event.error = err->code;
    (void) snprintf(queued->event.message, sizeof(queued->event.message), "%.255s", err->msg);
    pthread_mutex_lock(&pump->lock);
    pump_post_locked(pump, queued);
    pthread_mutex_unlock(&pump->lock);
}

static void *lane_main(void *arg)
{
    struct pump_lane *lane = arg;
    struct pump *pump = lane->pump;
    if (lane == &pump->lanes[0] && pump->journal_dir != NULL && !pump->recovered) {
        /* Here, since it may block, and before anything else is written. */
        pump_journal_recover(pump->journal_dir, pump->is_limited ? &pump->allowed : NULL,
                             on_refused, pump);
        pump->recovered = true;
    }
    pthread_mutex_lock(&pump->lock);
    while (run_once(lane)) {
    }
    close_lane(lane);
    lane->state = PUMP_LANE_FINISHED;
    pthread_cond_broadcast(&pump->all_done);
    pthread_mutex_unlock(&pump->lock);
    return NULL;
}

static int open_lane(struct pump_lane *lane, struct err *err)
{
    lane->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    lane->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    lane->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (lane->epoll_fd < 0 || lane->wake_fd < 0) {
        return err_set(err, errno, "prepare a log thread");
    }
    hear(lane);
    return 0;
}

void pump_lane_join(struct pump_lane *lane)
{
    if (lane->state == PUMP_LANE_FINISHED) {
        /* Its last act under the lock was to say so: this does not wait. */
        (void) pthread_join(lane->thread, NULL);
        lane->state = PUMP_LANE_FREE;
    }
}

int pump_lane_start(struct pump *pump, struct pump_lane **ret_lane, struct err *err)
{
    for (size_t i = 0; i < PUMP_MAX_LANES; i++) {
        struct pump_lane *lane = &pump->lanes[i];
        pump_lane_join(lane);
        if (lane->state != PUMP_LANE_FREE) {
            continue;
        }
        *lane = (struct pump_lane){.pump = pump, .state = PUMP_LANE_RUNNING};
        list_init(&lane->channels);
        list_init(&lane->todo);
        list_init(&lane->timed);
        list_init(&lane->hot);
        pump_journal_init(&lane->journal, pump->journal_dir, i);
        if (open_lane(lane, err) < 0 ||
            thread_start(&lane->thread, "edgible-log", lane_main, lane, err) < 0) {
            close_lane(lane);
            lane->state = PUMP_LANE_FREE;
            return -1;
        }
        *ret_lane = lane;
        return 0;
    }
    return err_set(err, EAGAIN, "all %d log threads hang", PUMP_MAX_LANES);
}
