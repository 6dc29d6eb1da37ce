/* discard PAUSE-US: makes the pipe on stdin 1 MiB large, reads all of it in batches with a pause
 * after each, and throws it away: the most that any reader of a pipe can let its writer do. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define PIPE_BYTES (1 << 20)

static char batch[PIPE_BYTES];

int main(int argc, char **argv)
{
    long pause_us = argc > 1 ? strtol(argv[1], NULL, 10) : -1;
    if (pause_us < 0 || pause_us > 999999) {
        (void) fprintf(stderr, "usage: discard PAUSE-US\n");
        return 2;
    }
    const struct timespec pause = {.tv_nsec = pause_us * 1000};
    (void) fcntl(STDIN_FILENO, F_SETPIPE_SZ, PIPE_BYTES);
    while (read(STDIN_FILENO, batch, sizeof(batch)) > 0) {
        (void) nanosleep(&pause, NULL);
    }
    return 0;
}
