/* sleeper [FILE]: writes its PID and the time of its start (CLOCK_MONOTONIC, ns) to the file, then
 * sleeps for ever; SIGTERM ends it. */
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static int write_stamp(const char *file)
{
    struct timespec ts;
    char text[64];
    (void) clock_gettime(CLOCK_MONOTONIC, &ts);
    int len = snprintf(text, sizeof(text), "%d %lld\n", (int) getpid(),
                       (long long) ts.tv_sec * 1000000000LL + ts.tv_nsec);
    int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, text, (size_t) len) != len) {
        return -1;
    }
    return close(fd);
}

int main(int argc, char **argv)
{
    if (argc > 1 && write_stamp(argv[1]) < 0) {
        return 1;
    }
    for (;;) {
        (void) pause();
    }
}
