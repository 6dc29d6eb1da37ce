#include "edgible/buf.h"
#include "edgible/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void an_empty_buffer_is_an_empty_string(void **state)
{
    (void) state;
    CLEANUP(buf) struct buf buf = {0};
    assert_string_equal(buf_str(&buf), "");
    buf_clear(&buf);
    CLEANUP(free) char *text = buf_steal(&buf);
    assert_string_equal(text, "");
}

static void what_is_added_stands_behind_what_was_there(void **state)
{
    (void) state;
    CLEANUP(buf) struct buf buf = {0};
    buf_add_str(&buf, "a");
    buf_add_char(&buf, 'b');
    buf_add(&buf, "c\0d", 3);
    buf_add(&buf, NULL, 0);
    buf_printf(&buf, "%d%s", 12, "x");
    assert_int_equal(buf.len, 8);
    assert_memory_equal(buf.data, "abc\0d12x", 9);
}

static void it_grows_as_far_as_needed(void **state)
{
    (void) state;
    CLEANUP(buf) struct buf buf = {0};
    for (size_t i = 0; i < 10000; i++) {
        buf_add_char(&buf, (char) ('a' + i % 26));
        assert_int_equal(buf.data[buf.len], '\0');
    }
    assert_int_equal(buf.len, 10000);
    assert_int_equal(buf.data[9999], 'a' + 9999 % 26);
    char large[5000];
    memset(large, 'z', sizeof(large));
    CLEANUP(buf) struct buf at_once = {0};
    buf_add(&at_once, large, sizeof(large));
    assert_int_equal(strlen(at_once.data), sizeof(large));
}

static void clearing_keeps_the_memory_and_stealing_gives_it_away(void **state)
{
    (void) state;
    CLEANUP(buf) struct buf buf = {0};
    buf_add_str(&buf, "abc");
    size_t cap = buf.cap;
    buf_clear(&buf);
    assert_string_equal(buf_str(&buf), "");
    assert_int_equal(buf.cap, cap);
    buf_add_str(&buf, "d");
    CLEANUP(free) char *text = buf_steal(&buf);
    assert_string_equal(text, "d");
    assert_null(buf.data);
    assert_int_equal(buf.len, 0);
}

static void strings_become_the_inside_of_json_strings(void **state)
{
    (void) state;
    static const struct {
        const char *given, *escaped;
    } cases[] = {
        {"plain",                    "plain"                               },
        {"a\"b\\c",                  "a\\\"b\\\\c"                         },
        {"\n\r\t\x01\x7f",           "\\n\\u000d\\u0009\\u0001\\u007f"     },
        {"\xc3\xa9\xf0\x9f\x98\x80", "\xc3\xa9\xf0\x9f\x98\x80"            },
        {"a\xff"
         "b\xc3",           "a\xef\xbf\xbd"
         "b\xef\xbf\xbd"                         },
        {"\xed\xa0\x80",             "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(buf) struct buf buf = {0};
        buf_add_json_escaped(&buf, cases[i].given);
        assert_string_equal(buf_str(&buf), cases[i].escaped);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_buffer_is_an_empty_string),
        cmocka_unit_test(what_is_added_stands_behind_what_was_there),
        cmocka_unit_test(it_grows_as_far_as_needed),
        cmocka_unit_test(clearing_keeps_the_memory_and_stealing_gives_it_away),
        cmocka_unit_test(strings_become_the_inside_of_json_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
