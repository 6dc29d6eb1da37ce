/*
 * The files of a log that is read while it is written. Which file follows which is told by
 * log_place: the file of number n is `file`.(rotations - n), and what is found under a name counts
 * only where no rotation came in between. All of this runs on the reader's thread and may block.
 */
#include "edgible/buf.h"
#include "edgible/fd.h"
#include "edgible/pump.h"
#include "log_reader_private.h"
#include "logfile_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BACK_BLOCK (64UL * 1024)
#define STABLE_TRIES 200

void log_files_init(struct log_files *files, const struct pump_log *log, struct log_place *place)
{
    *files = (struct log_files){
        .path = xstrdup(log->file),
        .way = logfile_new(log),
        .max_files = log->max_files,
        .place = log_place_ref(place),
        .fd = -1,
        .inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK),
    };
}

static void close_older(struct log_files *files)
{
    while (files->older_count > 0) {
        fd_close(&files->older[--files->older_count]);
    }
}

void log_files_fini(struct log_files *files)
{
    close_older(files);
    fd_close(&files->fd);
    fd_close(&files->inotify_fd);
    log_place_unref(files->place);
    logfile_free(files->way);
    free(files->path);
}

static int open_number_entered(const struct log_files *files, uint64_t n, struct err *err)
{
    CLEANUP(close_fd) int dir = -1;
    CLEANUP(free)
    char *name =
        n > 0 ? logfile_rotated_name(files->way, (unsigned) n) : xstrdup(logfile_base(files->way));
    if (logfile_open_dir(files->way, false, &dir, err) < 0) {
        return -1;
    }
    CLEANUP(close_fd)
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        return err_set(err, errno, "open '%s'", files->path);
    }
    /* A second name can be one that somebody gave to another's file. */
    if (!S_ISREG(st.st_mode) || st.st_nlink > 1 || logfile_is_foreign(files->way, &st)) {
        return err_set(err, EINVAL, "'%s' is not a log file of its own", files->path);
    }
    if (logfile_judge(files->way, fd, &st) != LOGFILE_OWN) {
        return err_set(err, ERR_SPEC, "'%s' was not written for it", files->path);
    }
    return logfile_check_storage(files->way, fd, err) < 0 ? -1 : steal_fd(&fd);
}

/* -1 with errno where it is not there or cannot be read with its owner's rights. */
static int open_number(const struct log_files *files, uint64_t n)
{
    struct log_owner_before before;
    struct err err = {0};
    if (log_owner_enter(logfile_owner(files->way), &before, &err) < 0) {
        errno = err.code;
        return -1;
    }
    int fd = open_number_entered(files, n, &err);
    log_owner_leave(&before);
    errno = fd < 0 ? (err.code < ERR_SPEC ? err.code : EPERM) : errno;
    return fd;
}

