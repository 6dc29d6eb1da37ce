/* workload FILE [escape]: appends a line of 32 bytes, its PID and the time of its start
 * (CLOCK_MONOTONIC, ns), to the file, then sleeps until a signal ends it.
 *
 * With `escape` it makes a daemon before (fork, setsid, fork) that ignores SIGTERM and appends its
 * line to FILE.escaped. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES 32

static int write_mark(const char *file)
{
    struct timespec ts;
    char text[LINE_BYTES + 1];
    (void) clock_gettime(CLOCK_MONOTONIC, &ts);
    (void) snprintf(text, sizeof(text), "%10d %20lld\n", (int) getpid(),
                    (long long) ts.tv_sec * 1000000000LL + ts.tv_nsec);
    int fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, text, LINE_BYTES) != LINE_BYTES) {
        return -1;
    }
    return close(fd);
}

static _Noreturn void live(void)
{
    for (;;) {
        (void) pause();
    }
}

static void start_daemon(const char *file)
{
    char name[4096];
    (void) snprintf(name, sizeof(name), "%s.escaped", file);
    pid_t middle = fork();
    if (middle == 0) {
        (void) setsid();
        if (fork() == 0) {
            (void) signal(SIGTERM, SIG_IGN);
            _exit(write_mark(name) < 0 ? 1 : (live(), 0));
        }
        _exit(0);
    }
    (void) waitpid(middle, NULL, 0);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        (void) fprintf(stderr, "usage: workload FILE [escape]\n");
        return 2;
    }
    if (argc > 2 && strcmp(argv[2], "escape") == 0) {
        start_daemon(argv[1]);
    }
    if (write_mark(argv[1]) < 0) {
        return 1;
    }
    live();
}
