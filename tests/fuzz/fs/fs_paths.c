/* fs_fuzz: paths that are opened while the mutator is at work on them. */
#include "edgible/doc_path.h"
#include "edgible/mem.h"
#include "edgible/trusted.h"
#include "fs_session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static char *some_path(struct ground *ground, enum arena arena)
{
    if (arena == ARENA_PUBLIC) {
        return xasprintf("%s/public/%s/%s", ground->base,
                         fs_log_folders[fs_random(ground, FS_LOG_FOLDERS)], fs_some_name(ground));
    }
    static const char *const starts[] = {"plain/a/b/", "plain/a/",      "plain/b/a/", "plain/",
                                         "links/in/",  "links/in/a/b/", "links/deep/"};
    return xasprintf("%s/%s%s", ground->base, starts[fs_random(ground, ARRAY_LEN(starts))],
                     fs_some_name(ground));
}

/* No link that the user can have made or moved was followed: so it is in the arena itself. */
static void check_trusted(const struct ground *ground, enum arena within, struct counts *counts,
                          const char *path, int fd)
{
    char link[48];
    char name[4096];
    struct stat st;
    (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, name, sizeof(name) - 1);
    CLEANUP(free) char *arena = fs_path(ground, arena_names[within]);
    name[n > 0 ? n : 0] = '\0';
    if (fstat(fd, &st) < 0 || canary_is_outside(&st) || S_ISLNK(st.st_mode) ||
        !starts_with(name, arena)) {
        fs_say_fault(counts, "trusted_open() followed a link out of the arena", path);
        (void) fprintf(stderr, "       to '%s'\n", name);
    }
}

static void try_trusted(struct ground *ground, enum arena within, struct counts *counts,
                        const char *path)
{
    CLEANUP(free) char *arena = fs_path(ground, arena_names[within]);
    struct err err = {0};
    struct stat st;
    if (stat(arena, &st) < 0) {
        fs_die(arena);
    }
    struct trusted_folder folder = {.dev = st.st_dev, .ino = st.st_ino};
    /* Where both are one user, only the bounds tell whose links are not followed. */
    bool has_bounds = !ground->is_root || fs_chance(ground, 50);
    struct trusted_bounds bounds = {.folders = &folder, .count = has_bounds ? 1 : 0};
    CLEANUP(close_fd) int fd = trusted_open(path, &bounds, &err);
    if (fd >= 0) {
        counts->trusted++;
        check_trusted(ground, within, counts, path, fd);
    } else {
        counts->untrusted += err.code == ERR_SPEC;
    }
}

/* A settled path leads to what was opened, now and later. */
static void check_settled(struct ground *ground, struct counts *counts,
                          const struct doc_path *resolved)
{
    struct stat st;
    CLEANUP(free) char *plain = fs_path(ground, "plain");
    CLEANUP(free) char *public = fs_path(ground, "public");
    bool is_within = starts_with(resolved->path, plain) || starts_with(resolved->path, public);
    if (!doc_path_is_settled(resolved->path, getuid()) || (is_within && !ground->is_root)) {
        return;
    }
    counts->settled++;
    bool is_theirs =
        is_within && strcmp(resolved->path, plain) != 0 && strcmp(resolved->path, public) != 0;
    if (is_theirs || lstat(resolved->path, &st) < 0 || st.st_dev != resolved->st.st_dev ||
        st.st_ino != resolved->st.st_ino) {
        fs_say_fault(counts, "a settled path leads elsewhere", resolved->path);
    }
}

static void try_resolve(struct ground *ground, struct counts *counts, const char *path)
{
    struct err err = {0};
    const struct doc_path_rules rules = {.any_owner = true};
    struct doc_path resolved = {.fd = -1};
    struct stat st;
    if (doc_path_open(path, &rules, &resolved, &err) == 0) {
        counts->resolved++;
        if (resolved.path[0] != '/' || fstat(resolved.fd, &st) < 0 ||
            st.st_ino != resolved.st.st_ino || st.st_dev != resolved.st.st_dev) {
            fs_say_fault(counts, "what was opened is not what was looked at", path);
        }
        check_settled(ground, counts, &resolved);
        doc_path_fini(&resolved);
    }
    if (doc_path_find(path, &rules, &resolved, &err) == 0) {
        if (resolved.path[0] != '/' || strstr(resolved.path, "/../") != NULL) {
            fs_say_fault(counts, "doc_path_find() gave a path that is not resolved", resolved.path);
        }
        doc_path_fini(&resolved);
    }
}

void session_run_paths(struct ground *ground, struct counts *counts)
{
    enum arena arena = fs_chance(ground, 70) ? ARENA_PLAIN : ARENA_PUBLIC;
    __atomic_store_n(&ground->shared->arena, (uint32_t) arena, __ATOMIC_RELAXED);
    fs_prepare(ground, arena);
    for (int i = 0; i < 40; i++) {
        CLEANUP(free) char *path = some_path(ground, arena);
        __atomic_store_n(&ground->shared->folder, fs_random(ground, FS_LOG_FOLDERS),
                         __ATOMIC_RELAXED);
        try_trusted(ground, arena, counts, path);
        try_resolve(ground, counts, path);
    }
}
