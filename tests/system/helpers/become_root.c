/*
 * become_root PIDFILE MARK [--daemon]: a program with the set-user-ID bit, as sudo is. Becomes root
 * for good, writes its PID and waits, whatever signal it gets; with --daemon in a session of its
 * own, as an orphan, and without environment and output. MARK is for who looks for it.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int write_pid(const char *path)
{
    FILE *file = fopen(path, "w");
    if (file == NULL || fprintf(file, "%d\n", (int) getpid()) < 0 || fclose(file) != 0) {
        perror(path);
        return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    char *arguments[] = {argv[0], argv[1], argv[2], NULL};
    char *environment[] = {NULL};
    if (argc < 3 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0) {
        perror("become_root");
        return 1;
    }
    (void) signal(SIGTERM, SIG_IGN);
    if (argc > 3 && strcmp(argv[3], "--daemon") == 0) {
        pid_t child = fork();
        if (child != 0) {
            return child < 0;
        }
        if (setsid() < 0 || freopen("/dev/null", "w", stdout) == NULL ||
            freopen("/dev/null", "w", stderr) == NULL) {
            return 1;
        }
        (void) execve(argv[0], arguments, environment);
        return 1;
    }
    if (write_pid(argv[1]) < 0) {
        return 1;
    }
    for (;;) {
        (void) pause();
    }
}
