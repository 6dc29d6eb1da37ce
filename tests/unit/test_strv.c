#include "edgible/mem.h"
#include "edgible/strv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void it_ends_with_null_whenever_it_holds_anything(void **state)
{
    (void) state;
    CLEANUP(strv) struct strv v = {0};
    assert_null(v.items);
    for (size_t i = 0; i < 100; i++) {
        strv_add(&v, "x");
        assert_int_equal(v.count, i + 1);
        assert_null(v.items[v.count]);
    }
}

static void strings_are_copied_or_taken(void **state)
{
    (void) state;
    CLEANUP(strv) struct strv v = {0};
    char text[] = "abc";
    char *taken = xstrdup("taken");
    strv_add(&v, text);
    strv_add_take(&v, taken);
    text[0] = 'x';
    assert_string_equal(v.items[0], "abc");
    assert_ptr_equal(v.items[1], taken);
}

static void a_copy_is_equal_and_its_own(void **state)
{
    (void) state;
    CLEANUP(strv) struct strv a = {0};
    CLEANUP(strv) struct strv b = {0};
    CLEANUP(strv) struct strv empty = {0};
    strv_add(&a, "x");
    strv_add(&a, "");
    strv_copy(&b, &a);
    assert_true(strv_is_equal(&a, &b));
    assert_ptr_not_equal(a.items[0], b.items[0]);
    strv_fini(&b);
    strv_copy(&b, &empty);
    assert_null(b.items);
    assert_true(strv_is_equal(&b, &empty));
}

static void a_packed_one_can_be_added_to(void **state)
{
    (void) state;
    CLEANUP(strv) struct strv v = {0};
    strv_pack(&v);
    assert_null(v.items);
    strv_add(&v, "one");
    strv_add(&v, "");
    strv_pack(&v);
    assert_non_null(v.block);
    assert_null(v.items[2]);
    strv_add(&v, "three");
    assert_null(v.block);
    assert_int_equal(v.count, 3);
    assert_string_equal(v.items[0], "one");
    assert_string_equal(v.items[1], "");
    assert_string_equal(v.items[2], "three");
}

static void vectors_differ_in_length_content_and_order(void **state)
{
    (void) state;
    CLEANUP(strv) struct strv a = {0};
    CLEANUP(strv) struct strv b = {0};
    strv_add(&a, "x");
    assert_false(strv_is_equal(&a, &b));
    strv_add(&b, "y");
    assert_false(strv_is_equal(&a, &b));
    strv_add(&a, "y");
    strv_add(&b, "x");
    assert_false(strv_is_equal(&a, &b));
}

static void membership_is_by_whole_strings(void **state)
{
    (void) state;
    CLEANUP(strv) struct strv v = {0};
    assert_false(strv_has(&v, "x"));
    strv_add(&v, "xy");
    assert_false(strv_has(&v, "x"));
    assert_true(strv_has(&v, "xy"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_ends_with_null_whenever_it_holds_anything),
        cmocka_unit_test(strings_are_copied_or_taken),
        cmocka_unit_test(a_copy_is_equal_and_its_own),
        cmocka_unit_test(a_packed_one_can_be_added_to),
        cmocka_unit_test(vectors_differ_in_length_content_and_order),
        cmocka_unit_test(membership_is_by_whole_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
