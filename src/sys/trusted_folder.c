/* Folders that hold what a process relies on. */
#include "edgible/fd.h"
#include "edgible/mem.h"
#include "edgible/trusted.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int refuse_link(const char *path, struct err *err)
{
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode)) {
        return err_set(err, ERR_SPEC,
                       "'%s' is a link, which others may have made: name the folder itself", path);
    }
    return err_set(err, ENOTDIR, "open '%s'", path);
}

static int judge(const char *path, const struct stat *st, struct err *err)
{
    unsigned owner = (unsigned) st->st_uid;
    if (st->st_uid != 0 && geteuid() == 0) {
        return err_set(err, ERR_SPEC,
                       "'%s' belongs to the user with ID %u, and root trusts folders of root "
                       "alone: remove it, or name another one",
                       path, owner);
    }
    if (st->st_uid != 0 && st->st_uid != geteuid()) {
        return err_set(err, ERR_SPEC,
                       "'%s' belongs to the user with ID %u, neither to root nor to this user: "
                       "have it removed, or name another one",
                       path, owner);
    }
    if ((st->st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        return err_set(err, ERR_SPEC,
                       "others can write to '%s' (mode %04o): look at what is in it, then run "
                       "'chmod go-w' on it, or name another one",
                       path, (unsigned) st->st_mode & 07777);
    }
    return 0;
}

int trusted_check_folder(const char *path, struct err *err)
{
    /* With a slash at its end a link would be followed. */
    CLEANUP(free) char *plain = xstrdup(path);
    for (size_t len = strlen(plain); len > 1 && plain[len - 1] == '/'; len--) {
        plain[len - 1] = '\0';
    }
    CLEANUP(close_fd) int fd = open(plain, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && (errno == ENOTDIR || errno == ELOOP)) {
        return refuse_link(plain, err);
    }
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        return err_set(err, errno, "open '%s'", plain);
    }
    return judge(plain, &st, err);
}