static uint64_t inode_of(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static bool can_be_opened(const struct log_files *files)
{
    for (uint64_t n = 0; n <= files->max_files; n++) {
        CLEANUP(close_fd) int fd = open_number(files, n);
        if (fd >= 0 && inode_of(fd) == files->inode) {
            return true;
        }
    }
    return false;
}

void log_files_judge_again(struct log_files *files)
{
    if (files->fd >= 0 && !can_be_opened(files)) {
        close_older(files);
        fd_close(&files->fd);
    }
}

/* Until a rotation under way is over. */
static void pause_briefly(void)
{
    struct timespec pause = {.tv_nsec = 1000000};
    (void) nanosleep(&pause, NULL);
}

static struct log_standing standing_of(const struct log_files *files)
{
    struct log_standing none = {.is_closed = true};
    return files->place != NULL ? log_place_read(files->place) : none;
}

static bool is_stable(const struct log_files *files, const struct log_standing *before)
{
    struct log_standing now = standing_of(files);
    return !now.is_busy && now.rotations == before->rotations && now.epoch == before->epoch &&
           now.is_closed == before->is_closed;
}

static uint64_t size_of(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 ? (uint64_t) st.st_size : 0;
}

/* By its descriptor: under the path there may be another by now. */
static void watch(struct log_files *files)
{
    char path[64];
    (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", files->fd);
    if (files->inotify_fd >= 0 && files->fd >= 0) {
        fd_close(&files->inotify_fd); /* with the watch of the file before */
        files->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (files->inotify_fd >= 0 &&
            inotify_add_watch(files->inotify_fd, path,
                              IN_MODIFY | IN_ATTRIB | IN_MOVE_SELF | IN_DELETE_SELF) < 0) {
            fd_close(&files->inotify_fd);
        }
    }
}

/* Goes on with the file, from the offset on; what is known of it is `now`. */
static void take_file(struct log_files *files, int take_fd, uint64_t offset,
                      const struct log_standing *now)
{
    fd_close(&files->fd);
    files->fd = take_fd;
    files->inode = inode_of(take_fd);
    files->offset = offset;
    files->is_drained = false;
    files->is_managed = !now->is_closed && now->inode == files->inode;
    files->number = now->rotations;
    files->start = now->start;
    files->epoch = now->epoch;
    watch(files);
}

void log_files_seek_current(struct log_files *files)
{
    close_older(files);
    for (int i = 0; i < STABLE_TRIES; i++) {
        struct log_standing now = standing_of(files);
        CLEANUP(close_fd) int fd = open_number(files, 0);
        if (fd < 0) {
            return;
        }
        if (!now.is_busy && is_stable(files, &now)) {
            take_file(files, steal_fd(&fd), 0, &now);
            return;
        }
        pause_briefly();
    }
}

/* --- the last lines ------------------------------------------------------------------------------
 */

/* Looks back from the end of fd for line ends; *lines is how many are still wanted. Returns the
 * offset where the wanted part begins. *budget is how many bytes may be looked at. */
static uint64_t find_back(int fd, size_t *lines, uint64_t *budget, bool is_newest)
{
    char block[BACK_BLOCK];
    uint64_t size = size_of(fd);
    uint64_t at = size;
    while (at > 0 && *lines > 0 && *budget > 0) {
        size_t want = at < sizeof(block) ? (size_t) at : sizeof(block);
        if (pread(fd, block, want, (off_t) (at - want)) != (ssize_t) want) {
            break;
        }
        *budget -= *budget < want ? *budget : want;
        for (size_t i = want; i > 0; i--) {
            uint64_t end = at - want + i;
            /* The line feed at the very end ends the last line, and begins none. */
            bool is_last_end = is_newest && end == size;
            if (block[i - 1] == '\n' && !is_last_end && --*lines == 0) {
                return end;
            }
        }
        at -= want;
    }
    return *lines == 0 ? size : at;
}

/* One try, that counts only where nothing was rotated meanwhile. */
static int look_back(struct log_files *files, size_t lines, struct err *err)
{
    struct log_standing now = standing_of(files);
    uint64_t budget = LOG_READER_MAX_BACK_BYTES;
    CLEANUP(close_fd) int fd = open_number(files, 0);
    if (fd < 0) {
        return errno == ENOENT ? 0 : err_set(err, errno, "open '%s'", files->path);
    }
    uint64_t offset = find_back(fd, &lines, &budget, true);
    /* A line that begins in the file before is one of those wanted. */
    for (uint64_t n = 1; offset == 0 && lines > 0 && budget > 0 && n <= files->max_files &&
                         files->older_count < LOG_READER_MAX_BACK_FILES;
         n++) {
        int older = open_number(files, n);
        if (older < 0) {
            break;
        }
        files->older[files->older_count++] = older;
        files->older_offset = (off_t) find_back(older, &lines, &budget, false);
        if (files->older_offset > 0) {
            break;
        }
    }
    if (now.is_busy || !is_stable(files, &now)) {
        return err_set(err, EAGAIN, "'%s' is being rotated", files->path);
    }
    take_file(files, steal_fd(&fd), offset, &now);
    return 0;
}

int log_files_seek_back(struct log_files *files, size_t lines, struct err *err)
{
    struct err cause = {0};
    for (int i = 0; i < STABLE_TRIES; i++) {
        close_older(files);
        if (look_back(files, lines, &cause) == 0) {
            return 0;
        }
        if (cause.code != EAGAIN) {
            return err_set(err, cause.code, "%s", cause.msg);
        }
        pause_briefly();
    }
    log_files_seek_current(files); /* rotated faster than it is read: what there is now */
    return 0;
}

/* --- a place -------------------------------------------------------------------------------------
 */

/* One that became shorter was cut off in place, and begins anew. */
static uint64_t offset_in(int fd, const struct log_position *to)
{
    return inode_of(fd) == to->inode && size_of(fd) >= to->offset ? to->offset : 0;
}

/* One try, as look_back(). False where it does not count. */
static bool look_for(struct log_files *files, const struct log_position *to)
{
    struct log_standing now = standing_of(files);
    CLEANUP(close_fd) int fd = open_number(files, 0);
    if (fd < 0) {
        return errno == ENOENT;
    }
    bool is_found = inode_of(fd) == to->inode;
    for (uint64_t n = 1;
         !is_found && n <= files->max_files && files->older_count < LOG_READER_MAX_BACK_FILES;
         n++) {
        int older = open_number(files, n);
        if (older < 0) {
            break;
        }
        files->older[files->older_count++] = older;
        is_found = inode_of(older) == to->inode;
        files->older_offset = (off_t) offset_in(older, to);
    }
    if (now.is_busy || !is_stable(files, &now)) {
        return false;
    }
    uint64_t offset = offset_in(fd, to);
    take_file(files, steal_fd(&fd), offset, &now);
    return true;
}

void log_files_seek_to(struct log_files *files, const struct log_position *to)
{
    for (int i = 0; i < STABLE_TRIES; i++) {
        close_older(files);
        if (look_for(files, to)) {
            return;
        }
        pause_briefly();
    }
    log_files_seek_current(files);
}

struct log_position log_files_position(const struct log_files *files)
{
    if (files->older_count > 0) {
        return (struct log_position){.inode = inode_of(files->older[files->older_count - 1]),
                                     .offset = (uint64_t) files->older_offset};
    }
    return files->fd >= 0 ? (struct log_position){.inode = files->inode, .offset = files->offset}
                          : (struct log_position){0};
}

/* --- reading on ----------------------------------------------------------------------------------
 */

ssize_t log_files_read(struct log_files *files, char *data, size_t max, struct err *err)
{
    while (files->older_count > 0) {
        int fd = files->older[files->older_count - 1];
        ssize_t n = pread(fd, data, max, files->older_offset);
        if (n > 0) {
            files->older_offset += n;
            return n;
        }
        fd_close(&files->older[--files->older_count]);
        files->older_offset = 0;
    }
    if (files->fd < 0) {
        return 0;
    }
    struct log_standing before = standing_of(files);
    ssize_t n = pread(files->fd, data, max, (off_t) files->offset);
    if (n < 0) {
        return err_set(err, errno, "read '%s'", files->path);
    }
    /* Cut off in place while it was read: what came may be of before or after. */
    bool is_cut =
        files->is_managed && files->max_files == 0 &&
        (before.is_busy || before.rotations != files->number || !is_stable(files, &before));
    if (is_cut) {
        return 0;
    }
    files->offset += (uint64_t) n;
    return n;
}

/* Cut off in place: the file begins anew, with bytes from `start` on. */
static enum files_next go_on_in_place(struct log_files *files, const struct log_standing *now,
                                      uint64_t *missed)
{
    uint64_t at = files->start + files->offset;
    if (!is_stable(files, now)) {
        return FILES_RETRY;
    }
    *missed = now->start > at ? now->start - at : 0;
    files->offset = at > now->start ? at - now->start : 0;
    files->number = now->rotations;
    files->start = now->start;
    return FILES_MORE;
}

/* The file after this one, or, where that is gone already, the oldest that there is of those that
 * lead up to the current one without a gap: of these the sizes are known. */
static enum files_next go_on_in_next(struct log_files *files, const struct log_standing *now,
                                     uint64_t *missed)
{
    uint64_t at = files->start + files->offset;
    uint64_t k = now->rotations - (files->number + 1);
    struct log_standing then = *now;
    CLEANUP(close_fd) int fd = -1;
    for (uint64_t n = 0; n <= k && n <= files->max_files; n++) {
        int older = open_number(files, n);
        if (older < 0) {
            break;
        }
        fd_close(&fd);
        fd = older;
        uint64_t size = n > 0 ? size_of(fd) : 0;
        then.start -= size < then.start ? size : then.start;
        then.rotations = now->rotations - n;
    }
    if (!is_stable(files, now)) {
        return FILES_RETRY;
    }
    if (fd < 0) {
        return FILES_WAIT; /* somebody closed the folder, or took the file away: as long as that */
    }
    then.inode = inode_of(fd);
    *missed = then.start > at ? then.start - at : 0;
    take_file(files, steal_fd(&fd), at > then.start ? at - then.start : 0, &then);
    return FILES_MORE;
}

/* Nobody tells what becomes of it: the path does. */
static enum files_next go_on_by_path(struct log_files *files)
{
    struct log_standing now = standing_of(files);
    CLEANUP(close_fd) int fd = open_number(files, 0);
    if (now.is_busy) {
        return FILES_RETRY;
    }
    if (fd < 0) {
        return FILES_WAIT;
    }
    if (files->fd < 0 || inode_of(fd) != files->inode) {
        take_file(files, steal_fd(&fd), 0, &now);
        return FILES_MORE;
    }
    bool is_cut = size_of(fd) < files->offset;
    files->offset = is_cut ? 0 : files->offset;
    /* The same file, and perhaps a writer by now who tells more. The bytes in it count as its own.
     */
    files->is_managed = !now.is_closed && now.inode == files->inode;
    files->number = now.rotations;
    files->start = now.start;
    files->epoch = now.epoch;
    return is_cut ? FILES_MORE : FILES_WAIT;
}

enum files_next log_files_advance(struct log_files *files, uint64_t *missed)
{
    struct log_standing now = standing_of(files);
    *missed = 0;
    if (files->fd >= 0 && files->is_managed) {
        if (now.is_busy) {
            return FILES_RETRY;
        }
        bool is_same = now.rotations == files->number && now.epoch == files->epoch;
        if (is_same && !now.is_closed) {
            return FILES_WAIT;
        }
        if (!files->is_drained) {
            files->is_drained = true; /* it may have been written to since its end was read */
            return FILES_MORE;
        }
        if (now.epoch == files->epoch && now.rotations != files->number) {
            return files->max_files == 0 ? go_on_in_place(files, &now, missed)
                                         : go_on_in_next(files, &now, missed);
        }
    }
    files->is_drained = false;
    return go_on_by_path(files);
}

bool log_files_is_told(const struct log_files *files)
{
    if (files->fd < 0 || !files->is_managed || files->inotify_fd < 0) {
        return false;
    }
    CLEANUP(close_fd) int fd = open_number(files, 0);
    return fd >= 0 && inode_of(fd) == files->inode;
}
