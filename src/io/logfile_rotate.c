/*
 * logfile: rotation, and mending what a crash in the middle of one left behind.
 *
 * Each step is one rename, so that a crash between two leaves at most a hole in the chain, which
 * the next open closes. A half line at the end is taken along to the new file: copied first, cut
 * from the old one then. A crash in between leaves it in both, or a part of it in the new one;
 * logfile_mend_line() recognises that, since nothing else lets a rotated file end in half a line.
 */
#include "edgible/fault.h"
#include "edgible/fd.h"
#include "logfile_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *logfile_rotated_name(const struct logfile *lf, unsigned n)
{
    return xasprintf("%s.%u", logfile_base(lf), n);
}

static bool has_rotated(const struct logfile *lf, int dir, unsigned n)
{
    CLEANUP(free) char *name = logfile_rotated_name(lf, n);
    struct stat st;
    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Renames number `from` to `to`; 0 stands for the file itself. */
static int rename_rotated(const struct logfile *lf, int dir, unsigned from, unsigned to,
                          struct err *err)
{
    CLEANUP(free)
    char *old = from > 0 ? logfile_rotated_name(lf, from) : xstrdup(logfile_base(lf));
    CLEANUP(free) char *new = to > 0 ? logfile_rotated_name(lf, to) : xstrdup(logfile_base(lf));
    if (renameat(dir, old, dir, new) < 0) {
        return err_set(err, errno, "rename '%s' to '%s'", old, new);
    }
    return 0;
}

/* How many rotated files may be kept: the numbers below the first name that no agent made. */
static unsigned count_usable(const struct logfile *lf, int dir)
{
    for (unsigned n = 1; n <= lf->max_files; n++) {
        CLEANUP(free) char *name = logfile_rotated_name(lf, n);
        if (has_rotated(lf, dir, n) && !logfile_is_name_ours(lf, dir, name)) {
            return n - 1;
        }
    }
    return lf->max_files;
}

bool logfile_remove_oldest_entered(const struct logfile *lf)
{
    CLEANUP(close_fd) int dir = -1;
    if (lf->max_files == 0 || logfile_open_dir(lf, false, &dir, NULL) < 0) {
        return false;
    }
    for (unsigned n = count_usable(lf, dir); n > 0; n--) {
        CLEANUP(free) char *name = logfile_rotated_name(lf, n);
        if (unlinkat(dir, name, 0) == 0) {
            return true;
        }
    }
    return false;
}

bool logfile_remove_oldest(const struct logfile *lf)
{
    struct log_owner_before before;
    if (log_owner_enter(&lf->owner, &before, NULL) < 0) {
        return false;
    }
    bool is_removed = logfile_remove_oldest_entered(lf);
    log_owner_leave(&before);
    return is_removed;
}

void logfile_mend_chain(const struct logfile *lf, int dir)
{
    unsigned usable = count_usable(lf, dir);
    unsigned hole = 1;
    while (hole <= usable && has_rotated(lf, dir, hole)) {
        hole++;
    }
    /* A larger gap is not of our making. It does no harm: rotation fills it up first. */
    for (; hole < usable && has_rotated(lf, dir, hole + 1); hole++) {
        if (rename_rotated(lf, dir, hole + 1, hole, NULL) < 0) {
            return;
        }
    }
    /* As far as a name can be one of a rotated file: others can be other logs. */
    for (unsigned n = lf->max_files + 1; n <= LOGFILE_ROTATED_MAX && usable == lf->max_files; n++) {
        CLEANUP(free) char *name = logfile_rotated_name(lf, n);
        if (!logfile_is_name_ours(lf, dir, name) || unlinkat(dir, name, 0) < 0) {
            return;
        }
    }
}

/* The number that the newest but one may take: the first free one, or the last before a name that
 * no agent made, or before the bound; then what is there goes. 0: `.1` is in the way. */
static unsigned find_shift_end(const struct logfile *lf, int dir)
{
    for (unsigned n = 1; n <= lf->max_files; n++) {
        CLEANUP(free) char *name = logfile_rotated_name(lf, n);
        if (!logfile_is_name_ours(lf, dir, name)) {
            return has_rotated(lf, dir, n) ? n - 1 : n;
        }
    }
    return lf->max_files;
}

/* Makes `.1` free for the file: moves up what is below `end`, over what is there. */
static int shift_chain(const struct logfile *lf, int dir, unsigned end, struct err *err)
{
    for (unsigned n = end; n > 1; n--) {
        if (rename_rotated(lf, dir, n - 1, n, err) < 0) {
            return -1;
        }
        FAULT_POINT("log-shifted");
    }
    return 0;
}

int logfile_set_aside(const struct logfile *lf, int dir, bool is_empty, struct err *err)
{
    if (is_empty || lf->max_files == 0) {
        return unlinkat(dir, logfile_base(lf), 0) == 0
                   ? 0
                   : err_set(err, errno, "remove the old '%s'", lf->path);
    }
    unsigned end = find_shift_end(lf, dir);
    if (end == 0) {
        return err_set(err, ERR_SPEC,
                       "'%s' has output of a workload of another group, and '.1' is in the way: "
                       "move one of them away",
                       lf->path);
    }
    return shift_chain(lf, dir, end, err) < 0 ? -1 : rename_rotated(lf, dir, 0, 1, err);
}

/* Appends `from`'s bytes from..to to lf, whole or not at all. */
static int copy_bytes(struct logfile *lf, int fd, uint64_t from, uint64_t to, struct err *err)
{
    char block[8192];
    uint64_t before = lf->size;
    for (uint64_t at = from; at < to;) {
        size_t want = to - at < sizeof(block) ? (size_t) (to - at) : sizeof(block);
        ssize_t n = pread(fd, block, want, (off_t) at);
        if (n <= 0) {
            (void) err_set(err, n < 0 ? errno : EIO, "read '%s'", lf->path);
        } else if (fd_write_all(lf->fd, block, (size_t) n, err) == 0) {
            at += (uint64_t) n;
            continue;
        }
        (void) !ftruncate(lf->fd, (off_t) before);
        return -1;
    }
    lf->size = before + (to - from);
    return 0;
}

/* The half line at the end of the rotated file, from..to, becomes the new file's beginning. Where
 * there is no room for it, it stays: the line is then in two files, but whole. */
static void take_line_along(struct logfile *lf, int old, uint64_t from, uint64_t to)
{
    uint64_t of_run = lf->rotated_run_bytes < to - from ? lf->rotated_run_bytes : to - from;
    if (from == to || copy_bytes(lf, old, from, to, NULL) < 0) {
        return;
    }
    FAULT_POINT("log-line-copied");
    (void) !ftruncate(old, (off_t) from);
    lf->line_start = 0;
    lf->run_bytes = of_run;
    lf->rotated_run_bytes -= of_run;
}

static int rotate_to_next(struct logfile *lf, int dir, unsigned end, struct err *err)
{
    logfile_mark(lf->fd); /* from now on a part of the chain, whoever began it */
    if (shift_chain(lf, dir, end, err) < 0 || rename_rotated(lf, dir, 0, 1, err) < 0) {
        return -1;
    }
    FAULT_POINT("log-renamed");
    CLEANUP(close_fd) int old = steal_fd(&lf->fd);
    ino_t old_ino = lf->ino;
    uint64_t size = lf->size;
    uint64_t line_start = lf->line_start;
    uint64_t run_bytes = lf->run_bytes;
    if (logfile_open_at(lf, dir, err) < 0) {
        /* Back as it was: without a file at this name the next try would find nothing. */
        (void) rename_rotated(lf, dir, 1, 0, NULL);
        lf->fd = steal_fd(&old);
        return -1;
    }
    FAULT_POINT("log-reopened");
    lf->rotated_ino = old_ino;
    lf->rotated_run_bytes = run_bytes;
    if (line_start > 0) {
        take_line_along(lf, old, line_start, size);
    }
    log_place_move(lf->place, lf->ino, lf->size > 0 ? line_start : size, true);
    lf->counters.rotations++;
    return 0;
}

/* maxFiles 0: the file is cut off; only an unfinished line stays. */
static int rotate_in_place(struct logfile *lf, struct err *err)
{
    uint64_t len = lf->line_start > 0 ? lf->size - lf->line_start : 0;
    if (len > LOGFILE_LINE_BYTES) {
        len = 0;
    }
    CLEANUP(free) char *line = xmalloc((size_t) len);
    if (pread(lf->fd, line, (size_t) len, (off_t) lf->line_start) != (ssize_t) len) {
        len = 0;
    }
    if (ftruncate(lf->fd, 0) < 0) {
        return err_set(err, errno, "cut off '%s'", lf->path);
    }
    if (len > 0 && fd_write_all(lf->fd, line, (size_t) len, NULL) < 0) {
        (void) !ftruncate(lf->fd, 0);
        len = 0;
    }
    log_place_move(lf->place, lf->ino, lf->size - len, true);
    lf->size = len;
    lf->line_start = 0;
    lf->run_bytes = lf->run_bytes < len ? lf->run_bytes : len;
    lf->rotated_run_bytes = 0;
    lf->counters.rotations++;
    return 0;
}

/* Where a name that no agent made is in the way, the chain ends before it; with none left the file
 * is cut off in place. Its folder is judged in any case. */
static int rotate_entered(struct logfile *lf, struct err *err)
{
    CLEANUP(close_fd) int dir = -1;
    if (logfile_open_dir(lf, false, &dir, err) < 0) {
        return -1;
    }
    unsigned end = find_shift_end(lf, dir);
    return end > 0 ? rotate_to_next(lf, dir, end, err) : rotate_in_place(lf, err);
}

int logfile_rotate(struct logfile *lf, struct err *err)
{
    struct err local = {0};
    struct log_owner_before before;
    err = err != NULL ? err : &local;
    if (log_owner_enter(&lf->owner, &before, err) < 0) {
        return -1;
    }
    for (;;) {
        log_place_begin(lf->place);
        int rc = rotate_entered(lf, err);
        log_place_end(lf->place);
        bool again =
            rc < 0 && logfile_is_full_error(err->code) && logfile_remove_oldest_entered(lf);
        if (!again) {
            log_owner_leave(&before);
            return rc < 0 ? err_prefix(err, "rotate '%s'", lf->path) : 0;
        }
    }
}

/* True where the first len bytes of the file equal the rotated file's from `from` on. */
static bool begins_like(const struct logfile *lf, int old, uint64_t from, uint64_t len)
{
    char a[4096];
    char b[4096];
    for (uint64_t at = 0; at < len;) {
        size_t want = len - at < sizeof(a) ? (size_t) (len - at) : sizeof(a);
        if (pread(lf->fd, a, want, (off_t) at) != (ssize_t) want ||
            pread(old, b, want, (off_t) (from + at)) != (ssize_t) want || memcmp(a, b, want) != 0) {
            return false;
        }
        at += want;
    }
    return true;
}

void logfile_mend_line(struct logfile *lf, int dir)
{
    if (lf->max_files == 0) {
        return;
    }
    CLEANUP(free) char *name = logfile_rotated_name(lf, 1);
    CLEANUP(close_fd)
    int old = openat(dir, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat st;
    if (old < 0 || fstat(old, &st) < 0 || st.st_size == 0 || !logfile_is_ours(lf, old, &st) ||
        logfile_judge(lf, old, &st) != LOGFILE_OWN) {
        return;
    }
    uint64_t end = (uint64_t) st.st_size;
    uint64_t from = logfile_find_line_start(old, end);
    uint64_t len = end - from;
    /* The whole file: a line longer than files are, split on purpose. */
    if (len == 0 || from == 0 || len >= LOGFILE_LINE_BYTES) {
        return;
    }
    uint64_t there = lf->size < len ? lf->size : len;
    if (!begins_like(lf, old, from, there)) {
        return;
    }
    if (there == len || copy_bytes(lf, old, from + there, end, NULL) == 0) {
        (void) !ftruncate(old, (off_t) from);
        lf->line_start = logfile_find_line_start(lf->fd, lf->size);
    }
}
