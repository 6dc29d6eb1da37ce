/*
 * fs_fuzz: a process of the workload's user that changes names, links and files at random as fast
 * as it can. It takes care of one thing: it changes nothing outside its arenas itself, so that what
 * changes there is the agent's work. It opens folders without following links, and writes to files
 * of one name only.
 */
#include "edgible/mem.h"
#include "fs_fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define SWEEP_EVERY 60 /* of the times that it is chosen */
#define FLIPS_MAX 100

static const char *const folders[] = {"a", "b", "c", "a/b", "b/a", "c/b", "a/c", "r1", "r1/b"};
static const char *const names[] = {"a",       "b",       "c",       "x.log",   "y.log",
                                    "x.log.1", "x.log.2", "x.log.3", "x.log.4", "y.log.1",
                                    "q",       "a",       "b",       "x.log",   "r1"};

const char *fs_some_name(struct ground *ground)
{
    return names[fs_random(ground, ARRAY_LEN(names))];
}

static int open_beneath(int arena, const char *path)
{
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    return (int) syscall(SYS_openat2, arena, path, &how, sizeof(how));
}

int fs_open_some_folder(struct ground *ground, int arena)
{
    uint32_t hot = __atomic_load_n(&ground->shared->folder, __ATOMIC_RELAXED);
    const char *path = ".";
    if (fs_chance(ground, 50)) {
        path = fs_log_folders[hot % FS_LOG_FOLDERS];
    } else if (fs_chance(ground, 50)) {
        path = folders[fs_random(ground, ARRAY_LEN(folders))];
    }
    int fd = open_beneath(arena, path);
    return fd >= 0 ? fd : openat(arena, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

void fs_remove_below(int dir, const char *keep, int depth)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;
    if (stream == NULL) {
        return;
    }
    for (const struct dirent *entry = readdir(stream); entry != NULL; entry = readdir(stream)) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
            (keep != NULL && strcmp(name, keep) == 0) || unlinkat(dir, name, 0) == 0) {
            continue;
        }
        int below =
            depth > 0 ? openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
        if (below >= 0) {
            fs_remove_below(below, NULL, depth - 1);
            (void) close(below);
            (void) unlinkat(dir, name, AT_REMOVEDIR);
        }
    }
    (void) closedir(stream);
}

/* Where an operation takes place. */
struct spot {
    struct ground *ground;
    enum arena arena;
    int root; /* of the arena */
    int dir;
    int other;
    const char *name;
    const char *new_name;
};

static int do_mkdir(const struct spot *spot)
{
    static const mode_t modes[] = {0755, 0755, 0700, 0777, 01777};
    return mkdirat(spot->dir, spot->name, modes[fs_random(spot->ground, ARRAY_LEN(modes))]);
}

static int do_rmdir(const struct spot *spot)
{
    return unlinkat(spot->dir, spot->name, AT_REMOVEDIR);
}

static int do_unlink(const struct spot *spot)
{
    return unlinkat(spot->dir, spot->name, 0);
}

static int do_symlink(const struct spot *spot)
{
    return symlinkat(canary_some_target(spot->ground, spot->arena), spot->dir, spot->name);
}

static int do_link(const struct spot *spot)
{
    return linkat(spot->dir, spot->name, spot->other, spot->new_name, 0);
}

/* Refused by fs.protected_hardlinks, in general; the agent's side makes some, too. */
static int do_link_canary(const struct spot *spot)
{
    return linkat(AT_FDCWD, canary_some_hard_link(spot->ground, spot->arena), spot->dir, spot->name,
                  0);
}

static int do_rename(const struct spot *spot)
{
    return renameat(spot->dir, spot->name, spot->other, spot->new_name);
}

static int do_exchange(const struct spot *spot)
{
    return (int) syscall(SYS_renameat2, spot->dir, spot->name, spot->other, spot->new_name,
                         RENAME_EXCHANGE);
}

