#include "edgible/buf.h"
#include "edgible/yaml_doc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/* Plain scalars as they are, others in quotes: {a: [1, "x"]} */
static void write_node(struct buf *out, const struct doc_node *node)
{
    if (node->kind == DOC_SCALAR) {
        buf_printf(out, node->is_plain ? "%s" : "\"%s\"", node->value);
        return;
    }
    buf_add_char(out, node->kind == DOC_MAPPING ? '{' : '[');
    for (size_t i = 0; i < node->count; i++) {
        buf_add_str(out, i > 0 ? ", " : "");
        if (node->kind == DOC_MAPPING) {
            write_node(out, node->keys[i]);
            buf_add_str(out, ": ");
        }
        write_node(out, node->items[i]);
    }
    buf_add_char(out, node->kind == DOC_MAPPING ? '}' : ']');
}

/* All documents of the text, each in a line, then the errors. */
static char *read_all(const char *data, size_t len)
{
    CLEANUP(diag) struct diag diag = {0};
    CLEANUP(buf) struct buf out = {0};
    struct yaml_reader reader;
    yaml_reader_init(&reader, "f", data, len, &diag);
    for (;;) {
        CLEANUP(yaml_doc) struct yaml_doc *doc = yaml_reader_next(&reader);
        if (doc == NULL) {
            break;
        }
        write_node(&out, doc->root);
        buf_add_char(&out, '\n');
        diag_append(&diag, &doc->diag);
    }
    for (size_t i = 0; i < diag.count; i++) {
        CLEANUP(free) char *text = diag_item_text(&diag.items[i]);
        buf_printf(&out, "%s\n", text);
    }
    return buf_steal(&out);
}

static void documents_become_trees(void **state)
{
    (void) state;
    static const struct {
        const char *text, *tree;
    } cases[] = {
        {"a: 1",                                  "{a: 1}\n"                            },
        {"a: '1'\nb: \"2\"",                      "{a: \"1\", b: \"2\"}\n"              },
        {"- a\n- [b, {c: d}]",                    "[a, [b, {c: d}]]\n"                  },
        {"a:\nb: ~",                              "{a: , b: ~}\n"                       },
        {"",                                      ""                                    },
        {"# c\n",                                 ""                                    },
        {"---\n---\na: 1\n...\n---\nb: 2",        "{a: 1}\n{b: 2}\n"                    },
        {"a: 1\n--- b\n--- [c]\n",                "{a: 1}\nb\n[c]\n"                    },
        {"a: 1\n---\tb\n",                        "{a: 1}\nb\n"                         },
        {"a: ---\n ---: b",                       "f:2:5: mapping values are not allowed in this "
                            "context\n"                      },
        {"---x: 1",                               "{---x: 1}\n"                         },
        {"a: |\n ---\n b\n",                      "{a: \"---\nb\n\"}\n"                 },
        {"x: &a {k: v}\ny: *a",                   "{x: {k: v}, y: {k: v}}\n"            },
        {"x: &a 1\ny: &a 2\nz: *a",               "{x: 1, y: 2, z: 2}\n"                },
        {"x: &a {k: 1, l: 2}\ny: {<<: *a, k: 3}", "{x: {k: 1, l: 2}, y: {k: 3, l: 2}}\n"},
        {"'<<': 1",                               "{\"<<\": 1}\n"                       },
        {"!!str 1",                               "\"1\"\n"                             },
        {"? a\n: b",                              "{a: b}\n"                            },
        {"{\"a\":\"\\ud83d\\ude00\"}",            "{\"a\": \"\xf0\x9f\x98\x80\"}\n"     },
        {"[\"\\uD83D\\uDE00\\\\ud83d\"]",         "[\"\xf0\x9f\x98\x80\\ud83d\"]\n"     },
        {"--- {\"a\":\"\\ud83d\\ude00\"}",        "{\"a\": \"\xf0\x9f\x98\x80\"}\n"     },
        {"{a: 'x\\ud83d\\ude00'}",                "{a: \"x\\ud83d\\ude00\"}\n"          },
        {"{a: it's, b: \"\\ud83d\\ude00\"}",      "{a: it's, b: \"\xf0\x9f\x98\x80\"}\n"},
        {"[\"\x7f\"]",                            "[\"\x7f\"]\n"                        },
        {"[\"\xe2\x80\xa8\"]",                    "[\"\xe2\x80\xa8\"]\n"                },
        {"a: x\xc2\x85---\xc2\x85"
         "b: y",                         "{a: x}\n{b: y}\n"                    },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(free) char *found = read_all(cases[i].text, strlen(cases[i].text));
        assert_string_equal(found, cases[i].tree);
    }
}

