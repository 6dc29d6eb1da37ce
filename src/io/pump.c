/* pump: the loop's side, which only queues and never waits for a disk. */
#include "edgible/pump.h"

#include "edgible/fd.h"
#include "edgible/thread.h"
#include "pump_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void init_locks(struct pump *pump)
{
    pthread_condattr_t attr;
    (void) pthread_condattr_init(&attr);
    (void) pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void) pthread_mutex_init(&pump->lock, NULL);
    (void) pthread_cond_init(&pump->watchdog_wake, &attr);
    (void) pthread_cond_init(&pump->all_done, &attr);
    (void) pthread_cond_init(&pump->unpaused, &attr);
    (void) pthread_condattr_destroy(&attr);
}

static void free_pump(struct pump *pump)
{
    list_each (it, &pump->events) {
        struct pump_queued_event *queued = list_entry(it, struct pump_queued_event, link);
        list_remove(it);
        if (queued->event.type == PUMP_EV_CLOSED) {
            pump_channel_free(queued->event.channel);
        }
        strv_fini(&queued->event.lines);
        free(queued);
    }
    (void) pthread_cond_destroy(&pump->watchdog_wake);
    (void) pthread_cond_destroy(&pump->all_done);
    (void) pthread_cond_destroy(&pump->unpaused);
    free(pump->journal_dir);
    strv_fini(&pump->allowed);
    (void) pthread_mutex_destroy(&pump->lock);
    free(pump);
}

struct pump *pump_new(const char *journal_dir, const struct strv *allowed,
                      void (*notify)(void *arg), void *arg, struct err *err)
{
    struct pump *pump = xcalloc(1, sizeof(*pump));
    pump->journal_dir = xstrdup_or_null(journal_dir);
    pump->is_limited = allowed != NULL;
    if (allowed != NULL) {
        strv_copy(&pump->allowed, allowed);
    }
    pump->drains = true;
    pump->notify = notify;
    pump->arg = arg;
    list_init(&pump->events);
    init_locks(pump);
    pthread_mutex_lock(&pump->lock);
    struct pump_lane *lane = NULL;
    int rc = pump_lane_start(pump, &lane, err);
    pthread_mutex_unlock(&pump->lock);
    if (rc == 0) {
        rc = thread_start(&pump->watchdog, "edgible-logdog", pump_watchdog_main, pump, err);
        if (rc == 0) {
            return pump;
        }
        pthread_mutex_lock(&pump->lock);
        pump->quitting = true;
        pump_lane_wake(lane);
        while (lane->state == PUMP_LANE_RUNNING) {
            pthread_cond_wait(&pump->all_done, &pump->lock);
        }
        pump_lane_join(lane);
        pthread_mutex_unlock(&pump->lock);
    }
    free_pump(pump);
    return NULL;
}

static unsigned count_running(const struct pump *pump)
{
    unsigned count = 0;
    for (size_t i = 0; i < PUMP_MAX_LANES; i++) {
        count += pump->lanes[i].state == PUMP_LANE_RUNNING ? 1 : 0;
    }
    return count;
}

static bool has_running(const struct pump *pump)
{
    return count_running(pump) > 0;
}

static void wake_all(struct pump *pump)
{
    for (size_t i = 0; i < PUMP_MAX_LANES; i++) {
        if (pump->lanes[i].state == PUMP_LANE_RUNNING) {
            pump_lane_wake(&pump->lanes[i]);
        }
    }
}

static struct timespec deadline_in(int max_wait_ms)
{
    struct timespec ts;
    (void) clock_gettime(CLOCK_MONOTONIC, &ts);
    int64_t ns = ts.tv_nsec + (int64_t) (max_wait_ms % 1000) * 1000000;
    ts.tv_sec += max_wait_ms / 1000 + (time_t) (ns / 1000000000);
    ts.tv_nsec = (long) (ns % 1000000000);
    return ts;
}

static void unpause(struct pump *pump)
{
    pump->pausing = false;
    pthread_cond_broadcast(&pump->unpaused);
}

int pump_pause(struct pump *pump, int max_wait_ms, struct err *err)
{
    struct timespec deadline = deadline_in(max_wait_ms);
    pthread_mutex_lock(&pump->lock);
    pump->pausing = true;
    wake_all(pump);
    int rc = 0;
    while (pump->parked < count_running(pump) && rc != ETIMEDOUT) {
        rc = pthread_cond_timedwait(&pump->all_done, &pump->lock, &deadline);
    }
    bool all_parked = pump->parked >= count_running(pump);
    if (!all_parked) {
        unpause(pump);
    }
    pthread_mutex_unlock(&pump->lock);
    return all_parked ? 0 : err_set(err, ERR_HOST, "a log is being written to a disk that hangs");
}

void pump_unpause(struct pump *pump)
{
    pthread_mutex_lock(&pump->lock);
    unpause(pump);
    pthread_mutex_unlock(&pump->lock);
}

const struct pump_log *pump_channel_log(const struct pump_channel *channel)
{
    return &channel->asked.log;
}

struct log_place *pump_channel_place(const struct pump_channel *channel)
{
    return channel->place;
}