/* What is there and a link take turns under one name, as fast as they can. */
static int flip(const struct spot *spot, int dir, const char *name)
{
    int rc = -1;
    (void) unlinkat(dir, "q", 0);
    if (symlinkat(canary_some_target(spot->ground, spot->arena), dir, "q") < 0) {
        return -1;
    }
    for (uint32_t i = fs_random(spot->ground, FLIPS_MAX); i > 0; i--) {
        if (syscall(SYS_renameat2, dir, name, dir, "q", RENAME_EXCHANGE) < 0) {
            break;
        }
        rc = 0;
    }
    return rc;
}

/* The attack itself: on the log of this moment, on its folder, or on anything. */
static int do_flip(const struct spot *spot)
{
    const struct shared *shared = spot->ground->shared;
    uint32_t folder = __atomic_load_n(&shared->folder, __ATOMIC_RELAXED) % FS_LOG_FOLDERS;
    uint32_t file = __atomic_load_n(&shared->file, __ATOMIC_RELAXED) % FS_LOG_NAMES;
    uint32_t kind = fs_random(spot->ground, 5);
    if (kind == 0) {
        return flip(spot, spot->dir, spot->name);
    }
    CLEANUP(free) char *path = xstrdup(fs_log_folders[folder]);
    const char *name = fs_log_names[file];
    if (kind < 3) {
        char *slash = strrchr(path, '/');
        name = slash != NULL ? slash + 1 : fs_log_folders[folder];
        *(slash != NULL ? slash : path) = '\0';
    }
    CLEANUP(close_fd) int dir = open_beneath(spot->root, path[0] != '\0' ? path : ".");
    return dir >= 0 ? flip(spot, dir, name) : -1;
}

static int do_fifo(const struct spot *spot)
{
    return mknodat(spot->dir, spot->name, S_IFIFO | 0640, 0);
}

/* A file of the user's own with one name: a second one could be a canary's. */
static int open_own(const struct spot *spot, int flags)
{
    int fd =
        openat(spot->dir, spot->name, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0640);
    struct stat st;
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 &&
        st.st_uid == spot->ground->uid) {
        return fd;
    }
    if (fd >= 0) {
        (void) close(fd);
    }
    return -1;
}

static int do_write(const struct spot *spot)
{
    int fd = open_own(spot, O_WRONLY | O_CREAT | O_APPEND);
    if (fd < 0) {
        return -1;
    }
    static const char text[] = "what somebody else wrote\nand half a line";
    ssize_t n = write(fd, text, sizeof(text) - 1);
    (void) close(fd);
    return n > 0 ? 0 : -1;
}

static int do_truncate(const struct spot *spot)
{
    int fd = open_own(spot, O_WRONLY);
    int rc = fd >= 0 ? ftruncate(fd, (off_t) fs_random(spot->ground, 300)) : -1;
    if (fd >= 0) {
        (void) close(fd);
    }
    return rc;
}

static int do_chmod(const struct spot *spot)
{
    static const mode_t of_files[] = {0640, 0600, 0644, 0666, 0755, 0640, 0};
    static const mode_t of_folders[] = {0755, 0755, 0700, 0777, 01777};
    char link[48];
    struct stat st;
    int rc = -1;
    int fd = openat(spot->dir, spot->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_uid != spot->ground->uid) {
        rc = -1;
    } else if (S_ISDIR(st.st_mode)) {
        rc = chmod(link, of_folders[fs_random(spot->ground, ARRAY_LEN(of_folders))]);
    } else if (S_ISREG(st.st_mode) && st.st_nlink == 1) {
        rc = chmod(link, of_files[fs_random(spot->ground, ARRAY_LEN(of_files))]);
    }
    if (fd >= 0) {
        (void) close(fd);
    }
    return rc;
}

/* The agent's own mark, which a user can set, too. */
static int do_mark(const struct spot *spot)
{
    int fd = open_own(spot, O_RDONLY);
    int rc = fd >= 0 ? fsetxattr(fd, "user.edgible.log", "1", 1, 0) : -1;
    if (fd >= 0) {
        (void) close(fd);
    }
    return rc;
}

/* Else folders within folders would grow without an end. */
static int do_sweep(const struct spot *spot)
{
    if (fs_random(spot->ground, SWEEP_EVERY) != 0) {
        return -1;
    }
    fs_remove_below(spot->root, NULL, 64);
    return 0;
}

