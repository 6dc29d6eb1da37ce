#include "edgible/statedir.h"

#include "edgible/fault.h"
#include "edgible/fd.h"
#include "edgible/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOCK_WAIT_MS 5000
#define LOCK_NAME "agent.lock"

/* The PID that the holder wrote, 0 where there is none to read. */
static pid_t read_holder(int fd)
{
    char text[32];
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    if (n <= 0) {
        return 0;
    }
    text[n] = '\0';
    char *end = NULL;
    long pid = strtol(text, &end, 10);
    return end != text && pid > 0 && pid <= INT_MAX ? (pid_t) pid : 0;
}

static int report_holder(int fd, const char *dir, struct err *err)
{
    pid_t holder = read_holder(fd);
    if (holder == 0) {
        return err_set(err, EBUSY, "'%s' is in use by another agent", dir);
    }
    return err_set(err, EBUSY, "'%s' is in use by the agent with PID %d", dir, (int) holder);
}

/* On a disk that takes nothing the file of an agent before is locked for reading alone: that keeps
 * out who can write, and who has locked it for writing keeps us out. */
static int open_lock(const char *path, short *ret_kind)
{
    int flags = O_CLOEXEC | O_NOFOLLOW;
    int fd = open(path, O_RDWR | O_CREAT | flags, 0600);
    *ret_kind = F_WRLCK;
    if (fd < 0 && errno == EACCES && chmod(path, 0600) == 0) {
        fd = open(path, O_RDWR | flags); /* whoever took that away may not keep us out */
    }
    if (fd < 0 && fd_is_disk_refusal(errno)) {
        int error = errno;
        *ret_kind = F_RDLCK;
        fd = open(path, O_RDONLY | flags);
        errno = error;
    }
    return fd;
}

/* An agent that was killed between fork and exec has a child that holds its lock, too, until that
 * sees its end: a dead holder is waited for. */
static int take_lock(int fd, short kind)
{
    /* An OFD lock, not flock(): it works on NFS too; not F_SETLK: that one is lost as soon as any
     * descriptor of the file is closed anywhere in the process (fcntl(2)). */
    struct flock lock = {.l_type = kind, .l_whence = SEEK_SET};
    int rc = fcntl(fd, F_OFD_SETLK, &lock);
    for (int waited_ms = 0; rc < 0 && waited_ms < LOCK_WAIT_MS; waited_ms++) {
        pid_t holder = read_holder(fd);
        bool is_dead = holder != 0 && kill(holder, 0) < 0 && errno == ESRCH;
        if (!is_dead) {
            break;
        }
        struct timespec ts = {.tv_nsec = 1000000};
        (void) nanosleep(&ts, NULL);
        rc = fcntl(fd, F_OFD_SETLK, &lock);
    }
    if (rc < 0) {
        rc = fcntl(fd, F_OFD_SETLK, &lock);
    }
    return rc;
}

/* The lock is what counts: on a full disk the PID may stay unwritten, and the agent starts. */
static void write_holder(int fd)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "%d\n", (int) getpid());
    if (pwrite(fd, text, (size_t) len, 0) == len) {
        (void) !ftruncate(fd, len);
    }
}

int statedir_lock(const char *dir, struct err *err)
{
    if (fd_make_dirs(dir, 0700, err) < 0) {
        return -1;
    }
    CLEANUP(free) char *path = xasprintf("%s/%s", dir, LOCK_NAME);
    short kind = F_WRLCK;
    CLEANUP(close_fd) int fd = open_lock(path, &kind);
    if (fd < 0) {
        return err_set(err, errno, "open '%s'", path);
    }
    if (take_lock(fd, kind) < 0) {
        if (errno == EAGAIN || errno == EACCES) {
            return report_holder(fd, dir, err);
        }
        return err_set(err, errno, "lock '%s'", path);
    }
    write_holder(fd);
    return steal_fd(&fd);
}

static int write_temporary(int dirfd, const char *temporary, const void *data, size_t len,
                           mode_t mode, bool sync, struct err *err)
{
    int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW;
    CLEANUP(close_fd) int fd = openat(dirfd, temporary, flags, mode & 0700);
    if (fd < 0) {
        return err_set(err, errno, "create '%s'", temporary);
    }
    /* By fchmod, since the umask takes from the mode of open. */
    if (fchmod(fd, mode) < 0) {
        return err_set(err, errno, "set the mode of '%s'", temporary);
    }
    if (fd_write_all(fd, data, len, err) < 0) {
        return err_prefix(err, "'%s'", temporary);
    }
    FAULT_POINT("file-written");
    if (sync && fsync(fd) < 0) {
        return err_set(err, errno, "fsync '%s'", temporary);
    }
    FAULT_POINT("file-synced");
    int rc = close(steal_fd(&fd));
    return rc < 0 ? err_set(err, errno, "close '%s'", temporary) : 0;
}

