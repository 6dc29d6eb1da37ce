/*
 * Loaded into the programs that tests/cross runs under qemu: answers for what emulate.c has done,
 * and leaves out the unit tests that tests/emulated/cannot lists, each with its reason.
 */
#include <dlfcn.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cmocka.h>

/* The attribute is this process's alone: a fork of it has it no more. */
static pid_t subreaper;

__attribute__((constructor)) static void remember(void)
{
    subreaper = getpid();
    (void) unsetenv("LD_PRELOAD"); /* of native programs that it starts, it would be none */
}

int prctl(int option, ...)
{
    va_list list;
    va_start(list, option);
    unsigned long arg[4];
    for (int i = 0; i < 4; i++) {
        arg[i] = va_arg(list, unsigned long);
    }
    va_end(list);
    if (option == PR_SET_CHILD_SUBREAPER && getpid() == subreaper) {
        return 0;
    }
    if (option == PR_GET_CHILD_SUBREAPER && getpid() == subreaper) {
        *(int *) arg[0] = 1;
        return 0;
    }
    int (*next)(int, ...) = (int (*)(int, ...)) dlsym(RTLD_NEXT, "prctl");
    return next(option, arg[0], arg[1], arg[2], arg[3]);
}

/* Where time_t is made 64 bits wide, sys/prctl.h gives it this name. */
int __prctl_time64(int option, ...) __attribute__((nothrow, leaf, alias("prctl")));

/* The reason, where the list has the name; else NULL. */
static const char *reason_of(FILE *list, const char *name, char *line, int size)
{
    size_t len = strlen(name);
    rewind(list);
    while (fgets(line, size, list) != NULL) {
        if (strncmp(line, name, len) == 0 && line[len] == ' ') {
            return line + len + 1;
        }
    }
    return NULL;
}

int _cmocka_run_group_tests(const char *group, const struct CMUnitTest *tests, size_t count,
                            CMFixtureFunction setup, CMFixtureFunction teardown)
{
    int (*next)(const char *, const struct CMUnitTest *, size_t, CMFixtureFunction,
                CMFixtureFunction) =
        (int (*)(const char *, const struct CMUnitTest *, size_t, CMFixtureFunction,
                 CMFixtureFunction)) dlsym(RTLD_NEXT, "_cmocka_run_group_tests");
    const char *path = getenv("EDGIBLE_CANNOT");
    FILE *list = path != NULL ? fopen(path, "re") : NULL;
    struct CMUnitTest *wanted = calloc(count, sizeof(*wanted));
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        char line[512];
        const char *reason = list != NULL ? reason_of(list, tests[i].name, line, 512) : NULL;
        if (reason == NULL) {
            wanted[n++] = tests[i];
        } else {
            printf("not run here: %s: %s", tests[i].name, reason);
        }
    }
    (void) fflush(stdout);
    if (list != NULL) {
        (void) fclose(list);
    }
    int rc = n > 0 ? next(group, wanted, n, setup, teardown) : 0;
    free(wanted);
    return rc;
}
