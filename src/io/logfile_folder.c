/*
 * logfile: the way to the file's folder (doc_path.h). Links of the log's owner are followed, too,
 * with the agent's rights none that others can move. Of a workload in a sandbox, only those that it
 * cannot have put there: they would lead out of it. None on the way to a log in the agent's own log
 * folder, whose path has none when the agent starts.
 */
#include "edgible/doc_path.h"
#include "edgible/fd.h"
#include "edgible/policy.h"
#include "edgible/pump.h"
#include "logfile_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

int logfile_refuse_storage(const struct logfile *lf, int cause, const char *what, struct err *err)
{
    if (cause != EPERM && cause != EOPNOTSUPP && cause != ENOSYS) {
        return err_set(err, cause, "%s of '%s'", what, lf->path);
    }
    return err_set(err, cause,
                   "%s of '%s', as its file system (vfat, CIFS, NFS with root_squash) does not let "
                   "the agent: use a logDir or logFile elsewhere, or logFile " PUMP_NO_LOG,
                   what, lf->path);
}

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
        return logfile_refuse_storage(lf, errno, "set the owner", err);
    }
    /* One of a workload's may have any mode; the owner's may be read by more, as the mode says. */
    bool is_open = st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0;
    if (is_open && (st.st_mode & 07777) != 0640 && fchmod(fd, 0640) < 0) {
        return logfile_refuse_storage(lf, errno, "set the mode", err);
    }
    return 0;
}

/* Whether a log may lie in an open folder: as its file system and the policy see it. */
static int judge(const struct logfile *lf, int dir, const char *rest, struct err *err)
{
    if (logfile_check_storage(lf, dir, err) < 0) {
        return -1;
    }
    if (!lf->is_limited) {
        return 0;
    }
    CLEANUP(free) char *name = doc_path_of(dir, err);
    if (name == NULL) {
        return err_prefix(err, "find the place of '%s'", lf->path);
    }
    CLEANUP(free) char *path = xasprintf("%s/%s", strcmp(name, "/") == 0 ? "" : name, rest);
    if (policy_matches_any(&lf->allowed, path)) {
        return 0;
    }
    return err_set(err, ERR_SPEC,
                   "refused by the policy: '%s' is not among the policy.writePaths of this device",
                   path);
}

static int make_dir(const void *context, const struct doc_path_spot *spot, struct err *err)
{
    const struct logfile *lf = context;
    if (judge(lf, spot->folder, spot->place, err) < 0) {
        return -1;
    }
    mode_t mode = lf->owner.own_len > 0 ? 0711 : 0755; /* as take_folder() wants it */
    if (mkdirat(spot->folder, spot->name, mode) < 0 && errno != EEXIST) {
        return err_set(err, errno, "create folder '%s' of '%s'", spot->name, lf->path);
    }
    return 0;
}

/* The agent's log folder, or one below it. Agents before 0.2 gave those to the workload's user;
 * this one takes them back, or a workload could still change names in them. Neither do others read
 * them: who can open a folder can hold its lock for ever. What root gave a group of others stays
 * theirs. */
static int take_folder(const struct logfile *lf, const struct doc_path_spot *spot, struct err *err)
{
    const char *name = spot->name;
    const struct stat *st = spot->st;
    bool is_top = (size_t) (spot->place - lf->path) + strlen(name) == lf->owner.own_len;
    bool is_own = st->st_uid == geteuid();
    bool is_others = st->st_gid != getegid() && st->st_gid != lf->owner.gid;
    bool is_shared = is_own ? (st->st_mode & (is_others ? 0022 : S_IWOTH)) != 0 : is_others;
    if (!is_top && (logfile_is_foreign(lf, st) || is_shared)) {
        return err_set(err, ERR_SPEC,
                       "folder '%s' of '%s' belongs to uid %u and gid %u with mode %o, and not to "
                       "root, the agent or the workload's user alone",
                       name, lf->path, (unsigned) st->st_uid, (unsigned) st->st_gid,
                       (unsigned) st->st_mode & 07777);
    }
    mode_t kept = is_top ? 07755 : is_others ? 07751 : 07711;
    kept |= is_top && is_own && is_others ? S_IWGRP : 0;
    mode_t too_open = st->st_mode & 07777 & ~kept;
    if (is_own && too_open == 0) {
        return 0;
    }
    CLEANUP(close_fd)
    int fd = openat(spot->folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat now;
    if (fd < 0 || fstat(fd, &now) < 0 || now.st_ino != st->st_ino || now.st_dev != st->st_dev) {
        return err_set(err, fd < 0 ? errno : ESTALE, "open folder '%s' of '%s'", name, lf->path);
    }
    if (!is_own && fchown(fd, geteuid(), (gid_t) -1) < 0) {
        return logfile_refuse_storage(lf, errno, "take over the folder", err);
    }
    /* Some file systems have no modes: there it may be read. */
    if (fchmod(fd, st->st_mode & kept) < 0 && (too_open & 0022) != 0) {
        return logfile_refuse_storage(lf, errno, "set the mode of the folder", err);
    }
    return 0;
}

static int check_own(const void *context, const struct doc_path_spot *spot, struct err *err)
{
    const struct logfile *lf = context;
    size_t own_len = lf->owner.own_len;
    bool is_above = (size_t) (spot->place - lf->path) + strlen(spot->name) < own_len;
    bool is_link = S_ISLNK(spot->st->st_mode);
    if (is_link && own_len == 0) {
        return 0;
    }
    if (!S_ISDIR(spot->st->st_mode)) {
        return err_set(err, is_link ? ELOOP : ENOTDIR, "'%s' of '%s'", spot->name, lf->path);
    }
    return own_len == 0 || is_above ? 0 : take_folder(lf, spot, err);
}

int logfile_watch_folder(const struct logfile *lf, int inotify_fd, uint32_t mask)
{
    struct log_owner_before before;
    CLEANUP(close_fd) int dir = -1;
    char path[48];
    if (lf->is_null || log_owner_enter(&lf->owner, &before, NULL) < 0) {
        return -1;
    }
    int rc = logfile_open_dir(lf, false, &dir, NULL);
    log_owner_leave(&before);
    (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", dir);
    return rc == 0 ? inotify_add_watch(inotify_fd, path, mask) : -1;
}

int logfile_open_dir(const struct logfile *lf, bool make, int *ret_fd, struct err *err)
{
    const struct doc_path_rules rules = {
        .has_user = lf->owner.is_user,
        .user = lf->owner.is_user ? lf->owner.uid : getuid(),
        .is_confined = lf->owner.is_confined,
        .closed_folders = !lf->owner.is_user, /* with the user's rights such a link is no harm */
        .end = logfile_base(lf),
        .context = lf,
        .on_own = check_own,
        .make = make ? make_dir : NULL,
    };
    CLEANUP(close_fd) int dir = doc_path_open_fd(lf->path, &rules, err);
    if (dir < 0 || judge(lf, dir, logfile_base(lf), err) < 0) {
        return -1;
    }
    *ret_fd = steal_fd(&dir);
    return 0;
}
