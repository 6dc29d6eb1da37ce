/*
 * logfile: the way to the file's folder, one component at a time, so that what is judged and used
 * is what was opened. Links are followed only where root, the agent or the log's owner made them,
 * never those of /proc, and none below the agent's own log folder.
 */
#include "edgible/fd.h"
#include "edgible/policy.h"
#include "logfile_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define LINKS_MAX 16

struct way {
    const struct logfile *lf;
    bool make;
    unsigned links; /* followed so far */
};

int logfile_take_file(const struct logfile *lf, int fd, struct err *err)
{
    struct stat st;
    gid_t gid = lf->owner.gid;
    if (lf->owner.own_len == 0) {
        return 0; /* made with the rights of whom it is to belong to */
    }
    if (fstat(fd, &st) < 0) {
        return err_set(err, errno, "read the state of '%s'", lf->path);
    }
    bool is_right = st.st_uid == geteuid() && (gid == (gid_t) -1 || st.st_gid == gid);
    if (!is_right && fchown(fd, geteuid(), gid) < 0) {
        return err_set(err, errno, "give '%s' to its owner", lf->path);
    }
    return 0;
}

/* Whether a log may lie in an open folder: as its file system and the policy see it. */
static int judge(const struct logfile *lf, int dir, const char *rest, struct err *err)
{
    char link[48];
    char name[PATH_MAX];
    if (logfile_check_storage(lf, dir, err) < 0) {
        return -1;
    }
    if (!lf->is_limited) {
        return 0;
    }
    (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", dir);
    ssize_t n = readlink(link, name, sizeof(name) - 1);
    if (n <= 0 || name[0] != '/') {
        return err_set(err, n < 0 ? errno : ESTALE, "find the place of '%s'", lf->path);
    }
    name[n] = '\0';
    CLEANUP(free) char *path = xasprintf("%s/%s", n == 1 ? "" : name, rest);
    if (policy_matches_any(&lf->allowed, path)) {
        return 0;
    }
    return err_set(err, ERR_SPEC,
                   "refused by the policy: '%s' is not among the policy.writePaths of this device",
                   path);
}

/* rest: the path from name on. */
static int make_dir(const struct way *way, int at, const char *name, const char *rest,
                    struct err *err)
{
    if (judge(way->lf, at, rest, err) < 0) {
        return -1;
    }
    if (mkdirat(at, name, 0755) < 0 && errno != EEXIST) {
        return err_set(err, errno, "create folder '%s' of '%s'", name, way->lf->path);
    }
    return 0;
}

/* A folder below the agent's log folder. Agents before 0.2 gave those to the workload's user; this
 * one takes them back, or a workload could still change names in them. */
static int take_folder(const struct logfile *lf, int at, const char *name, const struct stat *st,
                       struct err *err)
{
    if (st->st_uid == geteuid() && (st->st_mode & 0022) == 0) {
        return 0;
    }
    CLEANUP(close_fd)
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat now;
    if (fd < 0 || fstat(fd, &now) < 0 || now.st_ino != st->st_ino || now.st_dev != st->st_dev) {
        return err_set(err, fd < 0 ? errno : ESTALE, "open folder '%s' of '%s'", name, lf->path);
    }
    if (st->st_uid != geteuid() && fchown(fd, geteuid(), (gid_t) -1) < 0) {
        return err_set(err, errno, "take over folder '%s' of '%s'", name, lf->path);
    }
    if (fchmod(fd, 0755) < 0) {
        return err_set(err, errno, "set the mode of folder '%s' of '%s'", name, lf->path);
    }
    return 0;
}

static int walk(struct way *way, int from, const char *path, const char *end, bool is_target,
                int *ret_fd, struct err *err);

static int follow_link(struct way *way, int at, int link_fd, const char *name,
                       const struct stat *st, int *ret_fd, struct err *err)
{
    const struct logfile *lf = way->lf;
    char target[PATH_MAX];
    struct statfs fs;
    bool is_trusted = st->st_uid == 0 || st->st_uid == geteuid() ||
                      (lf->owner.is_user && st->st_uid == lf->owner.uid);
    if (!is_trusted) {
        return err_set(err, ELOOP, "'%s' of '%s' is a link of another user", name, lf->path);
    }
    /* The links of /proc lead to what another process has open or works in. */
    if (fstatfs(link_fd, &fs) < 0 || fs.f_type == PROC_SUPER_MAGIC) {
        return err_set(err, ELOOP, "'%s' of '%s' is a link of /proc", name, lf->path);
    }
    if (++way->links > LINKS_MAX) {
        return err_set(err, ELOOP, "'%s'", lf->path);
    }
    ssize_t n = readlinkat(link_fd, "", target, sizeof(target) - 1);
    if (n <= 0) {
        return err_set(err, errno, "read the link '%s' of '%s'", name, lf->path);
    }
    target[n] = '\0';
    CLEANUP(close_fd) int root = -1;
    if (target[0] == '/') {
        root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (root < 0) {
            return err_set(err, errno, "open '/'");
        }
    }
    return walk(way, root >= 0 ? root : at, target, target + n, true, ret_fd, err);
}

/* How a component of the log's own path stands to the agent's log folder. */
enum own { OWN_NOT, OWN_TOP, OWN_BELOW };

static enum own find_own(const struct logfile *lf, size_t begin, size_t len)
{
    if (lf->owner.own_len == 0 || begin + len < lf->owner.own_len) {
        return OWN_NOT;
    }
    return begin + len == lf->owner.own_len ? OWN_TOP : OWN_BELOW;
}

/* One folder further. make: the path from name on, where the folder may be made; else NULL. */
static int enter_dir(struct way *way, int at, const char *name, const char *make, enum own own,
                     int *ret_fd, struct err *err)
{
    const struct logfile *lf = way->lf;
    CLEANUP(close_fd) int fd = openat(at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && make != NULL) {
        if (make_dir(way, at, name, make, err) < 0) {
            return -1;
        }
        fd = openat(at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    }
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        return err_set(err, errno, "open folder '%s' of '%s'", name, lf->path);
    }
    if (S_ISLNK(st.st_mode) && own != OWN_BELOW) {
        return follow_link(way, at, fd, name, &st, ret_fd, err);
    }
    if (!S_ISDIR(st.st_mode)) {
        return err_set(err, S_ISLNK(st.st_mode) ? ELOOP : ENOTDIR, "'%s' of '%s'", name, lf->path);
    }
    if (own != OWN_NOT && take_folder(lf, at, name, &st, err) < 0) {
        return -1;
    }
    *ret_fd = steal_fd(&fd);
    return 0;
}

/* From folder `from` through all components of path up to end; is_target: path is where a link
 * leads, which is neither made nor below the agent's folder. */
static int walk(struct way *way, int from, const char *path, const char *end, bool is_target,
                int *ret_fd, struct err *err)
{
    const struct logfile *lf = way->lf;
    CLEANUP(close_fd) int at = openat(from, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (at < 0) {
        return err_set(err, errno, "open '%s'", lf->path);
    }
    for (const char *part = path; part < end;) {
        size_t len = strcspn(part, "/");
        char name[NAME_MAX + 1];
        if (len > NAME_MAX) {
            return err_set(err, ENAMETOOLONG, "'%s'", lf->path);
        }
        memcpy(name, part, len);
        name[len] = '\0';
        const char *rest = part;
        part += len + (part[len] == '/' ? 1 : 0);
        if (len == 0 || strcmp(name, ".") == 0) {
            continue;
        }
        if (strcmp(name, "..") == 0 && !is_target) {
            return err_set(err, ERR_SPEC, "'%s' has the component '..'", lf->path);
        }
        enum own own = is_target ? OWN_NOT : find_own(lf, (size_t) (rest - lf->path), len);
        int next = -1;
        const char *make = way->make && !is_target ? rest : NULL;
        if (enter_dir(way, at, name, make, own, &next, err) < 0) {
            return -1;
        }
        fd_close(&at);
        at = next;
    }
    *ret_fd = steal_fd(&at);
    return 0;
}

int logfile_open_dir(const struct logfile *lf, bool make, int *ret_fd, struct err *err)
{
    struct err local = {0};
    err = err != NULL ? err : &local;
    struct way way = {.lf = lf, .make = make};
    CLEANUP(close_fd) int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(close_fd) int dir = -1;
    if (root < 0) {
        return err_set(err, errno, "open '/'");
    }
    if (walk(&way, root, lf->path + 1, logfile_base(lf), false, &dir, err) < 0 ||
        judge(lf, dir, logfile_base(lf), err) < 0) {
        return -1;
    }
    *ret_fd = steal_fd(&dir);
    return 0;
}