static void nodes_know_their_places(void **state)
{
    (void) state;
    static const char text[] = "# c\n---\na:\n  - \xc3\xa9: b\n";
    CLEANUP(diag) struct diag diag = {0};
    struct yaml_reader reader;
    yaml_reader_init(&reader, "f", text, strlen(text), &diag);
    CLEANUP(yaml_doc) struct yaml_doc *doc = yaml_reader_next(&reader);
    assert_non_null(doc);
    const struct doc_node *item = doc_node_get(doc->root, "a")->items[0];
    assert_int_equal(doc->root->line, 3);
    assert_int_equal(item->line, 4);
    assert_int_equal(item->column, 5);
    assert_int_equal(item->items[0]->column, 8);
    assert_int_equal(doc->offset, 0);
    assert_int_equal(doc->length, strlen(text));
    assert_null(doc_node_get(doc->root, "b"));
    assert_null(doc_node_get(item->items[0], "b"));
    assert_null(yaml_reader_next(&reader));
    yaml_doc_free(NULL);
}

static void a_syntax_error_costs_its_own_document_alone(void **state)
{
    (void) state;
    static const char text[] = "a\n---\n[b\n---\nc\n---\n\"d\n---\ne\n";
    CLEANUP(free) char *found = read_all(text, strlen(text));
    assert_string_equal(
        found, "a\nc\ne\n"
               "f:4:1: did not find expected ',' or ']' while parsing a flow sequence that starts "
               "at line 3, column 1\n"
               "f:8:1: found unexpected end of stream while scanning a quoted scalar that starts "
               "at line 7, column 1\n");
}

static void nulls_are_told_from_text(void **state)
{
    (void) state;
    static const struct {
        const char *text;
        const char *kind;
    } cases[] = {
        {"[~]",       "null"     },
        {"[null]",    "null"     },
        {"[Null]",    "null"     },
        {"[NULL]",    "null"     },
        {"[!!null ]", "null"     },
        {"['null']",  "a string" },
        {"['']",      "a string" },
        {"[nULL]",    "a string" },
        {"[0]",       "a string" },
        {"[[]]",      "a list"   },
        {"[{}]",      "a mapping"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(diag) struct diag diag = {0};
        struct yaml_reader reader;
        yaml_reader_init(&reader, "f", cases[i].text, strlen(cases[i].text), &diag);
        CLEANUP(yaml_doc) struct yaml_doc *doc = yaml_reader_next(&reader);
        assert_non_null(doc);
        assert_string_equal(doc_node_kind_name(doc->root->items[0]), cases[i].kind);
        assert_int_equal(doc_node_is_null(doc->root->items[0]), strcmp(cases[i].kind, "null") == 0);
    }
}

static void add_repeated(struct buf *out, const char *text, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        buf_add_str(out, text);
    }
}

/* Texts of about a megabyte that have made other parsers slow or large. */
static void make_hostile(struct buf *out, size_t which)
{
    static const char *const repeated[] = {"[",
                                           "{",
                                           "[?",
                                           "- ",
                                           "? ",
                                           ": ",
                                           "a,",
                                           "!!a ",
                                           "#\n",
                                           "\n",
                                           "\"",
                                           "'\n",
                                           "---\n",
                                           "--- a\n",
                                           "%TAG !a! x\n",
                                           "&a ",
                                           "*a ",
                                           "|\n",
                                           "a: \n",
                                           "\\",
                                           "\xc2\x85",
                                           "<<: ",
                                           "[\"\\ud83d\\ude00\"],"};
    const char *piece = repeated[which % ARRAY_LEN(repeated)];
    if (which >= ARRAY_LEN(repeated)) {
        buf_add_str(out, "a: [");
    }
    add_repeated(out, piece, 1048000 / strlen(piece));
}

static void no_megabyte_takes_long(void **state)
{
    (void) state;
    for (size_t i = 0; i < 46; i++) {
        CLEANUP(buf) struct buf text = {0};
        make_hostile(&text, i);
        clock_t before = clock();
        CLEANUP(free) char *found = read_all(text.data, text.len);
        assert_non_null(found);
        double seconds = (double) (clock() - before) / CLOCKS_PER_SEC;
        /* A second on a device; sanitizers and a busy machine are let have more. */
        if (seconds > 8) {
            fail_msg("case %zu took %.1f s", i, seconds);
        }
    }
}

static void mappings_of_many_keys_find_the_double_one(void **state)
{
    (void) state;
    CLEANUP(buf) struct buf text = {0};
    for (int i = 0; i < 40; i++) {
        buf_printf(&text, "k%d: %d\n", i, i);
    }
    buf_add_str(&text, "k3: again\nk39: again\n");
    CLEANUP(free) char *found = read_all(text.data, text.len);
    assert_non_null(
        strstr(found, "f:41:1: the key 'k3' stands twice, first at line 4, column 1\n"));
    assert_non_null(strstr(found, "f:42:1: the key 'k39' stands twice"));
    assert_non_null(strstr(found, "k3: 3, "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_become_trees),
        cmocka_unit_test(nodes_know_their_places),
        cmocka_unit_test(a_syntax_error_costs_its_own_document_alone),
        cmocka_unit_test(nulls_are_told_from_text),
        cmocka_unit_test(no_megabyte_takes_long),
        cmocka_unit_test(mappings_of_many_keys_find_the_double_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
