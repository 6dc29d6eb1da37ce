/* stall RESULT: writes 100-byte lines to stdout as fast as it can, for ever, and keeps in RESULT
 * how many microseconds the longest write took since SIGUSR1 was last sent to it. */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t forget;

static void on_usr1(int number)
{
    (void) number;
    forget = 1;
}

static int64_t now_us(void)
{
    struct timespec ts;
    (void) clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void note(int fd, int64_t longest)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "%12lld\n", (long long) longest);
    (void) !pwrite(fd, text, (size_t) len, 0);
}

int main(int argc, char **argv)
{
    char line[100];
    (void) memset(line, 'x', sizeof(line));
    line[sizeof(line) - 1] = '\n';
    int fd = argc > 1 ? open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : -1;
    if (fd < 0) {
        return 2;
    }
    (void) signal(SIGUSR1, on_usr1);
    int64_t longest = 0;
    note(fd, 0);
    for (int64_t before = now_us();;) {
        (void) !write(STDOUT_FILENO, line, sizeof(line));
        int64_t after = now_us();
        if (forget) {
            forget = 0;
            longest = 0;
            note(fd, 0);
        } else if (after - before > longest) {
            longest = after - before;
            note(fd, longest);
        }
        before = after;
    }
}
