#include "edgible/fd.h"

#include "edgible/mem.h"
#include "edgible/parse.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void fd_close(int *fd)
{
    if (*fd >= 0) {
        (void) close(*fd);
        *fd = -1;
    }
}

int fd_write_all(int fd, const void *data, size_t len, struct err *err)
{
    const char *at = data;
    while (len > 0) {
        ssize_t n = write(fd, at, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return err_set(err, errno, "write");
        }
        at += n;
        len -= (size_t) n;
    }
    return 0;
}

int fd_read_all(int fd, size_t max, char **ret_data, size_t *ret_len, struct err *err)
{
    size_t cap = 4096;
    size_t len = 0;
    CLEANUP(free) char *data = xmalloc(cap);
    for (;;) {
        if (len + 1 == cap) {
            cap *= 2;
            data = xrealloc(data, cap, 1);
        }
        ssize_t n = read(fd, data + len, cap - len - 1);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return err_set(err, errno, "read");
        }
        if (n == 0) {
            break;
        }
        len += (size_t) n;
        if (len > max) {
            return err_set(err, EFBIG, "more than %zu bytes", max);
        }
    }
    data[len] = '\0';
    *ret_len = len;
    *ret_data = steal_ptr(&data);
    return 0;
}

int fd_read_file(int dirfd, const char *path, size_t max, char **ret_data, size_t *ret_len,
                 struct err *err)
{
    CLEANUP(close_fd) int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        return err_set(err, errno, "open '%s'", path);
    }
    if (fd_read_all(fd, max, ret_data, ret_len, err) < 0) {
        return err_prefix(err, "'%s'", path);
    }
    return 0;
}

int fd_read_regular_file(const char *path, size_t max, char **ret_data, size_t *ret_len,
                         struct err *err)
{
    struct stat st;
    CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0) {
        return err_set(err, errno, "open '%s'", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return err_set(err, EINVAL, "'%s' is not a regular file", path);
    }
    return fd_read_all(fd, max, ret_data, ret_len, err) < 0 ? err_prefix(err, "'%s'", path) : 0;
}

int fd_set_nonblocking(int fd, struct err *err)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        return err_set(err, errno, "set O_NONBLOCK");
    }
    return 0;
}

static bool is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int make_one_dir(const char *path, mode_t mode, struct err *err)
{
    /* mkdir() waits for the parent's lock also where the directory exists, and who can read the
     * parent can hold that lock. */
    if (is_dir(path) || mkdir(path, mode) == 0) {
        return 0;
    }
    int cause = errno;
    return is_dir(path) /* made by another meanwhile */
               ? 0
               : err_set(err, cause == EEXIST ? ENOTDIR : cause, "create directory '%s'", path);
}

int fd_make_dirs(const char *path, mode_t mode, struct err *err)
{
    CLEANUP(free) char *part = xstrdup(path);
    for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int rc = make_one_dir(part, mode, err);
        *slash = '/';
        if (rc < 0) {
            return -1;
        }
    }
    return make_one_dir(part, mode, err);
}

/* Linux before 5.11 has no such call, or not the flag. */
bool fd_is_disk_refusal(int error)
{
    return error == ENOSPC || error == EROFS || error == EDQUOT || error == EIO;
}

void fd_close_all_on_exec(int from)
{
    if (close_range((unsigned) from, UINT_MAX, CLOSE_RANGE_CLOEXEC) == 0) {
        return;
    }
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL) {
        return;
    }
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        int64_t fd = -1;
        if (parse_int(entry->d_name, from, INT_MAX, &fd, NULL) == 0) {
            (void) fcntl((int) fd, F_SETFD, FD_CLOEXEC);
        }
    }
    (void) closedir(dir);
}