/* dirfd may be O_PATH or AT_FDCWD, which fsync does not take. */
int statedir_sync(int dirfd, struct err *err)
{
    CLEANUP(close_fd) int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return err_set(err, errno, "open the directory to fsync it");
    }
    /* EINVAL: a file system that has no fsync for directories. */
    if (fsync(fd) < 0 && errno != EINVAL) {
        return err_set(err, errno, "fsync the directory");
    }
    return 0;
}

/* One writer a directory (the lock), so one name will do, and a crash leaves one file at most,
 * which the next write takes over. */
static char *temporary_name(const char *name)
{
    return xasprintf(".%s.tmp", name);
}

int statedir_prepare_file(int dirfd, const char *name, const void *data, size_t len, mode_t mode,
                          bool sync, struct err *err)
{
    if (strchr(name, '/') != NULL) {
        return err_set(err, EINVAL, "'%s' is not a plain file name", name);
    }
    CLEANUP(free) char *temporary = temporary_name(name);
    if (write_temporary(dirfd, temporary, data, len, mode, sync, err) < 0) {
        (void) unlinkat(dirfd, temporary, 0);
        return err_prefix(err, "write '%s'", name);
    }
    return 0;
}

int statedir_finish_file(int dirfd, const char *name, bool sync, struct err *err)
{
    CLEANUP(free) char *temporary = temporary_name(name);
    if (renameat(dirfd, temporary, dirfd, name) < 0) {
        int cause = errno;
        (void) unlinkat(dirfd, temporary, 0);
        return err_set(err, cause, "rename '%s' to '%s'", temporary, name);
    }
    FAULT_POINT("file-renamed");
    if (sync && statedir_sync(dirfd, err) < 0) {
        return err_prefix(err, "write '%s'", name);
    }
    return 0;
}

int statedir_write_file(int dirfd, const char *name, const void *data, size_t len, mode_t mode,
                        bool sync, struct err *err)
{
    if (statedir_prepare_file(dirfd, name, data, len, mode, sync, err) < 0) {
        return -1;
    }
    return statedir_finish_file(dirfd, name, sync, err);
}

/* The file that was exchanged last is written again. What is no file there (somebody put it where
 * the record was) is removed: a FIFO would be waited for. */
static int open_temporary(int dirfd, const char *name)
{
    struct stat st;
    int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    CLEANUP(close_fd) int fd = openat(dirfd, name, flags, 0600);
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        return steal_fd(&fd);
    }
    int cause = fd < 0 ? errno : EEXIST;
    if (unlinkat(dirfd, name, 0) < 0 && unlinkat(dirfd, name, AT_REMOVEDIR) < 0) {
        errno = cause;
        return -1;
    }
    return openat(dirfd, name, flags | O_EXCL, 0600);
}

int statedir_exchange_file(int dirfd, const char *name, const void *data, size_t len,
                           struct err *err)
{
    CLEANUP(free) char *temporary = temporary_name(name);
    CLEANUP(close_fd) int fd = open_temporary(dirfd, temporary);
    if (fd < 0) {
        return err_set(err, errno, "create '%s'", temporary);
    }
    /* Cut off to the new length and not to nothing: after that ext4 would write it out at once. */
    if (fd_write_all(fd, data, len, err) < 0 || ftruncate(fd, (off_t) len) < 0) {
        return err_prefix(err, "write '%s'", name);
    }
    FAULT_POINT("state-written");
    if (renameat2(dirfd, temporary, dirfd, name, RENAME_EXCHANGE) == 0) {
        return 0;
    }
    /* The first time there is none to exchange it with; some file systems cannot. */
    if (renameat(dirfd, temporary, dirfd, name) < 0) {
        return err_set(err, errno, "rename '%s' to '%s'", temporary, name);
    }
    return 0;
}

int statedir_remove_file(int dirfd, const char *name, bool sync, struct err *err)
{
    CLEANUP(free) char *temporary = temporary_name(name);
    if (unlinkat(dirfd, name, 0) < 0 && errno != ENOENT) {
        return err_set(err, errno, "remove '%s'", name);
    }
    (void) unlinkat(dirfd, temporary, 0);
    if (sync && statedir_sync(dirfd, err) < 0) {
        return err_prefix(err, "remove '%s'", name);
    }
    return 0;
}
