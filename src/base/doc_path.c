#include "edgible/doc_path.h"

#include "edgible/fd.h"
#include "edgible/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Fewer links than the kernel follows, no links that take turns in being long, and no longer way
 * than takes a millisecond. */
#define LINKS_MAX 16
#define STEPS_MAX 256
#define TARGETS_MAX ((size_t) 4 * PATH_MAX)
/* What the kernel goes through at once takes as long as one component that is opened by itself. */
#define PLAIN_PER_STEP 16

/* A walk along a path, component by component. */
struct walk {
    const char *path; /* as it was given */
    const struct doc_path_rules *rules;
    int at;           /* what has been come to; owned */
    char *text;       /* the path with the links that were followed put in; owned */
    const char *rest; /* of text: what is left to go */
    size_t own_left;  /* so many bytes at the end of rest are the end of the path itself */
    size_t own_len;   /* of the path, that are gone */
    size_t targets;   /* bytes of all links so far */
    unsigned links;
    unsigned steps;
    uid_t top;       /* whose the root folder is: root, whom some user namespaces call otherwise */
    bool is_steady;  /* all folders so far are root's, and nobody else can write to them */
    bool may_miss;   /* the end of the path need not be there */
    bool is_missing; /* rest, which is of the path itself, is not there */
};

static bool goes_up(const char *path)
{
    while (*path != '\0') {
        path += strspn(path, "/");
        size_t len = strcspn(path, "/");
        if (len == 2 && strncmp(path, "..", 2) == 0) {
            return true;
        }
        path += len;
    }
    return false;
}

int doc_path_check(const char *path, struct err *err)
{
    if (strlen(path) >= PATH_MAX) {
        return err_set(err, ENAMETOOLONG, "'%.100s…' is longer than %d bytes", path, PATH_MAX - 1);
    }
    if (goes_up(path)) {
        return err_set(err, ERR_SPEC, "'%.200s' must not have the component '..'", path);
    }
    return 0;
}

void doc_path_make_plain(char *path)
{
    char *to = path;
    for (; *path != '\0'; path++) {
        bool is_dot = path[0] == '/' && path[1] == '.' && path[2] == '/';
        path += is_dot ? 1 : 0;
        if (!is_dot && (path[0] != '/' || path[1] != '/')) {
            *to++ = *path;
        }
    }
    *to = '\0';
}

static bool is_root(const struct walk *walk, uid_t uid)
{
    return uid == 0 || uid == walk->top;
}

static bool is_trusted_user(const struct walk *walk, uid_t uid)
{
    return is_root(walk, uid) || uid == getuid();
}

int doc_path_refuse_link(const struct doc_path_spot *spot, const char *why, struct err *err)
{
    CLEANUP(free) char *folder = doc_path_of(spot->folder, NULL);
    const char *front = folder == NULL || strcmp(folder, "/") == 0 ? "" : folder;
    return err_set(err, ERR_SPEC, "the link '%s/%s' is not followed: %s", front, spot->name, why);
}

static int check_owner(const struct walk *walk, const struct doc_path_spot *spot, struct err *err)
{
    const struct doc_path_rules *rules = walk->rules;
    uid_t owner = spot->st->st_uid;
    if (rules->any_owner || is_trusted_user(walk, owner) ||
        (rules->has_user && owner == rules->user)) {
        return 0;
    }
    CLEANUP(free)
    char *why = xasprintf("it belongs to the user with ID %u, and not to %s: give the path that it "
                          "leads to, or have one of them make the link",
                          (unsigned) owner,
                          rules->has_user ? "root, the agent's user or the workload's user"
                                          : "root or the agent's user");
    return doc_path_refuse_link(spot, why, err);
}

static int check_link(const struct walk *walk, const struct doc_path_spot *spot, struct err *err)
{
    struct stat folder;
    struct statfs fs;
    if (fstat(walk->at, &folder) < 0 || fstatfs(walk->at, &fs) < 0) {
        return err_set(err, errno, "look at the folder of '%s' in '%s'", spot->name, walk->path);
    }
    if (fs.f_type == PROC_SUPER_MAGIC) {
        return doc_path_refuse_link(spot, "what a link of /proc leads to depends on who follows it",
                                    err);
    }
    bool is_roots = walk->is_steady && is_root(walk, spot->st->st_uid);
    if (walk->rules->is_confined && (!is_roots || is_root(walk, walk->rules->user))) {
        return doc_path_refuse_link(
            spot, "a program in a sandbox can have put it there: give the path that it leads to",
            err);
    }
    if (check_owner(walk, spot, err) < 0) {
        return -1;
    }
    /* Sticky or not: the owner of a link tells who made it, and not who moved it there from a
     * folder of its own. */
    bool is_open = (folder.st_mode & (S_IWGRP | S_IWOTH)) != 0;
    if (walk->rules->closed_folders && (is_open || !is_trusted_user(walk, folder.st_uid))) {
        return doc_path_refuse_link(spot, "others can write to the folder that it is in", err);
    }
    return walk->rules->on_link != NULL ? walk->rules->on_link(walk->rules->context, spot, err) : 0;
}

