/* logfile: finding, making and opening the file and its folders. */
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

static int give_to_owner(const struct logfile *lf, int fd, mode_t mode, struct err *err)
{
    if (fchmod(fd, mode) < 0) {
        return err_set(err, errno, "set the mode of '%s'", lf->path);
    }
    if ((lf->uid != (uid_t) -1 || lf->gid != (gid_t) -1) && fchown(fd, lf->uid, lf->gid) < 0) {
        return err_set(err, errno, "give '%s' to its owner", lf->path);
    }
    return 0;
}

static int make_dir(const struct logfile *lf, int at, const char *name, int *ret_fd,
                    struct err *err)
{
    if (mkdirat(at, name, 0755) < 0) {
        return err_set(err, errno, "create folder '%s' of '%s'", name, lf->path);
    }
    CLEANUP(close_fd)
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return err_set(err, errno, "open folder '%s' of '%s'", name, lf->path);
    }
    if (give_to_owner(lf, fd, 0755, err) < 0) {
        return -1;
    }
    *ret_fd = steal_fd(&fd);
    return 0;
}

/* One folder further. A workload owns the folders made for its log, so it could put a link there
 * and have a root agent create files anywhere: links are followed only where root or this user
 * made them. */
static int enter_dir(const struct logfile *lf, int at, const char *name, bool make, int *ret_fd,
                     struct err *err)
{
    CLEANUP(close_fd) int fd = openat(at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && make) {
        if (make_dir(lf, at, name, ret_fd, err) == 0) {
            return 0;
        }
        if (err->code != EEXIST) {
            return -1;
        }
        fd = openat(at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    }
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        return err_set(err, errno, "open folder '%s' of '%s'", name, lf->path);
    }
    if (S_ISLNK(st.st_mode)) {
        if (st.st_uid != 0 && st.st_uid != geteuid()) {
            return err_set(err, ELOOP, "'%s' of '%s' is a link of another user", name, lf->path);
        }
        fd_close(&fd);
        fd = openat(at, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) {
            return err_set(err, errno, "open folder '%s' of '%s'", name, lf->path);
        }
    } else if (!S_ISDIR(st.st_mode)) {
        return err_set(err, ENOTDIR, "'%s' of '%s'", name, lf->path);
    }
    *ret_fd = steal_fd(&fd);
    return 0;
}

int logfile_open_dir(const struct logfile *lf, bool make, int *ret_fd, struct err *err)
{
    struct err local = {0};
    err = err != NULL ? err : &local;
    CLEANUP(close_fd) int at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (at < 0) {
        return err_set(err, errno, "open '/'");
    }
    const char *base = logfile_base(lf);
    for (const char *part = lf->path + 1; part < base;) {
        size_t len = strcspn(part, "/");
        char name[NAME_MAX + 1];
        if (len > NAME_MAX) {
            return err_set(err, ENAMETOOLONG, "'%s'", lf->path);
        }
        memcpy(name, part, len);
        name[len] = '\0';
        part += len + 1;
        if (len == 0) {
            continue;
        }
        int next = -1;
        if (enter_dir(lf, at, name, make, &next, err) < 0) {
            return -1;
        }
        fd_close(&at);
        at = next;
    }
    *ret_fd = steal_fd(&at);
    return 0;
}

#define OPEN_FLAGS (O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

static int create_file(const struct logfile *lf, int dir, int *ret_fd, struct err *err)
{
    CLEANUP(close_fd) int fd = openat(dir, logfile_base(lf), OPEN_FLAGS | O_CREAT | O_EXCL, 0640);
    if (fd < 0) {
        return err_set(err, errno, "create '%s'", lf->path);
    }
    if (give_to_owner(lf, fd, 0640, err) < 0) {
        (void) unlinkat(dir, logfile_base(lf), 0);
        return -1;
    }
    *ret_fd = steal_fd(&fd);
    return 0;
}

/* Opens what is there. The type is looked at before, too: opening a device can have effects. */
static int open_file(const struct logfile *lf, int dir, int *ret_fd, struct err *err)
{
    struct stat st;
    if (fstatat(dir, logfile_base(lf), &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return err_set(err, errno, "open '%s'", lf->path);
    }
    if (!S_ISREG(st.st_mode)) {
        return err_set(err, S_ISLNK(st.st_mode) ? ELOOP : EINVAL, "'%s' is not a regular file",
                       lf->path);
    }
    CLEANUP(close_fd) int fd = openat(dir, logfile_base(lf), OPEN_FLAGS);
    if (fd < 0 || fstat(fd, &st) < 0) {
        return err_set(err, errno, "open '%s'", lf->path);
    }
    if (!S_ISREG(st.st_mode)) {
        return err_set(err, EINVAL, "'%s' is not a regular file", lf->path);
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
    /* Between looking and creating somebody else may have made or removed it: look again. */
    for (int tries = 0; rc < 0 && tries < 4; tries++) {
        rc = open_file(lf, dir, &fd, err);
        if (rc < 0 && err->code == ENOENT) {
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
    lf->dev = st.st_dev;
    lf->ino = st.st_ino;
    lf->size = (uint64_t) st.st_size;
    lf->line_start = logfile_find_line_start(fd, lf->size);
    lf->run_bytes = 0;
    return 0;
}

int logfile_open_path(struct logfile *lf, struct err *err)
{
    struct err local = {0};
    err = err != NULL ? err : &local;
    for (int tries = 0;;) {
        CLEANUP(close_fd) int dir = -1;
        if (logfile_open_dir(lf, true, &dir, err) == 0 && logfile_open_at(lf, dir, err) == 0) {
            return 0;
        }
        if (err->code == ENOENT && ++tries < 4) {
            continue; /* somebody removed the folder in between */
        }
        if (!logfile_is_full_error(err->code) || !logfile_remove_oldest(lf)) {
            return -1;
        }
    }
}
