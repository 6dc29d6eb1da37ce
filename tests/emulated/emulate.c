/*
 * What the kernel starts programs of another architecture with (binfmt_misc, flag P), for
 * tests/cross: qemu's user-mode emulation, and for the agent and the unit tests what qemu does not
 * pass on.
 *
 *   emulate PATH ARGV0 ARGUMENTS...
 *
 * qemu 7.2 answers EINVAL to PR_SET_CHILD_SUBREAPER. The attribute outlives an exec, so it is set
 * here, for real; preload.c answers the program that it is.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static bool begins(const char *path, const char *word)
{
    const char *slash = strrchr(path, '/');
    return strncmp(slash != NULL ? slash + 1 : path, word, strlen(word)) == 0;
}

int main(int argc, char **argv)
{
    char **words = calloc((size_t) argc + 8, sizeof(*words));
    size_t n = 0;
    if (argc < 3 || words == NULL) {
        return 125;
    }
    words[n++] = QEMU;
    if (begins(argv[1], "edgible-agent") || begins(argv[1], "test_")) {
        if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0) {
            perror("emulate");
            return 125;
        }
        words[n++] = "-E";
        words[n++] = "LD_PRELOAD=" PRELOAD;
    }
    words[n++] = "-0";
    words[n++] = argv[2];
    words[n++] = argv[1];
    for (int i = 3; i < argc; i++) {
        words[n++] = argv[i];
    }
    execv(QEMU, words);
    perror(QEMU);
    return 125;
}
