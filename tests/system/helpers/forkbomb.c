/*
 * forkbomb LIMIT [--exit]: forks without end, every process of it, each in a session of its own,
 * with at most LIMIT of them alive at a time and 100 × LIMIT in all; with --exit the parents end
 * as soon as they have forked twice, so that the chain of parents breaks. Each lives a minute.
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct shared {
    atomic_long alive;
    atomic_long made;
};

static bool take_place(struct shared *shared, long limit)
{
    if (atomic_fetch_add(&shared->made, 1) >= limit * 100) {
        return false;
    }
    if (atomic_fetch_add(&shared->alive, 1) >= limit) {
        (void) atomic_fetch_sub(&shared->alive, 1);
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    long limit = argc > 1 ? strtol(argv[1], NULL, 10) : 50;
    bool leave = argc > 2 && strcmp(argv[2], "--exit") == 0;
    struct shared *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || limit < 1 || limit > 2000) {
        return 2;
    }
    (void) signal(SIGCHLD, SIG_IGN);
    (void) signal(SIGTERM, SIG_IGN);
    (void) take_place(shared, limit);
    time_t end = time(NULL) + 60;
    int forked = 0;
    while (time(NULL) < end) {
        if (!take_place(shared, limit)) {
            (void) usleep(1000);
            continue;
        }
        pid_t pid = fork();
        if (pid == 0) {
            (void) setsid();
            forked = 0;
        } else if (pid < 0) {
            (void) atomic_fetch_sub(&shared->alive, 1);
        } else if (++forked >= 2 && leave) {
            (void) atomic_fetch_sub(&shared->alive, 1);
            return 0;
        }
    }
    return 0;
}