/* link: the open link; its target takes the place of its name in what is left to go. */
static int follow_link(struct walk *walk, const struct doc_path_spot *spot, int link,
                       struct err *err)
{
    char target[PATH_MAX];
    if (check_link(walk, spot, err) < 0) {
        return -1;
    }
    ssize_t n = readlinkat(link, "", target, sizeof(target) - 1);
    walk->targets += n > 0 ? (size_t) n : 0;
    if (n <= 0 || ++walk->links > LINKS_MAX || walk->targets > TARGETS_MAX) {
        return err_set(err, n < 0 ? errno : ELOOP, "follow '%s' in '%s'", spot->name, walk->path);
    }
    target[n] = '\0';
    char *text = xasprintf("%s/%s", target, walk->rest);
    free(walk->text);
    walk->text = text;
    walk->rest = text;
    if (target[0] == '/') {
        fd_close(&walk->at);
        walk->at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    }
    return walk->at >= 0 ? 0 : err_set(err, errno, "open '/'");
}

/* Whether one thing more may be opened. */
static int count_step(struct walk *walk, struct err *err)
{
    unsigned *left = walk->rules->steps_left;
    if (++walk->steps > STEPS_MAX || (left != NULL && *left == 0)) {
        return err_set(err, ERR_SPEC, "'%.200s' leads through too many folders", walk->path);
    }
    if (left != NULL) {
        --*left;
    }
    return 0;
}

/* As a folder first, which mounts what is mounted when it is gone into. */
static int open_component(int folder, const char *name)
{
    int flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(folder, name, flags | O_DIRECTORY);
    return fd < 0 && errno == ENOTDIR ? openat(folder, name, flags) : fd;
}

/* One component further. */
static int step(struct walk *walk, const struct doc_path_spot *spot, struct err *err)
{
    const struct doc_path_rules *rules = walk->rules;
    if (count_step(walk, err) < 0) {
        return -1;
    }
    CLEANUP(close_fd) int next = open_component(walk->at, spot->name);
    if (next < 0 && errno == ENOENT && spot->place != NULL && rules->make != NULL) {
        if (rules->make(rules->context, spot, err) < 0) {
            return -1;
        }
        next = open_component(walk->at, spot->name);
    }
    if (next < 0 && errno == ENOENT && spot->place != NULL && walk->may_miss) {
        walk->is_missing = true;
        return 0;
    }
    struct stat st;
    if (next < 0 || fstat(next, &st) < 0) {
        return err_set(err, errno, "open '%s'", walk->path);
    }
    struct doc_path_spot here = *spot;
    here.st = &st;
    if (spot->place != NULL && rules->on_own != NULL &&
        rules->on_own(rules->context, &here, err) < 0) {
        return -1;
    }
    walk->rest += strlen(spot->name);
    walk->own_left = spot->place != NULL ? strlen(walk->rest) : walk->own_left;
    if (S_ISLNK(st.st_mode)) {
        return follow_link(walk, &here, next, err);
    }
    walk->is_steady =
        walk->is_steady && is_root(walk, st.st_uid) && (st.st_mode & (S_IWGRP | S_IWOTH)) == 0;
    fd_close(&walk->at);
    walk->at = steal_fd(&next);
    return 0;
}

static int walk_all(struct walk *walk, struct err *err)
{
    char name[NAME_MAX + 1];
    while (!walk->is_missing) {
        walk->rest += strspn(walk->rest, "/");
        size_t len = strcspn(walk->rest, "/");
        if (len == 0) {
            return 0;
        }
        if (len > NAME_MAX) {
            return err_set(err, ENAMETOOLONG, "open '%s'", walk->path);
        }
        memcpy(name, walk->rest, len);
        name[len] = '\0';
        if (strcmp(name, ".") == 0) {
            walk->rest += len;
            continue;
        }
        size_t left = strlen(walk->rest);
        bool is_own = left <= walk->own_left;
        struct doc_path_spot spot = {.folder = walk->at,
                                     .name = name,
                                     .place = is_own ? walk->path + walk->own_len - left : NULL};
        if (step(walk, &spot, err) < 0) {
            return -1;
        }
    }
    return 0;
}

static int begin_walk(struct walk *walk, struct err *err)
{
    struct stat top;
    walk->rest = ""; /* nothing to go, until all is well */
    if (walk->path[0] != '/') {
        return err_set(err, EINVAL, "'%s' is not an absolute path", walk->path);
    }
    if (doc_path_check(walk->path, err) < 0 || count_step(walk, err) < 0) {
        return -1;
    }
    walk->at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (walk->at < 0 || fstat(walk->at, &top) < 0) {
        return err_set(err, errno, "open '/'");
    }
    const char *end = walk->rules->end;
    walk->own_len = end != NULL ? (size_t) (end - walk->path) : strlen(walk->path);
    walk->text = xstrndup(walk->path, walk->own_len);
    walk->rest = walk->text;
    walk->own_left = walk->own_len;
    walk->top = top.st_uid;
    walk->is_steady = true;
    return 0;
}

