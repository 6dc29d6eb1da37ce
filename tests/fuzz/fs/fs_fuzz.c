/*
 * fs_fuzz: the log opener and the path modules against a process that changes the file system at
 * random beside them. What is outside the reach of the process's user must stay as it is, nothing
 * that the user may not read may come back, and no descriptor may be left over.
 *
 *     fuzz_fs [--seconds N] [--seed N]
 *
 * As root: an agent of root, and a mutator of uid 65533 without capabilities; then, for a third of
 * the time, both as uid 65532. Else both as the calling user: then a policy and the agent's log
 * folder are what must hold. A seed repeats what each of the two does, and not how they meet.
 */
#include "edgible/mem.h"
#include "fs_session.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define USER_ID 65533      /* the workload's, beside an agent of root */
#define ORDINARY_ID 65532  /* of the agent and its workload in one */
#define SESSION_SECONDS 90 /* one that takes longer hangs */
#define CHECK_EVERY 16
#define FD_TRIES 5000

const char *const arena_names[ARENA_COUNT] = {
    [ARENA_PLAIN] = "plain",     [ARENA_LIMITED] = "limited", [ARENA_LOGS] = "logs",
    [ARENA_STEERED] = "steered", [ARENA_PUBLIC] = "public",
};

const char *const fs_log_folders[FS_LOG_FOLDERS] = {"a/b", "a", "b/a", "c", "b", "."};

void fs_die(const char *what)
{
    (void) fprintf(stderr, "fuzz_fs: %s: %s\n", what, strerror(errno));
    exit(2);
}

char *fs_path(const struct ground *ground, const char *relative)
{
    return xasprintf("%s/%s", ground->base, relative);
}

/* splitmix64 */
uint32_t fs_random(struct ground *ground, uint32_t limit)
{
    ground->random += 0x9e3779b97f4a7c15U;
    uint64_t z = ground->random;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return (uint32_t) ((z ^ (z >> 31)) >> 16) % limit;
}

bool fs_chance(struct ground *ground, uint32_t percent)
{
    return fs_random(ground, 100) < percent;
}

static unsigned count_descriptors(void)
{
    unsigned count = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir != NULL && readdir(dir) != NULL) {
        count++;
    }
    if (dir != NULL) {
        (void) closedir(dir);
    }
    return count;
}

/* A reader's thread closes its last one after it has said that it is through. */
static bool has_leak(unsigned before)
{
    struct timespec pause = {.tv_nsec = 1000000};
    for (int tries = 0; count_descriptors() > before; tries++) {
        if (tries == FD_TRIES) {
            (void) fprintf(stderr, "FAULT: %u descriptors, and %u before\n", count_descriptors(),
                           before);
            return true;
        }
        (void) nanosleep(&pause, NULL);
    }
    return false;
}

static void become(uid_t uid)
{
    if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0) {
        fs_die("become another user");
    }
}

static pid_t start_mutator(const struct ground *ground, uint64_t seed)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct ground own = *ground;
        own.random = ~seed;
        if (ground->is_root) {
            become(ground->uid);
        }
        mutator_run(&own);
    }
    if (pid < 0) {
        fs_die("fork");
    }
    return pid;
}

/* In memory where it can hold the marks of logs: rotation makes a disk write, which takes most of
 * the time. The caller frees. */
static char *make_base(void)
{
    const char *const places[] = {getenv("TMPDIR"), "/dev/shm", "/tmp"};
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        CLEANUP(free)
        char *base = xasprintf("%s/edgible-fuzz-fs.XXXXXX", places[i] != NULL ? places[i] : "");
        if (places[i] == NULL || mkdtemp(base) == NULL) {
            continue;
        }
        if (setxattr(base, "user.edgible.test", "1", 1, 0) == 0) {
            return steal_ptr(&base);
        }
        (void) rmdir(base);
    }
    return NULL;
}

