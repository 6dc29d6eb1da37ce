#include "edgible/mem.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void even_nothing_is_an_allocation(void **state)
{
    (void) state;
    CLEANUP(free) char *a = xmalloc(0);
    CLEANUP(free) char *b = xcalloc(0, 0);
    CLEANUP(free) char *c = xrealloc(NULL, 0, 0);
    assert_non_null(a);
    assert_non_null(b);
    assert_non_null(c);
}

static void copies_are_of_the_whole_of_a_part_or_of_nothing(void **state)
{
    (void) state;
    CLEANUP(free) char *whole = xstrdup("abc");
    CLEANUP(free) char *part = xstrndup("abc", 2);
    CLEANUP(free) char *none = xstrdup_or_null(NULL);
    CLEANUP(free) char *some = xstrdup_or_null("x");
    CLEANUP(free) char *made = xasprintf("%d-%s", 7, "y");
    assert_string_equal(whole, "abc");
    assert_string_equal(part, "ab");
    assert_null(none);
    assert_string_equal(some, "x");
    assert_string_equal(made, "7-y");
}

static void what_is_stolen_leaves_null_behind(void **state)
{
    (void) state;
    char *a = xstrdup("abc");
    CLEANUP(free) char *b = steal_ptr(&a);
    assert_null(a);
    assert_string_equal(b, "abc");
}

/* In a child, which is to abort with a line on stderr. */
static void a_size_that_overflows_aborts(void **state)
{
    (void) state;
    pid_t pid = fork();
    if (pid == 0) {
        (void) close(STDERR_FILENO);
        (void) signal(SIGABRT, SIG_DFL);
        free(xrealloc(NULL, SIZE_MAX / 2, 4));
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void the_cleanups_take_what_is_not_there(void **state)
{
    (void) state;
    CLEANUP(fclose) FILE *none = NULL;
    CLEANUP(fclose) FILE *file = fopen("/dev/null", "re");
    CLEANUP(close_fd) int fd = -1;
    assert_null(none);
    assert_non_null(file);
    assert_int_equal(fd, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(even_nothing_is_an_allocation),
        cmocka_unit_test(copies_are_of_the_whole_of_a_part_or_of_nothing),
        cmocka_unit_test(what_is_stolen_leaves_null_behind),
        cmocka_unit_test(a_size_that_overflows_aborts),
        cmocka_unit_test(the_cleanups_take_what_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
