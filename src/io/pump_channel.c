/* pump: what a lane does with a channel while it holds it. All of it may block. */
#include "edgible/fault.h"
#include "edgible/fd.h"
#include "pump_private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

void pump_channel_free(struct pump_channel *ch)
{
    list_each (it, &ch->commands) {
        struct pump_command *cmd = list_entry(it, struct pump_command, link);
        list_remove(it);
        pump_command_free(cmd);
    }
    fd_close(&ch->fd);
    logfile_free(ch->file);
    log_place_close(ch->place);
    log_place_unref(ch->place);
    pump_log_copy_fini(&ch->asked);
    free(ch);
}

void pump_channel_hang_up(const struct pump_lane *lane, struct pump_channel *ch)
{
    if (ch->fd >= 0) {
        /* Before the close: another holder of the pipe's description would keep it in the set. */
        (void) epoll_ctl(lane->epoll_fd, EPOLL_CTL_DEL, ch->fd, NULL);
        fd_close(&ch->fd);
    }
}

/* Carries at most max bytes, in one go; returns how many. */
static size_t carry_batch(struct pump_lane *lane, struct pump_channel *ch, size_t max)
{
    pump_journal_map(&lane->journal);
    size_t want = pump_journal_begin(&lane->journal, ch->file, ch->fd, max);
    ssize_t n = read(ch->fd, lane->journal.batch, want);
    FAULT_POINT("log-read");
    pump_journal_hold(&lane->journal, ch->file, n > 0 ? (size_t) n : 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return 0;
    }
    if (n <= 0) {
        pump_channel_hang_up(lane, ch);
        return 0;
    }
    unsigned happened = logfile_write(ch->file, lane->journal.batch, (size_t) n, pump_now_ms());
    FAULT_POINT("log-written");
    pump_journal_end(&lane->journal, ch->file);
    pump_report(ch, happened);
    if ((happened & LOGFILE_REOPENED) != 0) {
        ch->check_ms = pump_now_ms(); /* its folder may be another one: watch that */
    }
    lane->moved_bytes += (size_t) n;
    lane->had_full_batch = lane->had_full_batch || (size_t) n == PUMP_BATCH_BYTES;
    return (size_t) n;
}

size_t pump_channel_carry(struct pump_lane *lane, struct pump_channel *ch)
{
    return ch->fd >= 0 ? carry_batch(lane, ch, PUMP_BATCH_BYTES) : 0;
}

void pump_channel_drain(struct pump_lane *lane, struct pump_channel *ch)
{
    int held = 0;
    /* Bounded by what it holds now: a child left behind may write to it for ever. */
    if (ch->fd < 0 || ioctl(ch->fd, FIONREAD, &held) < 0) {
        return;
    }
    size_t left = (size_t) held;
    while (left > 0 && ch->fd >= 0) {
        size_t n = carry_batch(lane, ch, left < PUMP_BATCH_BYTES ? left : PUMP_BATCH_BYTES);
        if (n == 0) {
            break;
        }
        left -= n;
    }
}

void pump_channel_watch(struct pump_lane *lane, struct pump_channel *ch)
{
    int old = ch->wd;
    ch->wd = pump_watch_add(lane, ch);
    if (ch->wd != old) {
        pthread_mutex_lock(&lane->pump->lock);
        pump_watch_drop(lane, old);
        pthread_mutex_unlock(&lane->pump->lock);
    }
    /* What went between the opening of the file and this watch, nobody will tell. */
    if (!logfile_is_in_place(ch->file)) {
        ch->check_ms = pump_now_ms() + PUMP_LOOK_AFTER_MS;
    }
}

int64_t pump_channel_next_ms(const struct pump_channel *ch)
{
    int64_t tick = logfile_next_tick_ms(ch->file);
    if (ch->check_ms < 0 || (tick >= 0 && tick < ch->check_ms)) {
        return tick;
    }
    return ch->check_ms;
}

