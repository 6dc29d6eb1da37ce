/* What remote control planes have in common: secrets in files, and Retry-After. */
#include "../../src/svc/source_link.h"
#include "edgible/fd.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void retry_after_is_seconds_or_a_date(void **state)
{
    (void) state;
    int64_t now = 1445412480000; /* Wed, 21 Oct 2015 07:28:00 GMT */
    assert_int_equal(source_link_parse_retry_after("120", now), 120000);
    assert_int_equal(source_link_parse_retry_after("0", now), 0);
    assert_int_equal(source_link_parse_retry_after("Wed, 21 Oct 2015 07:29:30 GMT", now), 90000);
    assert_int_equal(source_link_parse_retry_after("Wed, 21 Oct 2015 07:00:00 GMT", now), 0);
    mono_ms far = (mono_ms) INT32_MAX * 1000; /* more than the hour that is obeyed */
    assert_int_equal(source_link_parse_retry_after("99999999999", now), far);
    assert_int_equal(source_link_parse_retry_after("99999999999999999999", now), far);
    static const char *const wrong[] = {"-1", "1.5",   "soon",
                                        "",   "120 s", "Wed, 21 Oct 2015 07:29:30"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        assert_int_equal(source_link_parse_retry_after(wrong[i], now), -1);
    }
    assert_int_equal(source_link_parse_retry_after(NULL, now), -1);
}

static void put(const char *path, const char *text, size_t len, mode_t mode)
{
    CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, text, len, NULL), 0);
    assert_int_equal(fchmod(fd, mode), 0);
}

static void secrets_are_first_lines_that_not_everybody_may_read(void **state)
{
    (void) state;
    char path[] = "/tmp/edgible-secret.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void) close(fd);
    static const struct {
        const char *text;
        mode_t mode;
        const char *secret; /* NULL: refused */
    } cases[] = {
        {"token",         0600, "token"},
        {"token\n",       0640, "token"},
        {"token\r\nrest", 0400, "token"},
        {"token",         0604, NULL   },
        {"token",         0602, NULL   },
        {"",              0600, NULL   },
        {"\ntoken",       0600, NULL   },
        {"to\tken",       0600, NULL   },
        {"token\x01",     0600, NULL   },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        put(path, cases[i].text, strlen(cases[i].text), cases[i].mode);
        CLEANUP(free) char *secret = secret_read(path, &err);
        if (cases[i].secret != NULL) {
            assert_string_equal(secret, cases[i].secret);
        } else {
            assert_null(secret);
            assert_non_null(strstr(err.msg, path));
        }
    }
    struct err err = {0};
    assert_null(secret_read("/tmp", &err));
    assert_null(secret_read("/nowhere/at/all", &err));
    (void) unlink(path);
}

static void a_file_that_is_exchanged_is_noticed(void **state)
{
    (void) state;
    char path[] = "/tmp/edgible-secret.XXXXXX";
    int fd = mkstemp(path);
    (void) close(fd);
    struct secret_stamp stamp = {0};
    assert_true(secret_has_changed(path, &stamp));
    assert_false(secret_has_changed(path, &stamp));
    put(path, "x", 1, 0600);
    assert_true(secret_has_changed(path, &stamp));
    (void) unlink(path);
    assert_true(secret_has_changed(path, &stamp));
    assert_false(secret_has_changed(path, &stamp));
    assert_false(secret_has_changed(NULL, &stamp));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(retry_after_is_seconds_or_a_date),
        cmocka_unit_test(secrets_are_first_lines_that_not_everybody_may_read),
        cmocka_unit_test(a_file_that_is_exchanged_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