static void cleanup_walk(struct walk *walk)
{
    fd_close(&walk->at);
    free(walk->text);
}

static int open_plain_as(const char *path, uint64_t flags)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC | flags, .resolve = RESOLVE_NO_SYMLINKS};
    return (int) syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
}

/* The whole path at once, where there is no link on its way to be judged; else -1. */
static int open_plain(const char *path, const struct doc_path_rules *rules)
{
    unsigned parts = 1;
    for (const char *at = path; *at != '\0'; at++) {
        parts += *at == '/';
    }
    unsigned steps = 1 + parts / PLAIN_PER_STEP;
    unsigned *left = rules->steps_left;
    bool is_asked = rules->on_own != NULL || rules->make != NULL || rules->end != NULL;
    if (path[0] != '/' || is_asked || parts > STEPS_MAX || (left != NULL && *left < steps) ||
        doc_path_check(path, NULL) < 0) {
        return -1;
    }
    int fd = open_plain_as(path, O_DIRECTORY);
    fd = fd < 0 && errno == ENOTDIR ? open_plain_as(path, 0) : fd;
    if (fd >= 0 && left != NULL) {
        *left -= steps;
    }
    return fd;
}

int doc_path_open_fd(const char *path, const struct doc_path_rules *rules, struct err *err)
{
    int fd = open_plain(path, rules);
    if (fd >= 0) {
        return fd;
    }
    CLEANUP(walk) struct walk walk = {.path = path, .rules = rules, .at = -1};
    if (begin_walk(&walk, err) < 0 || walk_all(&walk, err) < 0) {
        return -1;
    }
    return steal_fd(&walk.at);
}

/* What exists, and behind it what does not, without doubled slashes and single dots. */
static char *join(const char *existing, const char *rest)
{
    CLEANUP(free) char *text = xasprintf("%s/%s", strcmp(existing, "/") == 0 ? "" : existing, rest);
    char *to = text;
    for (const char *from = text; *from != '\0';) {
        if (from[0] == '/' && (from[1] == '/' || from[1] == '\0')) {
            from++;
        } else if (from[0] == '/' && from[1] == '.' && (from[2] == '/' || from[2] == '\0')) {
            from += 2;
        } else {
            *to++ = *from++;
        }
    }
    *to = '\0';
    return steal_ptr(&text);
}

static int find(struct walk *walk, struct doc_path *ret, struct err *err)
{
    struct stat st;
    if (begin_walk(walk, err) < 0 || walk_all(walk, err) < 0) {
        return -1;
    }
    if (fstat(walk->at, &st) < 0) {
        return err_set(err, errno, "look at '%s'", walk->path);
    }
    char *path = doc_path_of(walk->at, err);
    if (path == NULL) {
        return err_prefix(err, "'%s'", walk->path);
    }
    if (walk->is_missing) {
        *ret = (struct doc_path){.fd = -1, .path = join(path, walk->rest)};
        free(path);
    } else {
        *ret = (struct doc_path){.fd = steal_fd(&walk->at), .path = path, .st = st};
    }
    return 0;
}

int doc_path_open(const char *path, const struct doc_path_rules *rules, struct doc_path *ret,
                  struct err *err)
{
    CLEANUP(walk) struct walk walk = {.path = path, .rules = rules, .at = -1};
    return find(&walk, ret, err);
}

int doc_path_find(const char *path, const struct doc_path_rules *rules, struct doc_path *ret,
                  struct err *err)
{
    CLEANUP(walk) struct walk walk = {.path = path, .rules = rules, .at = -1, .may_miss = true};
    return find(&walk, ret, err);
}

char *doc_path_of(int fd, struct err *err)
{
    char link[48];
    char name[PATH_MAX];
    struct stat st;
    struct stat found;
    (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, name, sizeof(name));
    if (n <= 0 || (size_t) n >= sizeof(name) || fstat(fd, &st) < 0) {
        (void) err_set(err, n <= 0 ? errno : ENAMETOOLONG, "read '%s'", link);
        return NULL;
    }
    name[n] = '\0';
    if (name[0] != '/' || lstat(name, &found) < 0 || found.st_dev != st.st_dev ||
        found.st_ino != st.st_ino) {
        (void) err_set(err, ESTALE, "what was opened is no longer at '%s'", name);
        return NULL;
    }
    return xstrdup(name);
}

void doc_path_fini(struct doc_path *path)
{
    fd_close(&path->fd);
    free(steal_ptr(&path->path));
}

void cleanup_doc_path(struct doc_path *path)
{
    doc_path_fini(path);
}

bool doc_path_is_settled(const char *path, uid_t user)
{
    CLEANUP(free) char *folder = xstrdup(path);
    for (char *slash = strrchr(folder, '/'); slash != NULL; slash = strrchr(folder, '/')) {
        *slash = '\0';
        struct stat st;
        if (lstat(folder[0] != '\0' ? folder : "/", &st) < 0 || !S_ISDIR(st.st_mode) ||
            (st.st_uid != 0 && st.st_uid != user) || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
            return false;
        }
    }
    return true;
}