static int (*const ops[OP_COUNT])(const struct spot *) = {
    [OP_MKDIR] = do_mkdir,     [OP_RMDIR] = do_rmdir,       [OP_UNLINK] = do_unlink,
    [OP_SYMLINK] = do_symlink, [OP_LINK] = do_link,         [OP_LINK_CANARY] = do_link_canary,
    [OP_RENAME] = do_rename,   [OP_EXCHANGE] = do_exchange, [OP_FLIP] = do_flip,
    [OP_FIFO] = do_fifo,       [OP_WRITE] = do_write,       [OP_TRUNCATE] = do_truncate,
    [OP_CHMOD] = do_chmod,     [OP_MARK] = do_mark,         [OP_SWEEP] = do_sweep,
};

const char *const op_names[OP_COUNT] = {
    [OP_MKDIR] = "mkdir",     [OP_RMDIR] = "rmdir",       [OP_UNLINK] = "unlink",
    [OP_SYMLINK] = "symlink", [OP_LINK] = "link",         [OP_LINK_CANARY] = "link-canary",
    [OP_RENAME] = "rename",   [OP_EXCHANGE] = "exchange", [OP_FLIP] = "flip",
    [OP_FIFO] = "fifo",       [OP_WRITE] = "write",       [OP_TRUNCATE] = "truncate",
    [OP_CHMOD] = "chmod",     [OP_MARK] = "mark",         [OP_SWEEP] = "sweep",
};

/* What an attacker does most, and what makes room again. */
static enum op some_op(struct ground *ground)
{
    static const enum op often[] = {OP_EXCHANGE, OP_RENAME,  OP_SYMLINK, OP_UNLINK,
                                    OP_FLIP,     OP_SYMLINK, OP_UNLINK,  OP_FLIP};
    return fs_chance(ground, 60) ? often[fs_random(ground, ARRAY_LEN(often))]
                                 : (enum op) fs_random(ground, OP_COUNT);
}

static void mutate(struct ground *ground, const int *arenas)
{
    struct shared *shared = ground->shared;
    enum arena now = (enum arena) __atomic_load_n(&shared->arena, __ATOMIC_RELAXED);
    enum arena arena = fs_chance(ground, 90) ? now : (enum arena) fs_random(ground, ARENA_COUNT);
    struct spot spot = {.ground = ground, .arena = arena, .root = arenas[arena]};
    spot.dir = fs_open_some_folder(ground, spot.root);
    spot.other = fs_chance(ground, 60) ? dup(spot.dir) : fs_open_some_folder(ground, spot.root);
    spot.name = fs_some_name(ground);
    spot.new_name = fs_some_name(ground);
    enum op op = some_op(ground);
    if (spot.dir >= 0 && spot.other >= 0 && ops[op](&spot) == 0) {
        (void) __atomic_fetch_add(&shared->done[op], 1, __ATOMIC_RELAXED);
    }
    if (spot.dir >= 0) {
        (void) close(spot.dir);
    }
    if (spot.other >= 0) {
        (void) close(spot.other);
    }
}

void mutator_run(struct ground *ground)
{
    int arenas[ARENA_COUNT];
    pid_t parent = getppid();
    (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int i = 0; i < ARENA_COUNT; i++) {
        CLEANUP(free) char *path = fs_path(ground, arena_names[i]);
        arenas[i] = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (arenas[i] < 0) {
            fs_die(path);
        }
    }
    while (__atomic_load_n(&ground->shared->is_stopping, __ATOMIC_RELAXED) == 0 &&
           getppid() == parent) {
        uint32_t burst = 1 + fs_random(ground, 200);
        for (uint32_t i = 0; i < burst; i++) {
            mutate(ground, arenas);
        }
        /* Now and then the agent comes further than its next step. */
        struct timespec pause = {.tv_nsec = (long) fs_random(ground, 2000) * 1000};
        if (fs_chance(ground, 50)) {
            (void) nanosleep(&pause, NULL);
        }
    }
    _exit(0);
}