static void make_ground(struct ground *ground, uint64_t seed)
{
    *ground = (struct ground){.is_root = geteuid() == 0, .agent = getpid(), .random = seed};
    ground->uid = ground->is_root ? USER_ID : geteuid();
    ground->gid = ground->is_root ? USER_ID : getegid();
    ground->shared = mmap(NULL, sizeof(*ground->shared), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ground->base = make_base();
    if (ground->shared == MAP_FAILED || ground->base == NULL || chmod(ground->base, 0755) < 0) {
        fs_die("make a folder");
    }
    (void) snprintf(ground->secret, sizeof(ground->secret), "secret %016" PRIx64,
                    seed ^ (uint64_t) getpid() << 40);
    canaries_make(ground);
    /* What a link of /proc to this process's working directory leads to. */
    CLEANUP(free) char *shut = fs_path(ground, "shut");
    if (chdir(shut) < 0) {
        fs_die(shut);
    }
}

static void remove_ground(struct ground *ground)
{
    int dir = open(ground->base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    fs_remove_below(dir, NULL, 64);
    (void) close(dir);
    (void) !chdir("/");
    (void) rmdir(ground->base);
    free(ground->base);
}

static void run_session(struct ground *ground, struct counts *counts)
{
    static const enum arena as_root[] = {ARENA_PLAIN, ARENA_PLAIN,   ARENA_LIMITED,
                                         ARENA_LOGS,  ARENA_STEERED, ARENA_COUNT};
    static const enum arena as_user[] = {ARENA_LIMITED, ARENA_LOGS,    ARENA_LIMITED,
                                         ARENA_LOGS,    ARENA_LIMITED, ARENA_COUNT};
    uint32_t kind = fs_random(ground, ARRAY_LEN(as_root));
    enum arena arena = ground->is_root ? as_root[kind] : as_user[kind];
    if (arena == ARENA_COUNT) {
        session_run_paths(ground, counts);
    } else {
        session_run_log(ground, arena, counts);
    }
}

static double now_seconds(void)
{
    struct timespec now;
    (void) clock_gettime(CLOCK_MONOTONIC, &now);
    return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

/* A part that was never come to was not tested. */
static unsigned say_count(const char *name, const char *of, uint64_t count, bool may_be_none)
{
    (void) printf("  %-12s %-8s %10" PRIu64 "\n", name, of, count);
    if (count == 0 && !may_be_none) {
        (void) fprintf(stderr, "FAULT: no %s %s: the fuzz did not get there\n", name, of);
        return 1;
    }
    return 0;
}

static unsigned say_counts(const struct ground *ground, const struct counts *counts)
{
    unsigned faults = 0;
    for (int i = 0; i < ARENA_COUNT; i++) {
        bool is_unused =
            i == ARENA_PUBLIC || (!ground->is_root && i != ARENA_LIMITED && i != ARENA_LOGS);
        if (!is_unused) {
            faults += say_count("opens", arena_names[i], counts->opens[i], false);
            faults += say_count("rotations", arena_names[i], counts->rotations[i], false);
            faults += say_count("reads", arena_names[i], counts->reads[i], false);
        }
    }
    faults += say_count("refused", "opens", counts->refusals, false);
    faults += say_count("tails", "", counts->tails, false);
    faults += say_count("trusted", "paths", counts->trusted, false);
    faults += say_count("refused", "paths", counts->untrusted, false);
    faults += say_count("resolved", "paths", counts->resolved, false);
    faults += say_count("settled", "paths", counts->settled, false);
    for (int i = 0; i < OP_COUNT; i++) {
        /* fs.protected_hardlinks does not let a user do it; plant() does it then. */
        bool may_be_none = i == OP_LINK_CANARY && ground->is_root;
        faults += say_count("mutations", op_names[i], ground->shared->done[i], may_be_none);
    }
    return faults;
}

static int run_phase(double seconds, uint64_t seed)
{
    struct ground ground;
    struct counts counts = {0};
    (void) umask(022);
    make_ground(&ground, seed);
    pid_t mutator = start_mutator(&ground, seed);
    unsigned descriptors = count_descriptors();
    uint64_t sessions = 0;
    uint64_t faults = 0;
    for (double end = now_seconds() + seconds; faults == 0 && now_seconds() < end; sessions++) {
        (void) alarm(SESSION_SECONDS);
        run_session(&ground, &counts);
        if (sessions % CHECK_EVERY == 0) {
            faults += canaries_check(&ground) + has_leak(descriptors);
        }
        faults += counts.faults;
    }
    bool is_cut_short = faults > 0;
    int status = 0;
    __atomic_store_n(&ground.shared->is_stopping, 1, __ATOMIC_RELAXED);
    if (waitpid(mutator, &status, 0) != mutator || status != 0) {
        (void) fprintf(stderr, "FAULT: the mutator ended with %d\n", status);
        faults++;
    }
    faults += is_cut_short ? 0 : canaries_check(&ground) + has_leak(descriptors);
    (void) printf("uid %u: %" PRIu64 " sessions\n", (unsigned) geteuid(), sessions);
    faults += is_cut_short ? 0 : say_counts(&ground, &counts);
    remove_ground(&ground);
    (void) munmap(ground.shared, sizeof(*ground.shared));
    return faults > 0 ? 1 : 0;
}

/* In a process of its own: it changes its user, and may crash. */
static int fork_phase(double seconds, uint64_t seed, bool is_ordinary)
{
    int status = 0;
    (void) fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        if (is_ordinary) {
            become(ORDINARY_ID);
        }
        exit(run_phase(seconds, seed));
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        fs_die("fork");
    }
    if (WIFSIGNALED(status)) {
        (void) fprintf(stderr, "FAULT: the agent ended by signal %d%s\n", WTERMSIG(status),
                       WTERMSIG(status) == SIGALRM ? ": it hung" : "");
    }
    return status;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"seconds", required_argument, NULL, 's'},
        {"seed",    required_argument, NULL, 'r'},
        {NULL,      0,                 NULL, 0  },
    };
    double seconds = 20;
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof(seed), 0) != (ssize_t) sizeof(seed)) {
        fs_die("take a seed");
    }
    for (int opt; (opt = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (opt == 's') {
            seconds = strtod(optarg, NULL);
        } else if (opt == 'r') {
            seed = strtoull(optarg, NULL, 0);
        } else {
            return 2;
        }
    }
    bool is_root = geteuid() == 0;
    (void) printf("seed %" PRIu64 ", %.0f s\n", seed, seconds);
    int status = fork_phase(is_root ? seconds * 2 / 3 : seconds, seed, false);
    if (is_root && status == 0) {
        status = fork_phase(seconds / 3, seed, true);
    }
    (void) printf("%s\n", status == 0 ? "nothing outside the user's reach changed" : "failed");
    return status == 0 ? 0 : 1;
}
