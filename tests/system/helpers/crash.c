/*
 * crash (exit CODE | signal SIGNAL) [after MS]: ends in the way given, SIGNAL being a number.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    const char *way = "exit";
    int value = 1;
    for (int i = 1; i + 1 < argc; i += 2) {
        int number = (int) strtol(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "after") == 0) {
            (void) usleep((useconds_t) number * 1000);
        } else {
            way = argv[i];
            value = number;
        }
    }
    (void) printf("crash: %s %d\n", way, value);
    (void) fflush(stdout);
    if (strcmp(way, "signal") == 0) {
        (void) signal(value, SIG_DFL);
        (void) raise(value);
        (void) pause();
    }
    return value;
}
