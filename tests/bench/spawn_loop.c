/* spawn_loop N PROGRAM: starts N of the program with posix_spawn, one after the other, and prints
 * how many milliseconds that took. glibc's posix_spawn returns when the child has made its exec,
 * so at the end all N run. Then it kills and reaps them. */
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static double now_ms(void)
{
    struct timespec ts;
    (void) clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double) ts.tv_sec * 1e3 + (double) ts.tv_nsec / 1e6;
}

int main(int argc, char **argv)
{
    long count = argc == 3 ? strtol(argv[1], NULL, 10) : 0;
    pid_t *pids = count > 0 ? calloc((size_t) count, sizeof(*pids)) : NULL;
    if (pids == NULL) {
        (void) fprintf(stderr, "usage: spawn_loop N PROGRAM\n");
        return 2;
    }
    char *child_argv[] = {argv[2], NULL};
    double start = now_ms();
    long made = 0;
    while (made < count &&
           posix_spawn(&pids[made], argv[2], NULL, NULL, child_argv, environ) == 0) {
        made++;
    }
    double took = now_ms() - start;
    for (long i = 0; i < made; i++) {
        (void) kill(pids[i], SIGKILL);
        (void) waitpid(pids[i], NULL, 0);
    }
    free(pids);
    if (made < count) {
        (void) fprintf(stderr, "spawn_loop: only %ld of %ld could be started\n", made, count);
        return 1;
    }
    (void) printf("%.3f\n", took);
    return 0;
}
