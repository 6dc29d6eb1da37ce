/*
 * ignore_term: ignores SIGTERM, SIGINT and SIGHUP, prints "ready" and lives on.
 */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

int main(void)
{
    (void) signal(SIGTERM, SIG_IGN);
    (void) signal(SIGINT, SIG_IGN);
    (void) signal(SIGHUP, SIG_IGN);
    (void) printf("ready\n");
    (void) fflush(stdout);
    for (;;) {
        (void) pause();
    }
}
