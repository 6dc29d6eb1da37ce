#include "edgible/mem.h"
#include "edgible/parse.h"
#include "edgible/strv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void durations_are_read_in_milliseconds(void **state)
{
    (void) state;
    static const struct {
        const char *text;
        mono_ms ms;
    } cases[] = {
        {"0",       0            },
        {"0s",      0            },
        {"0.0h",    0            },
        {"1ms",     1            },
        {"250ms",   250          },
        {"10s",     10000        },
        {"1.5s",    1500         },
        {"1.0009s", 1000         },
        {"0.001s",  1            },
        {"5m",      300000       },
        {"1h",      3600000      },
        {"0.25h",   900000       },
        {"8784h",   31622400000LL},
        {"007s",    7000         },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        mono_ms ms = -1;
        assert_int_equal(parse_duration(cases[i].text, &ms, NULL), 0);
        assert_int_equal(ms, cases[i].ms);
    }
}

static void what_is_no_duration_says_why(void **state)
{
    (void) state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"",                       "'' is not a duration such as 500ms, 10s, 5m or 1h"   },
        {"s",                      "'s' is not a duration such as 500ms, 10s, 5m or 1h"  },
        {"-1s",                    "'-1s' is not a duration such as 500ms, 10s, 5m or 1h"},
        {"+1s",                    "'+1s' is not a duration such as 500ms, 10s, 5m or 1h"},
        {" 1s",                    "' 1s' is not a duration such as 500ms, 10s, 5m or 1h"},
        {"1.s",                    "'1.s' is not a duration such as 500ms, 10s, 5m or 1h"},
        {".5s",                    "'.5s' is not a duration such as 500ms, 10s, 5m or 1h"},
        {"10",                     "duration '10' needs one of the units ms, s, m, h"    },
        {"10 s",                   "duration '10 s' needs one of the units ms, s, m, h"  },
        {"1d",                     "duration '1d' needs one of the units ms, s, m, h"    },
        {"1h30m",                  "duration '1h30m' needs one of the units ms, s, m, h" },
        {"1S",                     "duration '1S' needs one of the units ms, s, m, h"    },
        {"8784.1h",                "duration '8784.1h' is above 366 days"                },
        {"99999999999999999999ms", "'99999999999999999999ms' is not a duration such as 500ms, "
                                   "10s, 5m or 1h"     },
        {"0.0001s",                "duration '0.0001s' is below a millisecond"           },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        mono_ms ms = 77;
        struct err err = {0};
        assert_int_equal(parse_duration(cases[i].text, &ms, &err), -1);
        assert_string_equal(err.msg, cases[i].message);
        assert_int_equal(err.code, ERR_SPEC);
        assert_int_equal(ms, 77);
    }
}

static void sizes_are_read_in_bytes(void **state)
{
    (void) state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } cases[] = {
        {"0",                0                 },
        {"4096",             4096              },
        {"64KiB",            65536             },
        {"256MiB",           268435456         },
        {"1GiB",             1073741824        },
        {"1.5GiB",           1610612736        },
        {"0.5KiB",           512               },
        {"1.0",              1                 },
        {"1.3KiB",           1331              },
        {"1048576GiB",       (uint64_t) 1 << 50},
        {"1125899906842624", (uint64_t) 1 << 50},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t bytes = 77;
        assert_int_equal(parse_size(cases[i].text, &bytes, NULL), 0);
        assert_int_equal(bytes, cases[i].bytes);
    }
}

static void what_is_no_size_says_why(void **state)
{
    (void) state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"",                 "'' is not a size such as 4096, 64KiB, 256MiB or 1GiB"  },
        {"-1",               "'-1' is not a size such as 4096, 64KiB, 256MiB or 1GiB"},
        {"1KB",              "size '1KB' has another unit than KiB, MiB, GiB"        },
        {"1Mi",              "size '1Mi' has another unit than KiB, MiB, GiB"        },
        {"1 MiB",            "size '1 MiB' has another unit than KiB, MiB, GiB"      },
        {"1.5",              "size '1.5' is not a whole number of bytes"             },
        {"1048576.1GiB",     "size '1048576.1GiB' is above 2^50 bytes"               },
        {"1125899906842625", "size '1125899906842625' is above 2^50 bytes"           },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t bytes = 77;
        struct err err = {0};
        assert_int_equal(parse_size(cases[i].text, &bytes, &err), -1);
        assert_string_equal(err.msg, cases[i].message);
        assert_int_equal(bytes, 77);
    }
}

