#include "edgible/diag.h"
#include "edgible/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void assert_item(const struct diag *diag, size_t index, const char *text)
{
    assert_true(index < diag->count);
    CLEANUP(free) char *found = diag_item_text(&diag->items[index]);
    assert_string_equal(found, text);
}

static void an_item_reads_as_file_line_column_path_and_cause(void **state)
{
    (void) state;
    CLEANUP(diag) struct diag diag = {0};
    diag_add(&diag, DIAG_ERROR, "app.yaml", 14, 16, "spec.workloads[0].command[2]",
             "expected %s, found %s", "a string", "a mapping");
    diag_add(&diag, DIAG_WARNING, "app.yaml", 2, 1, "x", "unknown key");
    diag_add(&diag, DIAG_ERROR, "app.yaml", 3, 4, "", "not UTF-8");
    diag_add(&diag, DIAG_ERROR, "app.yaml", 0, 0, "", "empty");
    assert_item(&diag, 0,
                "app.yaml:14:16: spec.workloads[0].command[2]: expected a string, found a mapping");
    assert_item(&diag, 1, "app.yaml:2:1: x: warning: unknown key");
    assert_item(&diag, 2, "app.yaml:3:4: not UTF-8");
    assert_item(&diag, 3, "app.yaml: empty");
    assert_int_equal(diag.error_count, 3);
    assert_int_equal(diag.count, 4);
}

static void what_a_document_says_is_made_fit_to_print(void **state)
{
    (void) state;
    static const struct {
        const char *given, *shown;
    } cases[] = {
        {"two\nlines",   "f: two\\nlines"     },
        {"\x1b[31mred",  "f: \\x1b[31mred"    },
        {"tab\tdel\x7f", "f: tab\\x09del\\x7f"},
        {"\xc2\x9b"
         "31m", "f: \\x9b31m"        },
        {"\xc3\xa9",     "f: \xc3\xa9"        },
        {"\xff",         "f: \xef\xbf\xbd"    },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(diag) struct diag diag = {0};
        diag_add(&diag, DIAG_ERROR, "f", 0, 0, "", "%s", cases[i].given);
        assert_item(&diag, 0, cases[i].shown);
    }
}

static void a_long_message_is_cut(void **state)
{
    (void) state;
    CLEANUP(diag) struct diag diag = {0};
    CLEANUP(free) char *text = xmalloc(5001);
    memset(text, 'x', 5000);
    text[5000] = '\0';
    diag_add(&diag, DIAG_ERROR, "f", 1, 1, text, "%s", text);
    assert_true(strlen(diag.items[0].message) < 1100);
    assert_true(strlen(diag.items[0].path) < 1100);
}

static void past_the_bound_one_item_says_how_many_more(void **state)
{
    (void) state;
    CLEANUP(diag) struct diag diag = {0};
    for (size_t i = 0; i < DIAG_MAX; i++) {
        assert_false(diag_is_full(&diag));
        diag_add(&diag, DIAG_ERROR, "f", i + 1, 1, "", "wrong");
    }
    assert_true(diag_is_full(&diag));
    assert_int_equal(diag.count, DIAG_MAX);
    diag_add(&diag, DIAG_WARNING, "f", 999, 1, "", "odd");
    assert_item(&diag, DIAG_MAX, "f: warning: and 1 more");
    diag_add(&diag, DIAG_ERROR, "f", 1000, 1, "", "wrong");
    assert_item(&diag, DIAG_MAX, "f: and 2 more");
    assert_int_equal(diag.count, DIAG_MAX + 1);
    assert_int_equal(diag.error_count, DIAG_MAX + 1);
    diag_sort(&diag);
    assert_item(&diag, DIAG_MAX, "f: and 2 more");
}

static void an_error_takes_the_place_of_a_warning(void **state)
{
    (void) state;
    CLEANUP(diag) struct diag diag = {0};
    for (size_t i = 0; i < DIAG_MAX + 5; i++) {
        diag_add(&diag, DIAG_WARNING, "f", i + 1, 1, "", "odd");
    }
    diag_add(&diag, DIAG_ERROR, "f", 5, 9, "", "wrong");
    diag_add(&diag, DIAG_ERROR, "f", 6, 9, "", "wrong too");
    assert_int_equal(diag.count, DIAG_MAX + 1);
    assert_item(&diag, DIAG_MAX - 2, "f:5:9: wrong");
    assert_item(&diag, DIAG_MAX - 1, "f:6:9: wrong too");
    assert_item(&diag, DIAG_MAX, "f: warning: and 7 more");
    assert_int_equal(diag.error_count, 2);
}

