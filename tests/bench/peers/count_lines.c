/* count_lines PID COUNT FILE…: reads a log, its files from the oldest to the newest, and prints
 * "FOUND DOUBLED TORN" of the COUNT lines that the `lines` with that PID wrote. Torn is a line that
 * is damaged, or whole but lies in two files. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES 100
#define NUMBER_AT 11
#define NUMBER_END 21

struct tally {
    long pid;
    long count;
    uint8_t *seen;
    long found;
    long doubled;
    long torn;
};

/* The number of a whole line, or -1. */
static long number_of(const char *line, size_t len, long *ret_pid)
{
    char *end = NULL;
    if (len != LINE_BYTES) {
        return -1;
    }
    for (size_t i = NUMBER_END + 1; i < LINE_BYTES - 1; i++) {
        if (line[i] != 'x') {
            return -1;
        }
    }
    *ret_pid = strtol(line, &end, 10);
    if (end != line + NUMBER_AT - 1) {
        return -1;
    }
    long number = strtol(line + NUMBER_AT, &end, 10);
    return end == line + NUMBER_END ? number : -1;
}

static void take_line(struct tally *tally, const char *line, size_t len, int cut)
{
    long pid = tally->pid;
    long number = number_of(line, len, &pid);
    if (pid != tally->pid) {
        return;
    }
    if (number < 0 || number >= tally->count || cut) {
        tally->torn++;
    }
    if (number >= 0 && number < tally->count) {
        tally->found += tally->seen[number] ? 0 : 1;
        tally->doubled += tally->seen[number];
        tally->seen[number] = 1;
    }
}

int main(int argc, char **argv)
{
    struct tally tally = {.pid = argc > 2 ? strtol(argv[1], NULL, 10) : 0,
                          .count = argc > 2 ? strtol(argv[2], NULL, 10) : 0};
    char *line = NULL;
    char *held = NULL; /* the start of a line that the end of a file cut */
    size_t size = 0;
    size_t held_len = 0;
    tally.seen = tally.count > 0 ? calloc((size_t) tally.count, 1) : NULL;
    if (tally.seen == NULL) {
        (void) fprintf(stderr, "usage: count_lines PID COUNT FILE...\n");
        return 2;
    }
    for (int i = 3; i < argc; i++) {
        FILE *file = fopen(argv[i], "re");
        for (ssize_t n; file != NULL && (n = getline(&line, &size, file)) > 0;) {
            size_t len = (size_t) n;
            held = realloc(held, held_len + len);
            if (held == NULL) {
                return 1;
            }
            (void) memcpy(held + held_len, line, len);
            int cut = held_len > 0;
            held_len += len;
            if (line[len - 1] == '\n') {
                take_line(&tally, held, held_len, cut);
                held_len = 0;
            }
        }
        if (file == NULL || fclose(file) != 0) {
            perror(argv[i]);
            return 1;
        }
    }
    tally.torn += held_len > 0 ? 1 : 0;
    (void) printf("%ld %ld %ld\n", tally.found, tally.doubled, tally.torn);
    free(held);
    free(line);
    free(tally.seen);
    return 0;
}