static void whole_numbers_are_held_to_their_range(void **state)
{
    (void) state;
    static const struct {
        const char *text;
        int64_t min, max;
        int rc;
        int64_t value;
    } cases[] = {
        {"0",                    0,         10,        0,  0        },
        {"10",                   0,         10,        0,  10       },
        {"11",                   0,         10,        -1, 0        },
        {"-1",                   0,         10,        -1, 0        },
        {"-5",                   -5,        5,         0,  -5       },
        {"007",                  0,         10,        0,  7        },
        {"+1",                   0,         10,        -1, 0        },
        {" 1",                   0,         10,        -1, 0        },
        {"1 ",                   0,         10,        -1, 0        },
        {"",                     0,         10,        -1, 0        },
        {"-",                    -10,       10,        -1, 0        },
        {"0x1",                  0,         10,        -1, 0        },
        {"1e1",                  0,         10,        -1, 0        },
        {"9223372036854775807",  INT64_MIN, INT64_MAX, 0,  INT64_MAX},
        {"9223372036854775808",  INT64_MIN, INT64_MAX, -1, 0        },
        {"-9223372036854775808", INT64_MIN, INT64_MAX, 0,  INT64_MIN},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t value = 0;
        assert_int_equal(parse_int(cases[i].text, cases[i].min, cases[i].max, &value, NULL),
                         cases[i].rc);
        assert_int_equal(value, cases[i].value);
    }
}

static char *repeat(const char *s, size_t count)
{
    char *text = xcalloc(strlen(s) * count + 1, 1);
    for (size_t i = 0; i < count; i++) {
        memcpy(text + i * strlen(s), s, strlen(s));
    }
    return text;
}

static void dns_labels_are_told_from_others(void **state)
{
    (void) state;
    static const char *const good[] = {"a", "0", "a-b", "a--b", "web1", "x0-9y"};
    static const char *const bad[] = {"",    "-",   "-a",       "a-",  "A",  "a.b",  "a_b",
                                      "a b", "a/b", "\xc3\xa9", "a\n", "..", "a\x7f"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_true(parse_is_dns_label(good[i]));
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_false(parse_is_dns_label(bad[i]));
    }
    CLEANUP(free) char *longest = repeat("a", 63);
    CLEANUP(free) char *too_long = repeat("a", 64);
    assert_true(parse_is_dns_label(longest));
    assert_false(parse_is_dns_label(too_long));
}

static void host_names_are_told_from_others(void **state)
{
    (void) state;
    static const char *const good[] = {"localhost", "Example.COM", "a.b.c", "1.2.3.4", "x-y.z"};
    static const char *const bad[] = {"",      ".",     "a.",    ".a",     "a..b",
                                      "a b.c", "*.com", "a_b.c", "-a.com", "http://x"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_true(parse_is_hostname(good[i]));
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_false(parse_is_hostname(bad[i]));
    }
    CLEANUP(free) char *labels = repeat("abc.", 63); /* 252 */
    CLEANUP(free) char *longest = xasprintf("%sa", labels);
    CLEANUP(free) char *too_long = xasprintf("%sab", labels);
    CLEANUP(free) char *long_label = repeat("a", 64);
    assert_true(parse_is_hostname(longest));
    assert_false(parse_is_hostname(too_long));
    assert_false(parse_is_hostname(long_label));
}

static void a_typing_error_finds_the_nearest_name(void **state)
{
    (void) state;
    static const char *const names[] = {"name", "command", "workingDir", "env", "dependsOn"};
    static const struct {
        const char *word, *nearest;
    } cases[] = {
        {"comand",      "command"   },
        {"cmomand",     "command"   },
        {"COMMAND",     "command"   },
        {"workingdir",  "workingDir"},
        {"workDir",     NULL        },
        {"working_dir", "workingDir"},
        {"envs",        "env"       },
        {"en",          "env"       },
        {"depends",     "dependsOn" },
        {"nmae",        "name"      },
        {"xy",          NULL        },
        {"",            NULL        },
        {"image",       NULL        },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *found = parse_nearest(cases[i].word, names, ARRAY_LEN(names));
        if (cases[i].nearest == NULL) {
            assert_null(found);
        } else {
            assert_string_equal(found, cases[i].nearest);
        }
    }
    CLEANUP(free) char *long_word = repeat("a", 65);
    const char *long_names[] = {long_word};
    assert_null(parse_nearest(long_word, names, ARRAY_LEN(names)));
    assert_null(parse_nearest("aaaa", long_names, 1));
}

