/* What is said to etcd, and what it answers; base64 as well. */
#include "edgible/crypto.h"
#include "edgible/etcd_wire.h"
#include "edgible/json_doc.h"
#include "edgible/mem.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void base64_goes_there_and_back(void **state)
{
    (void) state;
    static const char *const pairs[][2] = {
        {"",       ""        },
        {"f",      "Zg=="    },
        {"fo",     "Zm8="    },
        {"foo",    "Zm9v"    },
        {"foobar", "Zm9vYmFy"}
    };
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        size_t len = 0;
        CLEANUP(free) char *text = crypto_base64_encode(pairs[i][0], strlen(pairs[i][0]));
        assert_string_equal(text, pairs[i][1]);
        CLEANUP(free) char *data = crypto_base64_decode(text, &len, NULL);
        assert_string_equal(data, pairs[i][0]);
        assert_int_equal(len, strlen(pairs[i][0]));
    }
}

static void what_is_no_base64_is_refused(void **state)
{
    (void) state;
    static const char *const wrong[] = {"Z",    "Zg",    "Zg=",   "====", "=m9v",
                                        "Z=9v", "Zm9v ", "Zm\n9", "Zm9*", "Zm9vZg==Zm9v"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        size_t len = 0;
        struct err err = {0};
        assert_null(crypto_base64_decode(wrong[i], &len, &err));
        assert_int_equal(err.code, ERR_REMOTE);
    }
}

static void requests_are_what_the_gateway_reads(void **state)
{
    (void) state;
    struct etcd_swap swaps[] = {
        {.key = "/a", .value = "x", .len = 1,    .mod_revision = 3},
        {.key = "/b",           .value = NULL,             .mod_revision = 4}
    };
    CLEANUP(free) char *range = etcd_range_text("/a/", 10);
    CLEANUP(free) char *watch = etcd_watch_text("/a/", 8);
    CLEANUP(free) char *put = etcd_put_text("/a", "x", 1, 42);
    CLEANUP(free) char *swap = etcd_swap_text(swaps, 2);
    assert_string_equal(range, "{\"key\":\"L2Ev\",\"range_end\":\"L2Ew\",\"limit\":\"10\"}\n");
    assert_string_equal(watch, "{\"create_request\":{\"key\":\"L2Ev\",\"range_end\":\"L2Ew\","
                               "\"start_revision\":\"8\",\"progress_notify\":true}}\n");
    assert_string_equal(put, "{\"key\":\"L2E=\",\"value\":\"eA==\",\"lease\":\"42\"}\n");
    assert_string_equal(
        swap, "{\"compare\":[{\"key\":\"L2E=\",\"target\":\"MOD\",\"result\":\"EQUAL\","
              "\"mod_revision\":\"3\"},{\"key\":\"L2I=\",\"target\":\"MOD\",\"result\":\"EQUAL\","
              "\"mod_revision\":\"4\"}],\"success\":[{\"request_put\":{\"key\":\"L2E=\",\"value\":"
              "\"eA==\"}},{\"request_delete_range\":{\"key\":\"L2I=\"}}],\"failure\":["
              "{\"request_range\":{\"key\":\"L2E=\"}},{\"request_range\":{\"key\":\"L2I=\"}}]}\n");
}

static void an_answer_of_too_many_values_is_not_parsed(void **state)
{
    (void) state;
    struct err err = {0};
    struct etcd_answer a = {0};
    CLEANUP(buf) struct buf text = {0};
    buf_add_str(&text, "{\"header\":{\"revision\":\"7\"},\"kvs\":[{}");
    for (size_t i = 0; i < ETCD_MAX_VALUES; i++) {
        buf_add_str(&text, ",{}");
    }
    buf_add_str(&text, "]}");
    assert_int_equal(etcd_answer_read(text.data, text.len, &a, &err), -1);
    assert_non_null(strstr(err.msg, "more than 131072 values"));
    assert_int_equal(a.count, 0);
    etcd_answer_fini(&a);
    static const char with_string[] = "[1,\"a,\\\",{\",2]";
    assert_true(json_has_at_most(with_string, strlen(with_string), 4));
    assert_false(json_has_at_most("[1,2,3,4]", 9, 4));
    assert_true(json_has_at_most("\"\\", 2, 1));
}

