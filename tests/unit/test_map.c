#include "edgible/map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int one = 1;
static int two = 2;
static int three = 3;

static void an_empty_map_has_nothing(void **state)
{
    (void) state;
    CLEANUP(map) struct map *map = map_new();
    size_t at = 0;
    assert_int_equal(map_count(map), 0);
    assert_null(map_get(map, "a"));
    assert_false(map_has(map, "a"));
    assert_null(map_remove(map, "a"));
    assert_false(map_next(map, &at, NULL, NULL));
    map_free(NULL);
}

static void what_is_put_is_found_and_replaced(void **state)
{
    (void) state;
    CLEANUP(map) struct map *map = map_new();
    map_put(map, "a", &one);
    map_put(map, "", &two);
    assert_ptr_equal(map_get(map, "a"), &one);
    assert_ptr_equal(map_get(map, ""), &two);
    map_put(map, "a", &three);
    assert_ptr_equal(map_get(map, "a"), &three);
    assert_int_equal(map_count(map), 2);
}

static void keys_are_copied(void **state)
{
    (void) state;
    CLEANUP(map) struct map *map = map_new();
    char key[] = "abc";
    map_put(map, key, &one);
    key[0] = 'x';
    assert_true(map_has(map, "abc"));
    assert_false(map_has(map, "xbc"));
}

static void iteration_is_in_the_order_of_insertion(void **state)
{
    (void) state;
    CLEANUP(map) struct map *map = map_new();
    static const char *const keys[] = {"z", "a", "m", "b", "y", "c", "x", "d", "w", "e"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        map_put(map, keys[i], &one);
    }
    size_t seen = 0;
    const char *key = NULL;
    void *value = NULL;
    for (size_t at = 0; map_next(map, &at, &key, &value);) {
        assert_string_equal(key, keys[seen++]);
        assert_ptr_equal(value, &one);
    }
    assert_int_equal(seen, ARRAY_LEN(keys));
}

/* Against a table of what should be there, with many holes and growths between. */
static void it_agrees_with_a_plain_table_over_a_random_walk(void **state)
{
    (void) state;
    enum { KEYS = 300 };
    static int values[KEYS];
    bool is_there[KEYS] = {false};
    CLEANUP(map) struct map *map = map_new();
    size_t count = 0;
    uint32_t random = 12345;
    for (int step = 0; step < 100000; step++) {
        random = random * 1664525U + 1013904223U;
        size_t i = (random >> 8) % KEYS;
        char key[16];
        (void) snprintf(key, sizeof(key), "key-%zu", i);
        if ((random >> 24) % 2 == 0) {
            map_put(map, key, &values[i]);
            count += is_there[i] ? 0 : 1;
            is_there[i] = true;
        } else {
            assert_ptr_equal(map_remove(map, key), is_there[i] ? &values[i] : NULL);
            count -= is_there[i] ? 1 : 0;
            is_there[i] = false;
        }
        assert_int_equal(map_count(map), count);
        assert_ptr_equal(map_get(map, key), is_there[i] ? &values[i] : NULL);
    }
    size_t seen = 0;
    for (size_t at = 0; map_next(map, &at, NULL, NULL);) {
        seen++;
    }
    assert_int_equal(seen, count);
}

static void many_keys_do_not_make_it_slow_or_forgetful(void **state)
{
    (void) state;
    CLEANUP(map) struct map *map = map_new();
    char key[32];
    for (int i = 0; i < 100000; i++) {
        (void) snprintf(key, sizeof(key), "%d", i);
        map_put(map, key, &one);
    }
    assert_int_equal(map_count(map), 100000);
    for (int i = 0; i < 100000; i++) {
        (void) snprintf(key, sizeof(key), "%d", i);
        assert_true(map_has(map, key));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_map_has_nothing),
        cmocka_unit_test(what_is_put_is_found_and_replaced),
        cmocka_unit_test(keys_are_copied),
        cmocka_unit_test(iteration_is_in_the_order_of_insertion),
        cmocka_unit_test(it_agrees_with_a_plain_table_over_a_random_walk),
        cmocka_unit_test(many_keys_do_not_make_it_slow_or_forgetful),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
