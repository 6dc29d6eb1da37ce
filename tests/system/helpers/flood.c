/*
 * flood COUNT [BYTES] [DELAY_US]: COUNT numbered lines of BYTES bytes each (100), the line feed
 * included, one write a line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int write_line(const char *line, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDOUT_FILENO, line, len);
        if (n < 0) {
            return -1;
        }
        line += n;
        len -= (size_t) n;
    }
    return 0;
}

int main(int argc, char **argv)
{
    static const char filling[] = "the quick brown fox jumps over the lazy dog ";
    if (argc < 2) {
        return 2;
    }
    long count = strtol(argv[1], NULL, 10);
    size_t bytes = argc > 2 ? (size_t) strtoul(argv[2], NULL, 10) : 100;
    long delay_us = argc > 3 ? strtol(argv[3], NULL, 10) : 0;
    if (bytes < 10 || bytes > (size_t) 16 * 1024 * 1024) {
        return 2;
    }
    char *line = malloc(bytes + 16);
    if (line == NULL) {
        return 1;
    }
    for (long i = 0; i < count; i++) {
        size_t len = (size_t) snprintf(line, bytes + 16, "%08ld ", i);
        while (len < bytes - 1) {
            line[len] = filling[len % (sizeof(filling) - 1)];
            len++;
        }
        line[bytes - 1] = '\n';
        if (write_line(line, bytes) < 0) {
            free(line);
            return 1;
        }
        if (delay_us > 0) {
            (void) usleep((useconds_t) delay_us);
        }
    }
    free(line);
    return 0;
}
