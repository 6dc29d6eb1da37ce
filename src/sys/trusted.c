#include "edgible/trusted.h"

#include "edgible/fd.h"
#include "edgible/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define LINKS_MAX 40
#define FOLDERS_MAX 4096

/* A walk along a path, part by part. */
struct walk {
    const char *path; /* as it was asked for */
    const struct trusted_bounds *bounds;
    int at;     /* what has been come to; owned */
    char *rest; /* what is left to go, with the links that were followed put in; owned */
    unsigned links;
    uid_t top; /* whose the root folder is: root, whom some user namespaces call otherwise */
};

static bool is_trusted_user(const struct walk *walk, uid_t uid)
{
    return uid == 0 || uid == geteuid() || uid == walk->top;
}

static bool is_bound(const struct trusted_bounds *bounds, const struct stat *st)
{
    for (size_t i = 0; i < bounds->count; i++) {
        if (bounds->folders[i].dev == st->st_dev && bounds->folders[i].ino == st->st_ino) {
            return true;
        }
    }
    return false;
}

/* Whether the folder is one of the bounds, or below one; true where that cannot be told. */
static bool is_in_bounds(const struct trusted_bounds *bounds, int folder)
{
    CLEANUP(close_fd) int at = openat(folder, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct stat last = {0};
    for (int i = 0; i < FOLDERS_MAX && bounds->count > 0; i++) {
        struct stat st;
        if (at < 0 || fstat(at, &st) < 0 || is_bound(bounds, &st)) {
            return true;
        }
        if (i > 0 && st.st_dev == last.st_dev && st.st_ino == last.st_ino) {
            return false; /* the root */
        }
        last = st;
        int up = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
        fd_close(&at);
        at = up;
    }
    return bounds->count > 0;
}

static int refuse(const struct walk *walk, const char *name, const char *why, struct err *err)
{
    return err_set(err, ERR_SPEC, "the link '%s' in '%s' is not followed: %s", name, walk->path,
                   why);
}

/* A link in walk->at. */
static int check_link(const struct walk *walk, const char *name, const struct stat *link,
                      struct err *err)
{
    struct stat folder;
    struct statfs fs;
    if (fstat(walk->at, &folder) < 0 || fstatfs(walk->at, &fs) < 0) {
        return err_set(err, errno, "look at the folder of '%s' in '%s'", name, walk->path);
    }
    if (fs.f_type == PROC_SUPER_MAGIC) {
        return refuse(walk, name, "what a link of /proc leads to depends on who follows it", err);
    }
    if (!is_trusted_user(walk, link->st_uid)) {
        return refuse(walk, name, "it belongs neither to root nor to the agent's user", err);
    }
    /* Sticky or not: the owner of a link tells who made it, and not who moved it there from a
     * folder of its own. */
    bool is_open = (folder.st_mode & (S_IWGRP | S_IWOTH)) != 0;
    if (is_open || !is_trusted_user(walk, folder.st_uid)) {
        return refuse(walk, name, "others can write to the folder that it is in", err);
    }
    if (is_in_bounds(walk->bounds, walk->at)) {
        return refuse(walk, name, "it is in a folder that the sandbox may write to", err);
    }
    return 0;
}

static int follow(struct walk *walk, const char *name, int link, struct err *err)
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(link, "", target, sizeof(target) - 1);
    if (n <= 0 || ++walk->links > LINKS_MAX) {
        return err_set(err, n < 0 ? errno : ELOOP, "follow '%s' in '%s'", name, walk->path);
    }
    target[n] = '\0';
    char *rest = xasprintf("%s/%s", target, walk->rest);
    free(walk->rest);
    walk->rest = rest;
    if (target[0] == '/') {
        fd_close(&walk->at);
        walk->at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    }
    return walk->at >= 0 ? 0 : err_set(err, errno, "open '/'");
}

static bool goes_up(const char *path)
{
    for (const char *at = path; (at = strstr(at, "..")) != NULL; at += 2) {
        if ((at == path || at[-1] == '/') && (at[2] == '/' || at[2] == '\0')) {
            return true;
        }
    }
    return false;
}

/* One part further. */
static int step(struct walk *walk, const char *name, struct err *err)
{
    /* As a folder first, which mounts what is mounted when it is gone into. */
    int flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
    CLEANUP(close_fd) int next = openat(walk->at, name, flags | O_DIRECTORY);
    if (next < 0 && errno == ENOTDIR) {
        next = openat(walk->at, name, flags);
    }
    struct stat st;
    if (next < 0 || fstat(next, &st) < 0) {
        return err_set(err, errno, "open '%s'", walk->path);
    }
    if (S_ISLNK(st.st_mode)) {
        return check_link(walk, name, &st, err) < 0 ? -1 : follow(walk, name, next, err);
    }
    fd_close(&walk->at);
    walk->at = steal_fd(&next);
    return 0;
}

static int walk_all(struct walk *walk, struct err *err)
{
    for (;;) {
        const char *begin = walk->rest + strspn(walk->rest, "/");
        size_t len = strcspn(begin, "/");
        if (len == 0) {
            return 0;
        }
        CLEANUP(free) char *name = xstrndup(begin, len);
        char *rest = xstrdup(begin + len);
        free(walk->rest);
        walk->rest = rest;
        if (step(walk, name, err) < 0) {
            return -1;
        }
    }
}

int trusted_open(const char *path, const struct trusted_bounds *bounds, struct err *err)
{
    struct stat top;
    if (goes_up(path)) {
        return err_set(err, ERR_SPEC, "'%s' has a part '..'", path);
    }
    struct walk walk = {.path = path,
                        .bounds = bounds,
                        .at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC),
                        .rest = xstrdup(path)};
    int rc = path[0] == '/' && walk.at >= 0 && fstat(walk.at, &top) == 0 ? 0 : -1;
    if (rc < 0) {
        (void) err_set(err, path[0] == '/' ? errno : EINVAL, "open '%s'", path);
    } else {
        walk.top = top.st_uid;
        rc = walk_all(&walk, err);
    }
    free(walk.rest);
    if (rc < 0) {
        fd_close(&walk.at);
        return -1;
    }
    return walk.at;
}
