/*
 * hold_pipe [SECONDS] [CODE]: a grandchild holds the output open for SECONDS (60) after the leader
 * has ended with CODE (0).
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    unsigned seconds = argc > 1 ? (unsigned) strtoul(argv[1], NULL, 10) : 60;
    int code = argc > 2 ? (int) strtol(argv[2], NULL, 10) : 0;
    pid_t pid = fork();
    if (pid == 0) {
        (void) sleep(seconds);
        return 0;
    }
    (void) printf("holder %d\n", (int) pid);
    (void) fflush(stdout);
    return code;
}