static void points_in_time_are_written_as_rfc_3339(void **state)
{
    (void) state;
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {
        {0,             "1970-01-01T00:00:00.000Z"     },
        {1,             "1970-01-01T00:00:00.001Z"     },
        {-1,            "1969-12-31T23:59:59.999Z"     },
        {-1000,         "1969-12-31T23:59:59.000Z"     },
        {951782400000,  "2000-02-29T00:00:00.000Z"     },
        {1795424400123, "2026-11-23T09:00:00.123Z"     },
        {INT64_MAX,     "292278994-08-17T07:12:55.807Z"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[32];
        assert_string_equal(format_rfc3339(cases[i].ms, text, sizeof(text)), cases[i].text);
    }
}

static void dates_of_http_are_read(void **state)
{
    (void) state;
    int64_t at = -1;
    assert_int_equal(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT", &at, NULL), 0);
    assert_int_equal(at, 784111777);
    static const char *const wrong[] = {"", "120", "Sun, 06 Nov 1994 08:49:37",
                                        "Sun, 06 Nov 1994 08:49:37 GMT+1", "1994-11-06T08:49:37Z"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct err err = {0};
        assert_int_equal(parse_http_date(wrong[i], &at, &err), -1);
        assert_int_equal(at, 784111777);
    }
}

static void durations_are_written_for_people(void **state)
{
    (void) state;
    static const struct {
        mono_ms ms;
        const char *text;
    } cases[] = {
        {-5,        "0 ms"       },
        {0,         "0 ms"       },
        {250,       "250 ms"     },
        {999,       "999 ms"     },
        {1000,      "1 s"        },
        {3200,      "3.2 s"      },
        {3050,      "3 s"        },
        {59999,     "59.9 s"     },
        {60000,     "1 min"      },
        {250000,    "4 min 10 s" },
        {3599999,   "59 min 59 s"},
        {3600000,   "1 h"        },
        {7500000,   "2 h 5 min"  },
        {86399999,  "23 h 59 min"},
        {86400000,  "1 d"        },
        {273600000, "3 d 4 h"    },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[32];
        assert_string_equal(format_duration(cases[i].ms, text, sizeof(text)), cases[i].text);
    }
}

/* The words in brackets. */
static char *join(const struct strv *words)
{
    char *text = xstrdup("");
    for (size_t i = 0; i < words->count; i++) {
        char *longer = xasprintf("%s[%s]", text, words->items[i]);
        free(text);
        text = longer;
    }
    return text;
}

static void commands_are_split_as_a_shell_splits_them(void **state)
{
    (void) state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"",                      ""                     },
        {"  \t ",                 ""                     },
        {"\n\r\n",                ""                     },
        {"a",                     "[a]"                  },
        {"  a\t b  ",             "[a][b]"               },
        {"a\n",                   "[a]"                  },
        {"'a b' c",               "[a b][c]"             },
        {"\"a b\" c",             "[a b][c]"             },
        {"a'b'\"c\"d",            "[abcd]"               },
        {"'' \"\"",               "[][]"                 },
        {"a '' b",                "[a][][b]"             },
        {"a\\ b",                 "[a b]"                },
        {"\\'a\\\"",              "['a\"]"               },
        {"\\\\",                  "[\\]"                 },
        {"'\\a'",                 "[\\a]"                },
        {"\"\\a\\\"\\\\\\$\\`\"", "[\\a\"\\$`]"          },
        {"\"a\\\nb\"",            "[ab]"                 },
        {"a\\\nb",                "[ab]"                 },
        {"a \\\n b",              "[a][b]"               },
        {"\\\n",                  NULL                   },
        {"'a\nb'",                "[a\nb]"               },
        {"'$x|&;<>()*?[]{}!#~`'", "[$x|&;<>()*?[]{}!#~`]"},
        {"\"|&;<>()*?[]{}!#~'\"", "[|&;<>()*?[]{}!#~']"  },
        {"a#b a~b",               "[a#b][a~b]"           },
        {"\\#a \\~b",             "[#a][~b]"             },
        {"''#a",                  "[#a]"                 },
        {"x=1 %y ^z",             "[x=1][%y][^z]"        },
        {"\xc3\xa9t\xc3\xa9",     "[\xc3\xa9t\xc3\xa9]"  },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(strv) struct strv words = {0};
        struct err err = {0};
        size_t at = 0;
        if (cases[i].words == NULL) {
            assert_int_equal(parse_words(cases[i].text, &words, &at, &err), -1);
            continue;
        }
        assert_int_equal(parse_words(cases[i].text, &words, &at, &err), 0);
        CLEANUP(free) char *found = join(&words);
        assert_string_equal(found, cases[i].words);
    }
}

