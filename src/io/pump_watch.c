/*
 * pump: notices that a quiet program's log file is gone. An inotify watch on its folder, so that
 * nobody has to look again and again. The look itself comes a little later: `rm -r` must be
 * through with the folder, and a rotation of our own with its renames.
 */
#include "pump_private.h"

#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#define WATCH_MASK                                                                                 \
    (IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

int pump_watch_add(const struct pump_lane *lane, const struct pump_channel *ch)
{
    return lane->inotify_fd >= 0 ? logfile_watch_folder(ch->file, lane->inotify_fd, WATCH_MASK)
                                 : -1;
}

void pump_watch_drop(const struct pump_lane *lane, int wd)
{
    if (wd < 0) {
        return;
    }
    list_each (it, &lane->channels) {
        if (list_entry(it, struct pump_channel, link)->wd == wd) {
            return;
        }
    }
    (void) inotify_rm_watch(lane->inotify_fd, wd);
}

static bool is_about(const struct inotify_event *event, const struct pump_channel *ch)
{
    if ((event->mask & IN_Q_OVERFLOW) != 0) {
        return true;
    }
    if (event->wd != ch->wd) {
        return false;
    }
    const char *base = strrchr(logfile_path(ch->file), '/');
    return event->len == 0 || (base != NULL && strcmp(event->name, base + 1) == 0);
}

static void note_event(struct pump_lane *lane, const struct inotify_event *event, int64_t now_ms)
{
    list_each (it, &lane->channels) {
        struct pump_channel *ch = list_entry(it, struct pump_channel, link);
        if (is_about(event, ch) && ch->check_ms < 0) {
            ch->check_ms = now_ms + PUMP_LOOK_AFTER_MS;
            pump_lane_set_timer(ch, pump_channel_next_ms(ch));
        }
    }
}

void pump_watch_read(struct pump_lane *lane, int64_t now_ms)
{
    char block[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t n = read(lane->inotify_fd, block, sizeof(block));
    for (ssize_t at = 0; at < n;) {
        const struct inotify_event *event = (const void *) (block + at);
        note_event(lane, event, now_ms);
        at += (ssize_t) (sizeof(*event) + event->len);
    }
}
