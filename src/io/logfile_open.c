/* logfile: making and opening the file. */
#include "edgible/fd.h"
#include "logfile_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *logfile_base(const struct logfile *lf)
{
    return strrchr(lf->path, '/') + 1;
}

#define OPEN_FLAGS (O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

static int create_file(const struct logfile *lf, int dir, int *ret_fd, struct err *err)
{
    CLEANUP(close_fd) int fd = openat(dir, logfile_base(lf), OPEN_FLAGS | O_CREAT | O_EXCL, 0640);
    if (fd < 0) {
        return err_set(err, errno, "create '%s'", lf->path);
    }
    if (fchmod(fd, 0640) < 0) {
        int cause = errno;
        (void) unlinkat(dir, logfile_base(lf), 0);
        return logfile_refuse_storage(lf, cause, "set the mode", err);
    }
    if (logfile_take_file(lf, fd, err) < 0) {
        (void) unlinkat(dir, logfile_base(lf), 0);
        return -1;
    }
    logfile_mark(fd);
    *ret_fd = steal_fd(&fd);
    return 0;
}

/*
 * Whether an existing file may be written to. An agent that appends to whatever a document names
 * would fill programs and configuration files, so what is not a plain log file is refused, as is
 * one that another user made first, to read what is printed; where a policy is in force, content
 * that no agent wrote is refused, too.
 */
static int check_file(const struct logfile *lf, int fd, const struct stat *st,
                      enum logfile_content *ret_content, struct err *err)
{
    if (st->st_nlink > 1) {
        return err_set(err, ERR_SPEC,
                       "'%s' has a second name (a hard link): remove it, or name another file",
                       lf->path);
    }
    if ((st->st_mode & 0111) != 0) {
        return err_set(err, ERR_SPEC, "'%s' is executable and is not used as a log", lf->path);
    }
    if (logfile_is_foreign(lf, st)) {
        return err_set(err, ERR_SPEC,
                       "'%s' belongs to uid %u, and not to root, the agent or the workload's user",
                       lf->path, (unsigned) st->st_uid);
    }
    *ret_content = logfile_judge(lf, fd, st);
    if (*ret_content == LOGFILE_FOREIGN) {
        return err_set(err, ERR_SPEC,
                       "'%s' has content that the agent did not write: move it away, or name "
                       "another file",
                       lf->path);
    }
    return 0;
}

/* What an agent wrote for another user of the workload, or for another workload: the log's group is
 * not to read it, and who has the file open not what comes. Between two that name one file content
 * is not moved to and fro. */
static int leave_to_others(const struct logfile *lf, int dir, bool is_empty, struct err *err)
{
    if (lf->is_settled && !is_empty) {
        return err_set(err, ERR_SPEC, "'%s' has output of a workload of another group", lf->path);
    }
    return logfile_set_aside(lf, dir, is_empty, err) < 0
               ? -1
               : err_set(err, ENOENT, "open '%s'", lf->path);
}

static int refuse_link(const struct logfile *lf, int dir, struct err *err)
{
    char target[PATH_MAX];
    ssize_t len = readlinkat(dir, logfile_base(lf), target, sizeof(target));
    return err_set(err, ERR_SPEC,
                   "'%s' is a link to '%.*s', and a log is not written through a link: remove it, "
                   "or give the file's own path as logFile",
                   lf->path, len > 0 ? (int) len : 1, len > 0 ? target : "?");
}

