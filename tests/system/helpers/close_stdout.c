/*
 * close_stdout: prints "ready", closes its output and lives on: the log's end is not the exit.
 */
#include <stdio.h>
#include <unistd.h>

int main(void)
{
    (void) printf("ready\n");
    (void) fflush(stdout);
    (void) close(STDOUT_FILENO);
    (void) close(STDERR_FILENO);
    for (;;) {
        (void) pause();
    }
}
