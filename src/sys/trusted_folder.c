/* Folders that hold what a process relies on. */
#include "edgible/doc_path.h"
#include "edgible/fd.h"
#include "edgible/mem.h"
#include "edgible/trusted.h"
#include "trusted_climb.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define FD_LINK_MAX 32

static void name_fd(int fd, char link[FD_LINK_MAX])
{
    (void) snprintf(link, FD_LINK_MAX, "/proc/self/fd/%d", fd);
}

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

/* --- the way to it -------------------------------------------------------------------------------
 */

static bool has_acl(int folder)
{
    char link[FD_LINK_MAX];
    name_fd(folder, link);
    return getxattr(link, "system.posix_acl_access", NULL, 0) >= 0 ||
           (errno != ENODATA && errno != ENOTSUP);
}

/* A group of this user's own number is its alone by the convention of user-private groups. Root's
 * is not, and with an ACL the bits of the group are those of everyone that it names. */
static bool can_others_write(int folder, const struct stat *st)
{
    bool is_private = st->st_uid != 0 && st->st_uid == geteuid() && st->st_gid == st->st_uid;
    bool by_group = (st->st_mode & S_IWGRP) != 0 && (!is_private || has_acl(folder));
    return by_group || (st->st_mode & S_IWOTH) != 0;
}

/* Whether others can rename what is in the folder. */
static bool is_open(int folder, const struct stat *st)
{
    return (st->st_mode & S_ISVTX) == 0 && can_others_write(folder, st);
}

static int refuse_way(int folder, const struct stat *st, struct err *err)
{
    CLEANUP(free) char *path = doc_path_of(folder, NULL);
    const char *name = path != NULL ? path : "a folder";
    if (is_open(folder, st)) {
        return err_set(err, ERR_SPEC,
                       "others can write to '%s' on the way to it (mode %04o): run 'chmod go-w' on "
                       "it, or name another one",
                       name, (unsigned) st->st_mode & 07777);
    }
    return err_set(err, ERR_SPEC,
                   "'%s' on the way to it belongs to the user with ID %u, who can put another one "
                   "in its place: name another one",
                   name, (unsigned) st->st_uid);
}

/* Root's, or this process's user's. Whoever has the root folder is root, whom some user namespaces
 * call otherwise. */
static bool is_ours(const struct stat *st)
{
    struct stat top = {0};
    (void) stat("/", &top);
    return st->st_uid == 0 || st->st_uid == top.st_uid || st->st_uid == geteuid();
}

static int judge_folder(const void *context, int folder, const struct stat *st, struct err *err)
{
    (void) context;
    return is_open(folder, st) || !is_ours(st) ? refuse_way(folder, st, err) : 0;
}

/* Judges the folder and all above it. */
static int judge_way(int folder, struct err *err)
{
    return trusted_climb(folder, judge_folder, NULL, err);
}

/* Of a link, or of what is missing and would be made there. */
static int judge_spot(const void *context, const struct doc_path_spot *spot, struct err *err)
{
    (void) context;
    return judge_way(spot->folder, err);
}

int trusted_check_way(const char *path, struct err *err)
{
    const struct doc_path_rules rules = {.on_link = judge_spot, .make = judge_spot};
    CLEANUP(doc_path) struct doc_path found = {.fd = -1};
    if (doc_path_find(path, &rules, &found, err) < 0) {
        return -1;
    }
    if (found.fd < 0) {
        return 0; /* judged as far as it is there */
    }
    CLEANUP(close_fd) int above = openat(found.fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return above >= 0 ? judge_way(above, err)
                      : err_set(err, errno, "open the folder of '%s'", path);
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
    return judge(plain, &st, err) < 0 ? -1 : trusted_check_way(plain, err);
}

static int open_folder(const char *path, struct err *err)
{
    static const struct trusted_bounds none = {0};
    int flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
    if (strstr(path, "/..") == NULL) {
        return trusted_open(path, &none, err);
    }
    int fd = open(path, flags); /* the configuration may say that */
    return fd >= 0 ? fd : err_set(err, errno, "open '%s'", path);
}

static bool is_foreign(const struct stat *folder)
{
    return !is_ours(folder) || (folder->st_mode & (S_IWGRP | S_IWOTH)) != 0;
}

/* The way to a folder that was opened at path. */
static int check_way_to(const char *path, int folder, struct err *err)
{
    if (strstr(path, "/..") == NULL) {
        return trusted_check_way(path, err);
    }
    CLEANUP(close_fd) int above = openat(folder, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return above >= 0 ? judge_way(above, err) : err_set(err, errno, "open what '%s' is in", path);
}

int trusted_open_to_write(const char *folder, struct err *err)
{
    CLEANUP(close_fd) int at = open_folder(folder, err);
    struct stat st;
    if (at < 0) {
        return -1;
    }
    CLEANUP(close_fd) int fd = openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        return err_set(err, errno, "open '%s'", folder);
    }
    if (!is_ours(&st) || can_others_write(fd, &st)) {
        return err_set(
            err, ERR_SPEC,
            "others can write to '%s' (user ID %u, mode %04o): put the files there by "
            "hand, or have it belong to root or the agent's user, and run 'chmod go-w' on it",
            folder, (unsigned) st.st_uid, (unsigned) st.st_mode & 07777);
    }
    if (check_way_to(folder, fd, err) < 0) {
        return err_prefix(err, "'%s'", folder);
    }
    return steal_fd(&fd);
}

/* For reading; the file is there already. */
static int open_again(int fd)
{
    char link[FD_LINK_MAX];
    name_fd(fd, link);
    return open(link, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

int trusted_open_file(const char *folder, const char *name, struct err *err)
{
    CLEANUP(close_fd) int at = open_folder(folder, err);
    struct stat in;
    struct stat st;
    if (at < 0) {
        return -1;
    }
    CLEANUP(close_fd)
    int fd = openat(at, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && errno == ELOOP) {
        if (check_way_to(folder, at, err) < 0) {
            return err_prefix(err, "a link is not followed");
        }
        static const struct trusted_bounds none = {0};
        CLEANUP(free) char *path = xasprintf("%s/%s", folder, name);
        CLEANUP(close_fd) int found = trusted_open(path, &none, err);
        if (found < 0) {
            return -1;
        }
        fd = open_again(found);
    }
    if (fd < 0 || fstat(fd, &st) < 0 || fstat(at, &in) < 0) {
        return err_set(err, errno, "open '%s/%s'", folder, name);
    }
    /* Of root's and of our own files, others can move here what lies where they can write. */
    bool is_owners = st.st_uid == in.st_uid && st.st_uid != 0 && st.st_uid != geteuid();
    if ((is_owners && st.st_nlink == 1) || (st.st_mode & S_IROTH) != 0) {
        return steal_fd(&fd);
    }
    if (is_foreign(&in)) {
        return err_set(err, ERR_SPEC,
                       "others can write to its folder, and it is not readable for all");
    }
    if (check_way_to(folder, at, err) < 0) {
        return err_prefix(err, "it is not readable for all");
    }
    return steal_fd(&fd);
}