/* Opens what is there. The type is looked at before, too: opening a device can have effects. */
static int open_file(const struct logfile *lf, int dir, int *ret_fd, bool *ret_ours,
                     struct err *err)
{
    struct stat st;
    if (fstatat(dir, logfile_base(lf), &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return err_set(err, errno, "open '%s'", lf->path);
    }
    if (S_ISLNK(st.st_mode)) {
        return refuse_link(lf, dir, err);
    }
    if (!S_ISREG(st.st_mode)) {
        return err_set(err, EINVAL, "'%s' is not a regular file", lf->path);
    }
    CLEANUP(close_fd) int fd = openat(dir, logfile_base(lf), OPEN_FLAGS);
    if (fd < 0 || fstat(fd, &st) < 0) {
        return err_set(err, errno, "open '%s'", lf->path);
    }
    if (!S_ISREG(st.st_mode)) {
        return err_set(err, EINVAL, "'%s' is not a regular file", lf->path);
    }
    enum logfile_content content = LOGFILE_OWN;
    /* The file may be one that is mounted there by itself. */
    if (logfile_check_storage(lf, fd, err) < 0 || check_file(lf, fd, &st, &content, err) < 0) {
        return -1;
    }
    if (content == LOGFILE_OTHERS) {
        return leave_to_others(lf, dir, st.st_size == 0, err);
    }
    *ret_ours = logfile_is_ours(lf, fd, &st); /* before the file is taken */
    if (logfile_take_file(lf, fd, err) < 0) {
        return -1;
    }
    if (*ret_ours || st.st_size == 0) {
        logfile_mark(fd); /* else the next agent would take what it held for output of a workload */
    }
    *ret_fd = steal_fd(&fd);
    return 0;
}

uint64_t logfile_find_line_start(int fd, uint64_t size)
{
    char block[8192];
    uint64_t end = size;
    while (end > 0 && size - end < LOGFILE_LINE_BYTES) {
        size_t want = end < sizeof(block) ? (size_t) end : sizeof(block);
        ssize_t n = pread(fd, block, want, (off_t) (end - want));
        if (n != (ssize_t) want) {
            return size;
        }
        const char *line_end = memrchr(block, '\n', want);
        if (line_end != NULL) {
            return end - want + (uint64_t) (line_end - block) + 1;
        }
        end -= want;
    }
    return 0;
}

int logfile_open_at(struct logfile *lf, int dir, struct err *err)
{
    struct err local = {0};
    err = err != NULL ? err : &local;
    int fd = -1;
    int rc = -1;
    bool is_ours = true;
    /* Between looking and creating somebody else may have made or removed it: look again. */
    for (int tries = 0; rc < 0 && tries < 4; tries++) {
        rc = open_file(lf, dir, &fd, &is_ours, err);
        if (rc < 0 && err->code == ENOENT) {
            is_ours = true;
            rc = create_file(lf, dir, &fd, err);
        }
        if (rc < 0 && err->code != EEXIST && err->code != ENOENT) {
            break;
        }
    }
    if (rc < 0) {
        return -1;
    }
    struct stat st;
    if (fstat(fd, &st) < 0) {
        int cause = errno;
        fd_close(&fd);
        return err_set(err, cause, "read the state of '%s'", lf->path);
    }
    fd_close(&lf->fd);
    lf->fd = fd;
    if (lf->dev != st.st_dev || lf->ino != st.st_ino || lf->size != (uint64_t) st.st_size) {
        lf->run_bytes = 0;
    }
    lf->dev = st.st_dev;
    lf->ino = st.st_ino;
    lf->size = (uint64_t) st.st_size;
    lf->line_start = logfile_find_line_start(fd, lf->size);
    lf->was_ours = is_ours;
    lf->is_settled = true;
    return 0;
}

static int open_path_entered(struct logfile *lf, struct err *err)
{
    for (int tries = 0;;) {
        CLEANUP(close_fd) int dir = -1;
        if (logfile_open_dir(lf, true, &dir, err) == 0 && logfile_open_at(lf, dir, err) == 0) {
            return 0;
        }
        if (err->code == ENOENT && ++tries < 4) {
            continue; /* somebody removed the folder in between */
        }
        if (!logfile_is_full_error(err->code) || !logfile_remove_oldest_entered(lf)) {
            return -1;
        }
    }
}

int logfile_open_path(struct logfile *lf, struct err *err)
{
    struct err local = {0};
    struct log_owner_before before;
    err = err != NULL ? err : &local;
    if (log_owner_enter(&lf->owner, &before, err) < 0) {
        return -1;
    }
    int rc = open_path_entered(lf, err);
    log_owner_leave(&before);
    return rc;
}