int pump_channel_fd(const struct pump_channel *channel)
{
    pthread_mutex_lock(&channel->pump->lock);
    int fd = channel->fd;
    pthread_mutex_unlock(&channel->pump->lock);
    return fd;
}

void pump_leave(struct pump *pump)
{
    pthread_mutex_lock(&pump->lock);
    pump->drains = false;
    pthread_mutex_unlock(&pump->lock);
}

void pump_free(struct pump *pump, int max_wait_ms)
{
    if (pump == NULL) {
        return;
    }
    struct timespec deadline = deadline_in(max_wait_ms);
    pthread_mutex_lock(&pump->lock);
    pump->quitting = true;
    unpause(pump);
    wake_all(pump);
    int rc = 0;
    while (has_running(pump) && rc != ETIMEDOUT) {
        rc = pthread_cond_timedwait(&pump->all_done, &pump->lock, &deadline);
    }
    /* The watchdog was needed until now: it frees channels from a lane that hangs. */
    pump->watchdog_done = true;
    pthread_cond_signal(&pump->watchdog_wake);
    pump->orphaned = has_running(pump);
    pthread_mutex_unlock(&pump->lock);
    (void) pthread_join(pump->watchdog, NULL);
    pthread_mutex_lock(&pump->lock);
    bool left_behind = false;
    for (size_t i = 0; i < PUMP_MAX_LANES; i++) {
        pump_lane_join(&pump->lanes[i]);
        if (pump->lanes[i].state == PUMP_LANE_RUNNING) {
            (void) pthread_detach(pump->lanes[i].thread);
            left_behind = true;
        }
    }
    wake_all(pump);
    pthread_mutex_unlock(&pump->lock);
    if (!left_behind) {
        free_pump(pump);
    }
}

static struct pump_command *command_new(enum pump_command_type type)
{
    struct pump_command *cmd = xcalloc(1, sizeof(*cmd));
    cmd->type = type;
    cmd->fd = -1;
    return cmd;
}

static void send_command(struct pump_channel *ch, struct pump_command *take_cmd)
{
    struct pump *pump = ch->pump;
    pthread_mutex_lock(&pump->lock);
    list_add_tail(&ch->commands, &take_cmd->link);
    list_remove(&ch->todo);
    list_add_tail(&ch->lane->todo, &ch->todo);
    pump_lane_wake(ch->lane);
    pthread_mutex_unlock(&pump->lock);
}

void pump_command_free(struct pump_command *cmd)
{
    if (cmd != NULL) {
        pump_log_copy_fini(&cmd->log);
        fd_close(&cmd->fd);
        free(cmd);
    }
}

struct pump_channel *pump_open(struct pump *pump, const struct pump_log *log, void *owner)
{
    struct pump_channel *ch = xcalloc(1, sizeof(*ch));
    ch->pump = pump;
    ch->owner = owner;
    ch->file = logfile_new(log);
    pump_log_copy(&ch->asked, log);
    ch->place = log_place_new();
    logfile_set_place(ch->file, ch->place);
    ch->uid = log->owner.uid;
    ch->fd = -1;
    ch->wd = -1;
    ch->due_ms = -1;
    ch->check_ms = -1;
    list_init(&ch->link);
    list_init(&ch->todo);
    list_init(&ch->timed);
    list_init(&ch->hot);
    list_init(&ch->commands);
    pthread_mutex_lock(&pump->lock);
    struct pump_lane *lane = pump_lane_find_healthy(pump, false, NULL);
    for (size_t i = 0; i < PUMP_MAX_LANES && lane == NULL; i++) {
        /* All hang: the watchdog will move it to a lane of its own if it can. */
        lane = pump->lanes[i].state == PUMP_LANE_RUNNING ? &pump->lanes[i] : NULL;
    }
    pump_lane_add(lane, ch);
    pthread_mutex_unlock(&pump->lock);
    send_command(ch, command_new(PUMP_CMD_OPEN));
    return ch;
}

void pump_reopen(struct pump_channel *channel)
{
    send_command(channel, command_new(PUMP_CMD_OPEN));
}

bool pump_configure(struct pump_channel *channel, const struct pump_log *log)
{
    const struct pump_log *asked = &channel->asked.log;
    bool is_anew = !pump_log_is_judged_alike(asked, log);
    if (!is_anew && asked->max_size_bytes == log->max_size_bytes &&
        asked->max_files == log->max_files) {
        return false;
    }
    struct pump_command *cmd = command_new(PUMP_CMD_CONFIGURE);
    cmd->is_anew = is_anew;
    pump_log_copy(&cmd->log, log);
    pump_log_copy(&channel->asked, log);
    send_command(channel, cmd);
    return is_anew;
}

void pump_attach(struct pump_channel *channel, int take_fd, uint64_t run, bool continues)
{
    struct pump_command *cmd = command_new(PUMP_CMD_ATTACH);
    cmd->fd = take_fd;
    cmd->run = run;
    cmd->continues = continues;
    send_command(channel, cmd);
}

void pump_tail(struct pump_channel *channel)
{
    send_command(channel, command_new(PUMP_CMD_TAIL));
}

void pump_close(struct pump_channel *channel)
{
    send_command(channel, command_new(PUMP_CMD_CLOSE));
}