void pump_channel_tick(struct pump_lane *lane, struct pump_channel *ch, int64_t now_ms)
{
    unsigned happened = logfile_tick(ch->file, now_ms);
    if (ch->check_ms >= 0 && now_ms >= ch->check_ms) {
        ch->check_ms = -1;
        happened |= logfile_check(ch->file, now_ms);
        pump_channel_watch(lane, ch);
    }
    pump_report(ch, happened);
}

static void open_file(struct pump_lane *lane, struct pump_channel *ch)
{
    struct err err = {.code = 0};
    unsigned happened = 0;
    ch->is_open = logfile_open(ch->file, pump_now_ms(), &happened, &err) == 0;
    struct pump_queued_event *queued =
        pump_event_new(ch, ch->is_open ? PUMP_EV_OPENED : PUMP_EV_OPEN_FAILED);
    if (!ch->is_open) {
        queued->event.error = err.code;
        (void) snprintf(queued->event.message, sizeof(queued->event.message), "%.255s", err.msg);
    }
    pump_post(ch, queued);
    pump_report(ch, happened);
    pump_channel_watch(lane, ch);
}

static void configure(struct pump_lane *lane, struct pump_channel *ch,
                      const struct pump_command *cmd)
{
    const struct pump_log *log = &cmd->log.log;
    if (cmd->is_anew) {
        pump_channel_drain(lane, ch);
        logfile_close(ch->file);
    }
    if (strcmp(log->file, logfile_path(ch->file)) == 0) {
        bool keeps_fewer = logfile_set_limits(ch->file, log);
        if (cmd->is_anew || !ch->is_open) {
            open_file(lane, ch);
        } else if (keeps_fewer) {
            logfile_trim(ch->file);
        }
        return;
    }
    struct logfile_counters old = logfile_counters(ch->file);
    ch->before.bytes_written += old.bytes_written;
    ch->before.bytes_dropped += old.bytes_dropped;
    ch->before.rotations += old.rotations;
    logfile_free(ch->file);
    ch->file = logfile_new(log);
    logfile_set_place(ch->file, ch->place);
    dev_t device = logfile_device(ch->file);
    pthread_mutex_lock(&lane->pump->lock);
    ch->device = device; /* before it is opened, which may hang there */
    pthread_mutex_unlock(&lane->pump->lock);
    open_file(lane, ch);
    logfile_begin_run(ch->file, false);
}

static void attach(struct pump_lane *lane, struct pump_channel *ch, struct pump_command *cmd)
{
    pump_channel_drain(lane, ch);
    pump_channel_hang_up(lane, ch);
    logfile_begin_run(ch->file, cmd->continues);
    ch->run = cmd->run;
    pthread_mutex_lock(&lane->pump->lock);
    ch->fd = steal_fd(&cmd->fd);
    pump_lane_listen(lane, ch);
    pthread_mutex_unlock(&lane->pump->lock);
}

static void answer_tail(struct pump_lane *lane, struct pump_channel *ch)
{
    pump_channel_drain(lane, ch);
    struct pump_queued_event *queued = pump_event_new(ch, PUMP_EV_TAIL);
    queued->event.run = ch->run;
    logfile_tail(ch->file, &queued->event.lines);
    pump_post(ch, queued);
}

void pump_channel_do(struct pump_lane *lane, struct pump_channel *ch, struct pump_command *take_cmd)
{
    CLEANUP(pump_command) struct pump_command *cmd = take_cmd;
    switch (cmd->type) {
    case PUMP_CMD_OPEN:
        open_file(lane, ch);
        break;
    case PUMP_CMD_CONFIGURE:
        configure(lane, ch, cmd);
        break;
    case PUMP_CMD_ATTACH:
        attach(lane, ch, cmd);
        break;
    case PUMP_CMD_TAIL:
        answer_tail(lane, ch);
        break;
    case PUMP_CMD_CLOSE:
        pump_channel_drain(lane, ch);
        pump_channel_hang_up(lane, ch);
        /* Here and not on the loop's thread: closing a file may block, too. */
        logfile_free(steal_ptr(&ch->file));
        break;
    }
}
