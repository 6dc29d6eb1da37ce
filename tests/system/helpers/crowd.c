/*
 * crowd COUNT PIDFILE: makes COUNT daemons, each in a session of its own, as fast as it can, writes
 * their pids, a line each, to PIDFILE, and lives on beside them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* The daemons' parent, which ends at once. */
static _Noreturn void make_daemons(long count, const char *pid_file)
{
    FILE *file = fopen(pid_file, "we");
    for (long i = 0; file != NULL && i < count; i++) {
        pid_t pid = fork();
        if (pid < 0) {
            _exit(1);
        }
        if (pid == 0) {
            (void) setsid();
            for (;;) {
                (void) pause();
            }
        }
        (void) fprintf(file, "%d\n", (int) pid);
    }
    _exit(file != NULL && fclose(file) == 0 ? 0 : 1);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        return 2;
    }
    pid_t middle = fork();
    if (middle == 0) {
        make_daemons(strtol(argv[1], NULL, 10), argv[2]);
    }
    int status = 1;
    if (middle < 0 || waitpid(middle, &status, 0) < 0 || status != 0) {
        return 1;
    }
    for (;;) {
        (void) pause();
    }
}