static void sorting_goes_by_place_and_keeps_what_stands_at_one_place(void **state)
{
    (void) state;
    CLEANUP(diag) struct diag diag = {0};
    diag_sort(&diag);
    diag_add(&diag, DIAG_ERROR, "f", 2, 1, "", "d");
    diag_add(&diag, DIAG_ERROR, "f", 1, 9, "", "b");
    diag_add(&diag, DIAG_ERROR, "f", 1, 9, "", "c");
    diag_add(&diag, DIAG_ERROR, "f", 1, 1, "", "a");
    diag_sort(&diag);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(diag.items[i].message[0], 'a' + (int) i);
    }
}

static void appending_copies_everything(void **state)
{
    (void) state;
    CLEANUP(diag) struct diag all = {0};
    for (int round = 0; round < 2; round++) {
        CLEANUP(diag) struct diag one = {0};
        for (size_t i = 0; i < DIAG_MAX + 2; i++) {
            diag_add(&one, DIAG_ERROR, "f", 1, 1, "p", "wrong");
        }
        diag_append(&all, &one);
    }
    assert_int_equal(all.count, 2 * (DIAG_MAX + 1));
    assert_int_equal(all.error_count, 2 * (DIAG_MAX + 2));
    diag_add(&all, DIAG_ERROR, "g", 1, 1, "", "last");
    assert_item(&all, all.count - 1, "g:1:1: last");
}

static void adding_all_keeps_no_more_than_of_one_document(void **state)
{
    (void) state;
    CLEANUP(diag) struct diag all = {0};
    CLEANUP(diag) struct diag one = {0};
    diag_add(&all, DIAG_WARNING, "f", 1, 1, "", "warning");
    for (size_t i = 0; i < DIAG_MAX + 5; i++) {
        diag_add(&one, DIAG_ERROR, "f", 2, 1, "", "wrong");
    }
    diag_add_all(&all, &one);
    diag_add_all(&all, &one);
    assert_int_equal(all.count, DIAG_MAX + 1);
    assert_int_equal(all.error_count, 2 * (DIAG_MAX + 5));
    assert_item(&all, 0, "f:2:1: wrong");
    assert_item(&all, DIAG_MAX, "f: and 31 more");
}

static void where_few_are_kept_they_are_short(void **state)
{
    (void) state;
    CLEANUP(diag) struct diag diag = {.max = 1};
    char text[5000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    diag_add(&diag, DIAG_WARNING, "f", 1, 1, "", "warning");
    assert_true(diag_is_full(&diag));
    diag_add(&diag, DIAG_ERROR, "f", 2, 1, text, "%s", text);
    diag_add(&diag, DIAG_ERROR, "f", 3, 1, "", "wrong, too");
    assert_int_equal(diag.count, 2);
    assert_int_equal(diag.items[0].line, 2);
    assert_int_equal(strlen(diag.items[0].path), DIAG_SHORT_MAX);
    assert_int_equal(strlen(diag.items[0].message), DIAG_SHORT_MAX);
    assert_item(&diag, 1, "f: and 2 more");
    assert_int_equal(diag.error_count, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_item_reads_as_file_line_column_path_and_cause),
        cmocka_unit_test(what_a_document_says_is_made_fit_to_print),
        cmocka_unit_test(a_long_message_is_cut),
        cmocka_unit_test(past_the_bound_one_item_says_how_many_more),
        cmocka_unit_test(an_error_takes_the_place_of_a_warning),
        cmocka_unit_test(sorting_goes_by_place_and_keeps_what_stands_at_one_place),
        cmocka_unit_test(appending_copies_everything),
        cmocka_unit_test(adding_all_keeps_no_more_than_of_one_document),
        cmocka_unit_test(where_few_are_kept_they_are_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
