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
 *
 * It was tried on sources with one guard taken out, at 2 cores and a load of 16, for 20 s each. It
 * found each time: the change of the user and the loss of capabilities (log_owner.c, log_reader),
 * the policy's judgement of the opened folder, links of other users, links below the log folder,
 * O_NOFOLLOW with the look before it, second names (logfile_open.c, logfile_ours.c, log_reader),
 * O_NOFOLLOW of the reader, O_NONBLOCK of the reader, a descriptor that is not closed, the owner of
 * a link, its folder, the bounds and O_NOFOLLOW in trusted.c, the owner of a folder in
 * resolve_is_settled(). In some of the runs: links in a folder of
 * another user; in one of four: links in a sticky folder (trusted.c). Not found, since other guards
 * stand before them: O_NOFOLLOW of the opener alone (the look before it leaves some microseconds),
 * O_NOFOLLOW and the comparison of inodes in take_folder(), a chown by the log's path, and a stat()
 * by path in resolve_open(). The guard against links of /proc was not tried.
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
#define MORE_SECONDS 120   /* where a slow machine has not come everywhere */
#define REACHES_MAX 64
#define CHECK_EVERY 16
#define FD_TRIES 5000

const char *const arena_names[ARENA_COUNT] = {
    [ARENA_PLAIN] = "plain",     [ARENA_LIMITED] = "limited", [ARENA_LOGS] = "logs",
    [ARENA_STEERED] = "steered", [ARENA_PUBLIC] = "public",
};

const char *const fs_log_folders[FS_LOG_FOLDERS] = {"a/b", "a", "b/a", "c", "b", "."};
const char *const fs_log_names[FS_LOG_NAMES] = {"x.log", "y.log"};

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

/* Where it can hold the marks of logs; as root where a path can be settled, else in memory. The
 * caller frees. */
static char *make_base(bool is_root)
{
    const char *const places[] = {getenv("TMPDIR"), is_root ? "/run" : NULL, "/dev/shm", "/tmp"};
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
    ground->base = make_base(ground->is_root);
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

/* How far it came in one respect. */
struct reach {
    const char *what;
    const char *of;
    uint64_t count;
};

static size_t list_reaches(const struct ground *ground, const struct counts *counts,
                           struct reach *reaches)
{
    size_t n = 0;
    for (int i = 0; i < ARENA_PUBLIC; i++) {
        if (ground->is_root || i == ARENA_LIMITED || i == ARENA_LOGS) {
            reaches[n++] = (struct reach){"opened", arena_names[i], counts->opens[i]};
            reaches[n++] = (struct reach){"rotated", arena_names[i], counts->rotations[i]};
            reaches[n++] = (struct reach){"read back", arena_names[i], counts->reads[i]};
        }
    }
    reaches[n++] = (struct reach){"refused", "logs", counts->refusals};
    reaches[n++] = (struct reach){"read", "tails", counts->tails};
    reaches[n++] = (struct reach){"trusted", "paths", counts->trusted};
    reaches[n++] = (struct reach){"refused", "paths", counts->untrusted};
    reaches[n++] = (struct reach){"resolved", "paths", counts->resolved};
    reaches[n++] = (struct reach){"settled", "paths", counts->settled};
    for (int i = 0; i < OP_COUNT; i++) {
        /* fs.protected_hardlinks lets no user do it; then fs_prepare() alone does. */
        uint64_t count = __atomic_load_n(&ground->shared->done[i], __ATOMIC_RELAXED);
        if (i != OP_LINK_CANARY || count > 0) {
            reaches[n++] = (struct reach){"mutated by", op_names[i], count};
        }
    }
    return n;
}

/* A part that was never come to was not tested. */
static unsigned count_unreached(const struct ground *ground, const struct counts *counts)
{
    struct reach reaches[REACHES_MAX];
    unsigned unreached = 0;
    for (size_t n = list_reaches(ground, counts, reaches), i = 0; i < n; i++) {
        unreached += reaches[i].count == 0;
    }
    return unreached;
}

static void print_reaches(const struct ground *ground, const struct counts *counts)
{
    struct reach reaches[REACHES_MAX];
    for (size_t n = list_reaches(ground, counts, reaches), i = 0; i < n; i++) {
        (void) printf("  %-10s %-11s %9" PRIu64 "%s\n", reaches[i].what, reaches[i].of,
                      reaches[i].count, reaches[i].count == 0 ? "  FAULT: never" : "");
    }
}

/* For so long, and on a slow machine until it has come everywhere. */
static bool goes_on(const struct ground *ground, const struct counts *counts, double end)
{
    double now = now_seconds();
    return now < end || (now < end + MORE_SECONDS && count_unreached(ground, counts) > 0);
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
    for (double end = now_seconds() + seconds; faults == 0 && goes_on(&ground, &counts, end);
         sessions++) {
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
    print_reaches(&ground, &counts);
    faults += is_cut_short ? 0 : count_unreached(&ground, &counts);
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