static void the_keys_of_an_answer_are_bounded_and_those_of_a_line_are_not(void **state)
{
    (void) state;
    static const char *const lists[] = {"kvs", "events"};
    static const char *const items[] = {"{\"key\":\"YQ==\"}", "{\"kv\":{\"key\":\"YQ==\"}}"};
    for (size_t k = 0; k < 2; k++) {
        struct err err = {0};
        CLEANUP(etcd_answer) struct etcd_answer a = {0};
        CLEANUP(buf) struct buf text = {0};
        buf_printf(&text, "{\"header\":{\"revision\":\"7\"},\"%s\":[%s", lists[k], items[k]);
        for (size_t i = 0; i < ETCD_MAX_KEYS; i++) {
            buf_printf(&text, ",%s", items[k]);
        }
        buf_add_str(&text, "]}");
        assert_int_equal(etcd_answer_read(text.data, text.len, &a, &err), k == 0 ? -1 : 0);
        assert_int_equal(a.count, k == 0 ? ETCD_MAX_KEYS : ETCD_MAX_KEYS + 1);
        assert_true(k == 1 || strstr(err.msg, "more than 1001 keys") != NULL);
    }
}

static int read_text(const char *text, struct etcd_answer *answer, struct err *err)
{
    *err = (struct err){0};
    return etcd_answer_read(text, strlen(text), answer, err);
}

static void answers_are_read(void **state)
{
    (void) state;
    struct err err;
    struct etcd_answer a = {0};
    assert_int_equal(read_text("{\"header\":{\"cluster_id\":\"5\",\"revision\":\"7\"},\"kvs\":[{"
                               "\"key\":\"L2E=\",\"mod_revision\":\"3\",\"value\":\"eA==\"},{"
                               "\"key\":\"L2I=\"}],\"more\":true,\"count\":\"9\"}",
                               &a, &err),
                     0);
    assert_int_equal(a.revision, 7);
    assert_int_equal(a.count, 2);
    assert_string_equal(a.kvs[0].value, "x");
    assert_int_equal(a.kvs[0].mod_revision, 3);
    assert_int_equal(a.kvs[1].value_len, 0);
    assert_true(a.has_more);
    etcd_answer_fini(&a);
    assert_int_equal(read_text("{\"result\":{\"header\":{\"revision\":\"9\"},\"events\":[{\"type\":"
                               "\"DELETE\",\"kv\":{\"key\":\"L2E=\"}}]}}",
                               &a, &err),
                     0);
    assert_true(a.kvs[0].is_deleted);
    etcd_answer_fini(&a);
    assert_int_equal(read_text("{\"result\":{\"header\":{},\"canceled\":true,"
                               "\"compact_revision\":\"4\"}}",
                               &a, &err),
                     0);
    assert_true(a.is_canceled);
    assert_int_equal(a.compact_revision, 4);
    etcd_answer_fini(&a);
}

static void errors_are_told_apart(void **state)
{
    (void) state;
    static const struct {
        const char *text;
        int code;
    } cases[] = {
        {"{\"error\":\"no\",\"code\":7}",                                      EACCES    },
        {"{\"error\":\"etcdserver: invalid auth token\",\"code\":16}",         ENOKEY    },
        {"{\"error\":{\"grpc_code\":7,\"message\":\"no\"}}",                   EACCES    },
        {"{\"error\":\"else\",\"code\":5}",                                    ERR_REMOTE},
        {"<html>",                                                             ERR_REMOTE},
        {"",                                                                   ERR_REMOTE},
        {"{}",                                                                 ERR_REMOTE},
        {"{\"header\":{},\"kvs\":[{\"key\":\"!\"}]}",                          ERR_REMOTE},
        {"{\"header\":{},\"kvs\":[7]}",                                        ERR_REMOTE},
        {"{\"header\":{},\"events\":[{}]}",                                    ERR_REMOTE},
        {"{\"header\":{\"revision\":\"x\"}}",                                  ERR_REMOTE},
        {"{\"header\":{\"revision\":7}}",                                      ERR_REMOTE},
        {"{\"header\":{\"revision\":\"7\"},\"kvs\":\"oops\"}",                 ERR_REMOTE},
        {"{\"header\":{\"revision\":\"7\"},\"kvs\":{}}",                       ERR_REMOTE},
        {"{\"header\":{\"revision\":\"7\"},\"kvs\":null}",                     ERR_REMOTE},
        {"{\"header\":{\"revision\":\"7\"},\"events\":7}",                     ERR_REMOTE},
        {"{\"header\":{\"revision\":\"7\"},\"responses\":{}}",                 ERR_REMOTE},
        {"{\"header\":{\"revision\":\"7\"},\"more\":\"true\"}",                ERR_REMOTE},
        {"{\"header\":{\"revision\":\"7\"},\"count\":{}}",                     ERR_REMOTE},
        {"{\"header\":{},\"kvs\":[{\"key\":null,\"value\":\"eA==\"}]}",        ERR_REMOTE},
        {"{\"header\":{},\"kvs\":[{\"value\":\"eA==\"}]}",                     ERR_REMOTE},
        {"{\"header\":{},\"kvs\":[{\"key\":\"YQ==\",\"value\":7}]}",           ERR_REMOTE},
        {"{\"header\":{},\"kvs\":[{\"key\":\"YQ==\",\"mod_revision\":\"\"}]}", ERR_REMOTE},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err;
        struct etcd_answer a = {0};
        assert_int_equal(read_text(cases[i].text, &a, &err), -1);
        assert_int_equal(err.code, cases[i].code);
        etcd_answer_fini(&a);
    }
}

