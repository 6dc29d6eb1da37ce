#include "edgible/watch.h"

#include "edgible/fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

struct watch {
    int fd;
    struct loop_io *io;
    watch_fn fn;
    void *arg;
    bool *freed; /* set while events are handed out, so that the callback may free the watch */
};

static enum watch_change change_of(uint32_t mask)
{
    if ((mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED)) != 0) {
        return WATCH_LOST;
    }
    if ((mask & IN_Q_OVERFLOW) != 0) {
        return WATCH_UNKNOWN;
    }
    if ((mask & (IN_CLOSE_WRITE | IN_MOVED_TO)) != 0) {
        return WATCH_COMPLETE;
    }
    if ((mask & (IN_DELETE | IN_MOVED_FROM)) != 0) {
        return WATCH_REMOVED;
    }
    return (mask & IN_ATTRIB) != 0 ? WATCH_TOUCHED : WATCH_WRITING;
}

/* Reads one batch, so that a busy directory does not starve the rest. */
static bool on_readable(void *arg)
{
    struct watch *watch = arg;
    char batch[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t len = read(watch->fd, batch, sizeof(batch));
    if (len <= 0) {
        return false;
    }
    bool freed = false;
    watch->freed = &freed;
    for (ssize_t at = 0; at < len && !freed;) {
        struct inotify_event head;
        memcpy(&head, batch + at, sizeof(head));
        const char *name = head.len > 0 ? batch + at + sizeof(head) : "";
        at += (ssize_t) (sizeof(head) + head.len);
        watch->fn(watch->arg, change_of(head.mask), name);
    }
    if (!freed) {
        watch->freed = NULL;
    }
    return true;
}

/* The kernel's words for a limit name no limit: "Too many open files", "No space left on device".
 */
static void set_watch_err(struct err *err, int cause, const char *directory, const char *limit)
{
    (void) err_set(err, cause, "watch '%s'%s%s%s", directory,
                   limit != NULL ? ": the limit of inotify is reached (" : "",
                   limit != NULL ? limit : "", limit != NULL ? ")" : "");
}

struct watch *watch_new(struct loop *loop, const char *directory, watch_fn fn, void *arg,
                        struct err *err)
{
    CLEANUP(close_fd) int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (fd < 0) {
        set_watch_err(err, errno, directory,
                      errno == EMFILE ? "fs.inotify.max_user_instances" : NULL);
        return NULL;
    }
    uint32_t mask = IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM |
                    IN_DELETE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
    if (inotify_add_watch(fd, directory, mask) < 0) {
        set_watch_err(err, errno, directory,
                      errno == ENOSPC ? "fs.inotify.max_user_watches" : NULL);
        return NULL;
    }
    struct watch *watch = xcalloc(1, sizeof(*watch));
    watch->fd = steal_fd(&fd);
    watch->fn = fn;
    watch->arg = arg;
    watch->io = loop_io_new(loop, watch->fd, on_readable, watch);
    return watch;
}

void watch_free(struct watch *watch)
{
    if (watch == NULL) {
        return;
    }
    if (watch->freed != NULL) {
        *watch->freed = true;
    }
    loop_io_free(watch->io);
    (void) close(watch->fd);
    free(watch);
}
