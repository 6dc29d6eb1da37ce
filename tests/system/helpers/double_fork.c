/*
 * double_fork COUNT PIDFILE [--clean-env] [--same-group] [--exit]: starts COUNT daemons as daemons
 * were started of old (fork, setsid, fork, the middle one exits) and lives on, or with --exit ends
 * with 0 once all have written their pid, a line each, to PIDFILE.
 *
 * --clean-env: the daemons execute themselves anew with an empty environment.
 * --same-group: no setsid; they stay in the session and group.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static _Noreturn void live(const char *pid_file)
{
    char line[32];
    int len = snprintf(line, sizeof(line), "%d\n", (int) getpid());
    int fd = open(pid_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    (void) !write(fd, line, (size_t) len);
    (void) close(fd);
    for (;;) {
        (void) pause();
    }
}

static _Noreturn void be_daemon(const char *pid_file, bool clean_env)
{
    if (clean_env) {
        char name[] = "double_fork";
        char option[] = "--live";
        char path[4096];
        (void) snprintf(path, sizeof(path), "%s", pid_file);
        char *const args[] = {name, option, path, NULL};
        char *const no_env[] = {NULL};
        (void) execve("/proc/self/exe", args, no_env);
        _exit(126);
    }
    live(pid_file);
}

static void start_daemon(const char *pid_file, bool clean_env, bool same_group)
{
    pid_t middle = fork();
    if (middle == 0) {
        if (!same_group) {
            (void) setsid();
        }
        if (fork() == 0) {
            be_daemon(pid_file, clean_env);
        }
        _exit(0);
    }
    (void) waitpid(middle, NULL, 0);
}

static long count_lines(const char *path)
{
    FILE *file = fopen(path, "re");
    long lines = 0;
    for (int c = 0; file != NULL && (c = fgetc(file)) != EOF;) {
        lines += c == '\n' ? 1 : 0;
    }
    if (file != NULL) {
        (void) fclose(file);
    }
    return lines;
}

int main(int argc, char **argv)
{
    bool clean_env = false;
    bool same_group = false;
    bool leave = false;
    if (argc == 3 && strcmp(argv[1], "--live") == 0) {
        live(argv[2]);
    }
    for (int i = 3; i < argc; i++) {
        clean_env = clean_env || strcmp(argv[i], "--clean-env") == 0;
        same_group = same_group || strcmp(argv[i], "--same-group") == 0;
        leave = leave || strcmp(argv[i], "--exit") == 0;
    }
    if (argc < 3) {
        return 2;
    }
    long count = strtol(argv[1], NULL, 10);
    for (long i = 0; i < count; i++) {
        start_daemon(argv[2], clean_env, same_group);
    }
    while (count_lines(argv[2]) < count) {
        (void) usleep(1000);
    }
    (void) printf("ready\n");
    (void) fflush(stdout);
    if (leave) {
        return 0;
    }
    for (;;) {
        (void) pause();
    }
}