static void a_token_is_a_word_of_a_header(void **state)
{
    (void) state;
    static const struct {
        const char *token;
        bool is_good;
    } cases[] = {
        {"ZTOKJZbA.14",        true },
        {"eyJh.e30.-_~+/=",    true },
        {"tok\\r\\nX-Evil: 1", false},
        {"tok\\nX-Evil",       false},
        {"tok\\rX-Evil",       false},
        {"tok\\u0001",         false},
        {"tok\\u007f",         false},
        {"two words",          false},
    };
    struct err err = {0};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct etcd_answer a = {0};
        CLEANUP(free) char *text = xasprintf("{\"header\":{},\"token\":\"%s\"}", cases[i].token);
        assert_int_equal(read_text(text, &a, &err), cases[i].is_good ? 0 : -1);
        if (cases[i].is_good) {
            assert_string_equal(a.token, cases[i].token);
        }
        etcd_answer_fini(&a);
    }
    struct etcd_answer a = {0};
    CLEANUP(free) char *text = xasprintf("{\"header\":{},\"token\":\"%020000d\"}", 1);
    assert_int_equal(read_text(text, &a, &err), -1);
    etcd_answer_fini(&a);
}

static int count_line(void *arg, struct buf *line)
{
    assert_int_equal(strlen(buf_str(line)), line->len);
    (*(int *) arg)++;
    return buf_str(line)[0] == 'x' ? -1 : 0;
}

static void lines_may_be_cut_anywhere_and_have_a_bound(void **state)
{
    (void) state;
    static const char text[] = "{}\n\n{\"a\":1}\n{";
    for (size_t piece = 1; piece < sizeof(text); piece++) {
        struct etcd_stream stream = {0};
        int lines = 0;
        for (size_t at = 0; at < strlen(text); at += piece) {
            size_t n = strlen(text) - at < piece ? strlen(text) - at : piece;
            assert_int_equal(etcd_stream_feed(&stream, text + at, n, count_line, &lines, NULL), 0);
        }
        assert_int_equal(lines, 2);
        etcd_stream_fini(&stream);
    }
    struct etcd_stream stream = {0};
    struct err err = {0};
    int lines = 0;
    assert_int_equal(etcd_stream_feed(&stream, "x\nb\n", 4, count_line, &lines, &err), -1);
    assert_int_equal(err.code, ECANCELED);
    assert_int_equal(lines, 1);
    CLEANUP(free) char *long_line = xmalloc(1 << 20);
    memset(long_line, 'a', 1 << 20);
    int rc = 0;
    for (size_t i = 0; i < 17 && rc == 0; i++) {
        rc = etcd_stream_feed(&stream, long_line, 1 << 20, count_line, &lines, &err);
    }
    assert_int_equal(rc, -1);
    assert_int_equal(err.code, EFBIG);
    etcd_stream_fini(&stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_goes_there_and_back),
        cmocka_unit_test(what_is_no_base64_is_refused),
        cmocka_unit_test(requests_are_what_the_gateway_reads),
        cmocka_unit_test(an_answer_of_too_many_values_is_not_parsed),
        cmocka_unit_test(the_keys_of_an_answer_are_bounded_and_those_of_a_line_are_not),
        cmocka_unit_test(answers_are_read),
        cmocka_unit_test(errors_are_told_apart),
        cmocka_unit_test(a_token_is_a_word_of_a_header),
        cmocka_unit_test(lines_may_be_cut_anywhere_and_have_a_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
