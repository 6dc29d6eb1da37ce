#include "edgible/err.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void an_error_carries_its_sentence_and_code(void **state)
{
    (void) state;
    struct err err = {0};
    assert_int_equal(err_set(&err, ERR_SPEC, "open '%s'", "/x"), -1);
    assert_int_equal(err.code, ERR_SPEC);
    assert_string_equal(err.msg, "open '/x'");
}

static void context_goes_before_the_message(void **state)
{
    (void) state;
    struct err err = {0};
    (void) err_set(&err, ENOENT, "open '/x'");
    assert_int_equal(err_prefix(&err, "log"), -1);
    assert_int_equal(err_prefix(&err, "workload '%s'", "web"), -1);
    assert_string_equal(err.msg, "workload 'web': log: open '/x'");
    assert_int_equal(err.code, ENOENT);
}

static void the_text_of_an_errno_is_added_once_and_only_then(void **state)
{
    (void) state;
    char text[ERR_MSG_MAX + 128];
    struct err err = {0};
    (void) err_set(&err, ENOENT, "open '/x'");
    assert_string_equal(err_text(&err, text, sizeof(text)), "open '/x': No such file or directory");
    (void) err_set(&err, ERR_HOST, "no memory");
    assert_string_equal(err_text(&err, text, sizeof(text)), "no memory");
    (void) err_set(&err, 0, "plain");
    assert_string_equal(err_text(&err, text, sizeof(text)), "plain");
}

static void nobody_has_to_listen(void **state)
{
    (void) state;
    assert_int_equal(err_set(NULL, EPERM, "%s", "x"), -1);
    assert_int_equal(err_prefix(NULL, "%s", "x"), -1);
}

static void a_message_may_be_made_from_the_old_one(void **state)
{
    (void) state;
    struct err err = {0};
    (void) err_set(&err, EPERM, "inner");
    (void) err_set(&err, ERR_APP, "outer, after: %s", err.msg);
    assert_string_equal(err.msg, "outer, after: inner");
}

static void long_messages_are_cut(void **state)
{
    (void) state;
    struct err err = {0};
    char text[3 * ERR_MSG_MAX];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    (void) err_set(&err, EPERM, "%s", text);
    assert_int_equal(strlen(err.msg), ERR_MSG_MAX - 1);
    (void) err_prefix(&err, "%s", text);
    assert_int_equal(strlen(err.msg), ERR_MSG_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_carries_its_sentence_and_code),
        cmocka_unit_test(context_goes_before_the_message),
        cmocka_unit_test(the_text_of_an_errno_is_added_once_and_only_then),
        cmocka_unit_test(nobody_has_to_listen),
        cmocka_unit_test(a_message_may_be_made_from_the_old_one),
        cmocka_unit_test(long_messages_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
