/* Which answer to a range is believed. */
#include "../../src/svc/etcd_bounds.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static int check_range(const char *text)
{
    struct err err = {0};
    CLEANUP(etcd_answer) struct etcd_answer answer = {0};
    if (etcd_answer_read(text, strlen(text), &answer, &err) < 0) {
        return -1;
    }
    return etcd_bounds_check_range(&answer, &err);
}

static void a_range_is_whole_or_none(void **state)
{
    (void) state;
    static const char *const good[] = {
        "{\"header\":{\"revision\":\"1\"}}",
        "{\"header\":{\"revision\":\"7\"},\"kvs\":[],\"count\":\"0\"}",
        "{\"header\":{\"revision\":\"7\"},\"kvs\":[{\"key\":\"YQ==\"}],\"count\":\"1\"}",
    };
    static const char *const bad[] = {
        "{\"header\":{}}",
        "{\"result\":{\"header\":{}}}",
        "{\"header\":{\"revision\":\"0\"}}",
        "{\"header\":{\"revision\":\"-1\"}}",
        "{\"header\":{\"revision\":\"7\"},\"count\":\"2\"}",
        "{\"header\":{\"revision\":\"7\"},\"kvs\":[],\"count\":\"2\"}",
        "{\"header\":{\"revision\":\"7\"},\"kvs\":[{\"key\":\"YQ==\"}],\"count\":\"2\"}",
        "{\"header\":{\"revision\":\"7\"},\"kvs\":[],\"more\":true,\"count\":\"2\"}",
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(check_range(good[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(check_range(bad[i]), -1);
    }
}

static int check_store(struct etcd_store *store, char *cluster, int64_t revision, mono_ms now)
{
    struct err err = {0};
    struct etcd_answer answer = {.cluster = cluster, .revision = revision};
    return etcd_store_check(store, &answer, now, &err);
}

static void another_store_is_not_believed_at_once(void **state)
{
    (void) state;
    struct etcd_store store = {0};
    char one[] = "1";
    char two[] = "2";
    assert_int_equal(check_store(&store, one, 100, 0), 0);
    assert_int_equal(check_store(&store, one, 99, 1000), -1);
    assert_int_equal(check_store(&store, two, 200, 2000), -1);
    assert_int_equal(check_store(&store, NULL, 200, 3000), -1);
    assert_int_equal(check_store(&store, one, 100, ETCD_STRANGE_MS), 0);
    /* The time begins anew with each answer of the known one. */
    assert_int_equal(check_store(&store, two, 200, ETCD_STRANGE_MS + 2000), -1);
    assert_int_equal(check_store(&store, two, 201, 2 * ETCD_STRANGE_MS + 1999), -1);
    assert_int_equal(check_store(&store, two, 202, 2 * ETCD_STRANGE_MS + 2000), 0);
    assert_int_equal(check_store(&store, two, 202, 2 * ETCD_STRANGE_MS + 2001), 0);
    assert_int_equal(check_store(&store, one, 100, 2 * ETCD_STRANGE_MS + 2002), -1);
    etcd_store_fini(&store);
}

static void the_keys_and_values_after_a_line_are_bounded(void **state)
{
    (void) state;
    struct err err = {0};
    assert_int_equal(etcd_bounds_check_changes(1000, 8UL << 20, &err), 0);
    assert_int_equal(etcd_bounds_check_changes(1001, 0, &err), -1);
    assert_int_equal(err.code, ERR_REMOTE);
    assert_int_equal(etcd_bounds_check_changes(1, (8UL << 20) + 1, &err), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_range_is_whole_or_none),
        cmocka_unit_test(another_store_is_not_believed_at_once),
        cmocka_unit_test(the_keys_and_values_after_a_line_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
