/*
 * logfile: which files can be logs, and which an agent made. Rotation renames and removes only
 * those, so that a document that names a file beside others' `x.1` and `x.2` does not cost them
 * theirs.
 */
#include "edgible/fd.h"
#include "logfile_private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifndef EFIVARFS_MAGIC
#define EFIVARFS_MAGIC 0xde5e81e4
#endif
#define MARK_NAME "user.edgible.log"

int logfile_check_storage(const struct logfile *lf, int fd, struct err *err)
{
    struct statfs fs;
    if (fstatfs(fd, &fs) < 0) {
        return err_set(err, errno, "find the file system of '%s'", lf->path);
    }
    unsigned long type = (unsigned long) fs.f_type & 0xffffffff;
    /* Some that hold data have no blocks, either, where their size is not limited. */
    bool is_storage = fs.f_blocks > 0 || type == TMPFS_MAGIC || type == RAMFS_MAGIC ||
                      type == OVERLAYFS_SUPER_MAGIC;
    if (is_storage && type != EFIVARFS_MAGIC) {
        return 0;
    }
    return err_set(err, ERR_SPEC, "'%s' is on a file system that holds no data, such as /proc",
                   lf->path);
}

void logfile_mark(int fd)
{
    /* Some file systems hold no attributes: there owner and mode must do. */
    (void) !fsetxattr(fd, MARK_NAME, "1", 1, 0);
}

/* Mode 0640, one name and the owner that an agent gives a log: agents before 0.2 set no mark. */
static bool is_as_made(const struct logfile *lf, const struct stat *st)
{
    bool is_workloads = st->st_uid == lf->owner.uid && st->st_gid == lf->owner.gid;
    /* An ordinary user's agent sets no group: its folder may. */
    bool is_group = lf->owner.gid == (gid_t) -1 || st->st_gid == lf->owner.gid;
    bool is_agents = !lf->owner.is_user && st->st_uid == geteuid() && is_group;
    return (is_workloads || is_agents) && (st->st_mode & 07777) == 0640;
}

bool logfile_is_foreign(const struct logfile *lf, const struct stat *st)
{
    return st->st_uid != 0 && st->st_uid != getuid() && st->st_uid != lf->owner.uid;
}

bool logfile_is_ours(const struct logfile *lf, int fd, const struct stat *st)
{
    char value[1];
    return S_ISREG(st->st_mode) && st->st_nlink == 1 &&
           (is_as_made(lf, st) ||
            (!logfile_is_foreign(lf, st) && fgetxattr(fd, MARK_NAME, value, sizeof(value)) == 1));
}

enum logfile_content logfile_judge(const struct logfile *lf, int fd, const struct stat *st)
{
    bool is_in_own = lf->owner.own_len > 0;
    if (!lf->is_limited && !lf->owner.is_judged) {
        return LOGFILE_OWN;
    }
    if (!logfile_is_ours(lf, fd, st)) {
        return st->st_size > 0 ? LOGFILE_FOREIGN : LOGFILE_OWN;
    }
    bool is_others = is_in_own && lf->owner.gid != (gid_t) -1 && st->st_gid != lf->owner.gid;
    return is_others ? LOGFILE_OTHERS : LOGFILE_OWN;
}

bool logfile_is_name_ours(const struct logfile *lf, int dir, const char *name)
{
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode)) {
        return false;
    }
    if (st.st_nlink == 1 && is_as_made(lf, &st)) {
        return true;
    }
    CLEANUP(close_fd)
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    return fd >= 0 && fstat(fd, &st) == 0 && logfile_is_ours(lf, fd, &st);
}
