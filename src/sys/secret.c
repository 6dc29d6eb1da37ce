#include "edgible/secret.h"

#include "edgible/fd.h"
#include "edgible/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_SECRET_BYTES (64UL * 1024)

/* What is open is judged, so that it cannot be exchanged in between. */
static int open_secret(const char *path, struct err *err)
{
    CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        return err_set(err, errno, "open '%s'", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return err_set(err, ERR_SPEC, "'%s' is no file", path);
    }
    if ((st.st_mode & (S_IROTH | S_IWOTH)) != 0) {
        return err_set(err, ERR_SPEC,
                       "'%s' is a secret that every user of this machine may %s (mode %04o): "
                       "chmod o= it",
                       path, (st.st_mode & S_IROTH) != 0 ? "read" : "write",
                       (unsigned) st.st_mode & 07777U);
    }
    return steal_fd(&fd);
}

char *secret_read(const char *path, struct err *err)
{
    CLEANUP(close_fd) int fd = open_secret(path, err);
    CLEANUP(free) char *text = NULL;
    size_t len = 0;
    if (fd < 0) {
        return NULL;
    }
    if (fd_read_all(fd, MAX_SECRET_BYTES, &text, &len, err) < 0) {
        (void) err_prefix(err, "'%s'", path);
        return NULL;
    }
    size_t end = strcspn(text, "\r\n");
    for (size_t i = 0; i < end; i++) {
        if ((unsigned char) text[i] < ' ') {
            (void) err_set(err, ERR_SPEC, "'%s' holds a control character", path);
            return NULL;
        }
    }
    if (end == 0) {
        (void) err_set(err, ERR_SPEC, "'%s' is empty, or its first line is", path);
        return NULL;
    }
    return xstrndup(text, end);
}

int secret_check(const char *path, struct err *err)
{
    CLEANUP(close_fd) int fd = open_secret(path, err);
    return fd < 0 ? -1 : 0;
}

bool secret_has_changed(const char *path, struct secret_stamp *stamp)
{
    struct stat st = {0};
    if (path == NULL) {
        return false;
    }
    (void) stat(path, &st); /* one that is not there is all zeros */
    struct secret_stamp now = {
        .inode = st.st_ino,
        .size = (unsigned long long) st.st_size,
        .mtime_ns =
            (unsigned long long) st.st_mtim.tv_sec * 1000000000U + (unsigned) st.st_mtim.tv_nsec,
        .ctime_ns =
            (unsigned long long) st.st_ctim.tv_sec * 1000000000U + (unsigned) st.st_ctim.tv_nsec,
    };
    bool changed = memcmp(&now, stamp, sizeof(now)) != 0;
    *stamp = now;
    return changed;
}
