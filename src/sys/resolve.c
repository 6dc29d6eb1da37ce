#include "edgible/resolve.h"

#include "edgible/fd.h"
#include "edgible/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* "a/../b": a part that would go up again. */
static bool has_dots(const char *parts)
{
    while (*parts != '\0') {
        parts += strspn(parts, "/");
        size_t len = strcspn(parts, "/");
        if (len == 2 && strncmp(parts, "..", 2) == 0) {
            return true;
        }
        parts += len;
    }
    return false;
}

/* What exists, and behind it what does not. */
static char *join(const char *existing, const char *rest)
{
    CLEANUP(free) char *text = xasprintf("%s/%s", strcmp(existing, "/") == 0 ? "" : existing, rest);
    /* Doubled slashes and single dots of the rest. */
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
    return text[0] != '\0' ? steal_ptr(&text) : xstrdup("/");
}

char *resolve_path(const char *path, struct err *err)
{
    CLEANUP(free) char *front = xstrdup(path);
    for (size_t len = strlen(path);;) {
        CLEANUP(free) char *real = realpath(len > 0 ? front : "/", NULL);
        const char *rest = path + len;
        if (real != NULL && *rest == '\0') {
            return steal_ptr(&real);
        }
        if (real != NULL) {
            if (has_dots(rest)) {
                (void) err_set(err, ERR_SPEC, "'%s' goes up again from what does not exist", path);
                return NULL;
            }
            return join(real, rest);
        }
        if (errno != ENOENT || len == 0) {
            (void) err_set(err, errno, "resolve '%s'", path);
            return NULL;
        }
        while (len > 0 && front[len - 1] == '/') {
            len--;
        }
        while (len > 0 && front[len - 1] != '/') {
            len--;
        }
        /* A link that leads nowhere is there itself: what it will lead to cannot be known. */
        struct stat st;
        CLEANUP(free) char *entry = xstrndup(path, len + strcspn(path + len, "/"));
        if (lstat(entry, &st) == 0 && S_ISLNK(st.st_mode)) {
            (void) err_set(err, ENOENT, "'%s' is a link that leads to nothing", entry);
            return NULL;
        }
        front[len] = '\0';
    }
}

/* The kernel's name for what is open, where that is a name by which it can be found. */
static char *read_name(int fd, const struct stat *st, struct err *err)
{
    char link[48];
    char name[PATH_MAX];
    struct stat found;
    (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, name, sizeof(name));
    if (n <= 0 || (size_t) n >= sizeof(name)) {
        (void) err_set(err, n < 0 ? errno : ENAMETOOLONG, "read '%s'", link);
        return NULL;
    }
    name[n] = '\0';
    if (name[0] != '/' || lstat(name, &found) < 0 || found.st_dev != st->st_dev ||
        found.st_ino != st->st_ino) {
        (void) err_set(err, ESTALE, "what was opened is no longer at '%s'", name);
        return NULL;
    }
    return xstrdup(name);
}

char *resolve_descriptor(int fd, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        (void) err_set(err, errno, "look at a descriptor");
        return NULL;
    }
    return read_name(fd, &st, err);
}

int resolve_open(const char *path, struct resolved *ret, struct err *err)
{
    struct stat st;
    CLEANUP(close_fd) int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        return err_set(err, errno, "open '%s'", path);
    }
    char *name = read_name(fd, &st, err);
    if (name == NULL) {
        return err_prefix(err, "'%s'", path);
    }
    *ret = (struct resolved){.fd = steal_fd(&fd), .path = name, .st = st};
    return 0;
}

void resolved_fini(struct resolved *resolved)
{
    fd_close(&resolved->fd);
    free(steal_ptr(&resolved->path));
}

void cleanup_resolved(struct resolved *resolved)
{
    resolved_fini(resolved);
}

bool resolve_is_settled(const char *path)
{
    CLEANUP(free) char *folder = xstrdup(path);
    for (char *slash = strrchr(folder, '/'); slash != NULL; slash = strrchr(folder, '/')) {
        *slash = '\0';
        struct stat st;
        if (lstat(folder[0] != '\0' ? folder : "/", &st) < 0 || !S_ISDIR(st.st_mode) ||
            (st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
            return false;
        }
    }
    return true;
}
