/*
 * logfile: which files an agent made. Rotation renames and removes only those, so that a document
 * that names a file beside others' `x.1` and `x.2` does not cost them theirs.
 */
#include "edgible/fd.h"
#include "logfile_private.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define MARK_NAME "user.edgible.log"

void logfile_mark(int fd)
{
    /* Some file systems hold no attributes: there owner and mode must do. */
    (void) !fsetxattr(fd, MARK_NAME, "1", 1, 0);
}

/* Mode 0640, one name and the owner that an agent gives a log: agents before 0.2 set no mark. */
static bool is_as_made(const struct logfile *lf, const struct stat *st)
{
    bool is_workloads = st->st_uid == lf->owner.uid && st->st_gid == lf->owner.gid;
    bool is_agents = !lf->owner.is_user && st->st_uid == geteuid() &&
                     (st->st_gid == getegid() || st->st_gid == lf->owner.gid);
    return (is_workloads || is_agents) && (st->st_mode & 07777) == 0640;
}

bool logfile_is_ours(const struct logfile *lf, int fd, const struct stat *st)
{
    char value[1];
    return S_ISREG(st->st_mode) && st->st_nlink == 1 &&
           (is_as_made(lf, st) || fgetxattr(fd, MARK_NAME, value, sizeof(value)) == 1);
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
