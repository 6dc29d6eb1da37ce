/* line_writer BYTES RESULT [FILE]: writes lines of 100 bytes, one write(2) a line, to the file
 * (O_APPEND) or else to stdout, until BYTES are written. Then it writes the times of its start and
 * end (CLOCK_MONOTONIC, ns) to RESULT. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES 100

static long long now_ns(void)
{
    struct timespec ts;
    (void) clock_gettime(CLOCK_MONOTONIC, &ts);
    return (long long) ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

int main(int argc, char **argv)
{
    char line[LINE_BYTES];
    if (argc < 3) {
        (void) fprintf(stderr, "usage: line_writer BYTES RESULT [FILE]\n");
        return 2;
    }
    long long count = strtoll(argv[1], NULL, 10) / LINE_BYTES;
    int fd =
        argc > 3 ? open(argv[3], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : STDOUT_FILENO;
    memset(line, 'x', sizeof(line));
    line[sizeof(line) - 1] = '\n';
    long long start = now_ns();
    for (long long i = 0; i < count; i++) {
        if (write(fd, line, sizeof(line)) != (ssize_t) sizeof(line)) {
            perror("line_writer");
            return 1;
        }
    }
    long long end = now_ns();
    FILE *result = fopen(argv[2], "we");
    if (result == NULL || fprintf(result, "%lld %lld\n", start, end) < 0 || fclose(result) != 0) {
        return 1;
    }
    return 0;
}