static void what_needs_a_shell_is_refused_with_its_place(void **state)
{
    (void) state;
    static const struct {
        const char *text;
        size_t at;
        const char *message; /* how it starts */
    } cases[] = {
        {"a $x",    2, "'$' (character 3) would need a shell: quote it, or use an array"},
        {"`a`",     0, "'`' (character 1) would need a shell"                           },
        {"a|b",     1, "'|' (character 2) would need a shell"                           },
        {"a&",      1, "'&' (character 2) would need a shell"                           },
        {"a;b",     1, "';' (character 2) would need a shell"                           },
        {"a<b",     1, "'<' (character 2) would need a shell"                           },
        {"a>b",     1, "'>' (character 2) would need a shell"                           },
        {"(a",      0, "'(' (character 1) would need a shell"                           },
        {"a)",      1, "')' (character 2) would need a shell"                           },
        {"a*",      1, "'*' (character 2) would need a shell"                           },
        {"a?",      1, "'?' (character 2) would need a shell"                           },
        {"a[b",     1, "'[' (character 2) would need a shell"                           },
        {"a]",      1, "']' (character 2) would need a shell"                           },
        {"{a",      0, "'{' (character 1) would need a shell"                           },
        {"a}",      1, "'}' (character 2) would need a shell"                           },
        {"!a",      0, "'!' (character 1) would need a shell"                           },
        {"a #b",    2, "'#' (character 3) would need a shell"                           },
        {"~/a",     0, "'~' (character 1) would need a shell"                           },
        {"a\nb",    1, "a line end (character 2) would need a shell: use an array"      },
        {"a\rb",    1, "a line end (character 2) would need a shell: use an array"      },
        {"\"a$b\"", 2, "'$' (character 3) within double quotes would need a shell"      },
        {"\"a`\"",  2, "'`' (character 3) within double quotes would need a shell"      },
        {"a 'b",    2, "the quote ' at character 3 is not closed"                       },
        {"a \"b",   2, "the quote \" at character 3 is not closed"                      },
        {"'",       0, "the quote ' at character 1 is not closed"                       },
        {"\"a\\",   0, "the quote \" at character 1 is not closed"                      },
        {"\"a\\\"", 0, "the quote \" at character 1 is not closed"                      },
        {"a\\",     1, "the command ends with a backslash"                              },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(strv) struct strv words = {0};
        struct err err = {0};
        size_t at = 99;
        assert_int_equal(parse_words(cases[i].text, &words, &at, &err), -1);
        assert_int_equal(at, cases[i].at);
        assert_memory_equal(err.msg, cases[i].message, strlen(cases[i].message));
        assert_int_equal(err.code, ERR_SPEC);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_are_read_in_milliseconds),
        cmocka_unit_test(what_is_no_duration_says_why),
        cmocka_unit_test(sizes_are_read_in_bytes),
        cmocka_unit_test(what_is_no_size_says_why),
        cmocka_unit_test(whole_numbers_are_held_to_their_range),
        cmocka_unit_test(dns_labels_are_told_from_others),
        cmocka_unit_test(host_names_are_told_from_others),
        cmocka_unit_test(a_typing_error_finds_the_nearest_name),
        cmocka_unit_test(points_in_time_are_written_as_rfc_3339),
        cmocka_unit_test(dates_of_http_are_read),
        cmocka_unit_test(durations_are_written_for_people),
        cmocka_unit_test(commands_are_split_as_a_shell_splits_them),
        cmocka_unit_test(what_needs_a_shell_is_refused_with_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
