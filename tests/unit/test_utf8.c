#include "edgible/mem.h"
#include "edgible/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void characters_have_the_length_of_their_encoding(void **state)
{
    (void) state;
    static const struct {
        const char *text;
        size_t len, expected;
    } cases[] = {
        {"a",                1, 1},
        {"\0",               1, 1},
        {"\x7f",             1, 1},
        {"\xc2\x80",         2, 2},
        {"\xdf\xbf",         2, 2},
        {"\xe0\xa0\x80",     3, 3},
        {"\xed\x9f\xbf",     3, 3},
        {"\xee\x80\x80",     3, 3},
        {"\xef\xbf\xbf",     3, 3},
        {"\xf0\x90\x80\x80", 4, 4},
        {"\xf4\x8f\xbf\xbf", 4, 4},
        {"",                 0, 0},
        {"\x80",             1, 0},
        {"\xbf",             1, 0},
        {"\xc0\xaf",         2, 0},
        {"\xc1\xbf",         2, 0},
        {"\xe0\x9f\xbf",     3, 0},
        {"\xed\xa0\x80",     3, 0},
        {"\xed\xbf\xbf",     3, 0},
        {"\xf0\x8f\xbf\xbf", 4, 0},
        {"\xf4\x90\x80\x80", 4, 0},
        {"\xf5\x80\x80\x80", 4, 0},
        {"\xff",             1, 0},
        {"\xc3",             1, 0},
        {"\xc3"
         "a",       2, 0},
        {"\xe2\x82",         2, 0},
        {"\xe2\x82"
         "a",       3, 0},
        {"\xf0\x9f\x98",     3, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(utf8_char_len(cases[i].text, cases[i].len), cases[i].expected);
    }
}

static size_t encode(uint32_t c, char *out)
{
    unsigned char *u = (unsigned char *) out;
    if (c < 0x80) {
        u[0] = (unsigned char) c;
        return 1;
    }
    if (c < 0x800) {
        u[0] = (unsigned char) (0xc0 | (c >> 6));
        u[1] = (unsigned char) (0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        u[0] = (unsigned char) (0xe0 | (c >> 12));
        u[1] = (unsigned char) (0x80 | ((c >> 6) & 0x3f));
        u[2] = (unsigned char) (0x80 | (c & 0x3f));
        return 3;
    }
    u[0] = (unsigned char) (0xf0 | (c >> 18));
    u[1] = (unsigned char) (0x80 | ((c >> 12) & 0x3f));
    u[2] = (unsigned char) (0x80 | ((c >> 6) & 0x3f));
    u[3] = (unsigned char) (0x80 | (c & 0x3f));
    return 4;
}

static void every_code_point_but_the_surrogates_is_well_formed(void **state)
{
    (void) state;
    for (uint32_t c = 0; c <= 0x110000; c++) {
        char text[4];
        size_t len = encode(c, text);
        bool is_good = c < 0x110000 && (c < 0xd800 || c > 0xdfff);
        if (utf8_char_len(text, len) != (is_good ? len : 0)) {
            fail_msg("U+%04X", (unsigned) c);
        }
    }
}

static void the_first_bad_byte_is_found(void **state)
{
    (void) state;
    assert_int_equal(utf8_valid_prefix("abc", 3), 3);
    assert_int_equal(utf8_valid_prefix("", 0), 0);
    assert_int_equal(utf8_valid_prefix("a\xc3\xa9\xff"
                                       "b",
                                       5),
                     3);
    assert_int_equal(utf8_valid_prefix("\xc3\xa9\xc3", 3), 2);
    assert_int_equal(utf8_valid_prefix("a\0b", 3), 3);
}

static bool must_not_be_shown(uint32_t c)
{
    static const struct {
        uint32_t first, last;
    } ranges[] = {
        {0x00,   0x08  },
        {0x0b,   0x1f  },
        {0x7f,   0x9f  },
        {0x61c,  0x61c },
        {0x200e, 0x200f},
        {0x202a, 0x202e},
        {0x2066, 0x2069},
    };
    for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
        if (c >= ranges[i].first && c <= ranges[i].last) {
            return true;
        }
    }
    return false;
}

static void controls_are_told_from_all_other_characters(void **state)
{
    (void) state;
    for (uint32_t c = 0; c < 0x110000; c++) {
        char text[4];
        size_t len = encode(c, text);
        bool is_surrogate = c >= 0xd800 && c <= 0xdfff;
        bool is_bad = false;
        size_t n = utf8_shown_len(text, len, &is_bad);
        if (n != (is_surrogate ? 1 : len) || is_bad != (is_surrogate || must_not_be_shown(c))) {
            fail_msg("U+%04X", (unsigned) c);
        }
    }
    for (int byte = 0x80; byte <= 0xff; byte++) {
        char text[] = {(char) byte};
        bool is_bad = false;
        assert_int_equal(utf8_shown_len(text, 1, &is_bad), 1);
        assert_true(is_bad);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_have_the_length_of_their_encoding),
        cmocka_unit_test(every_code_point_but_the_surrogates_is_well_formed),
        cmocka_unit_test(the_first_bad_byte_is_found),
        cmocka_unit_test(controls_are_told_from_all_other_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
