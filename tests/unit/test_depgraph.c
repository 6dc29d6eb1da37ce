/* The order of stopping. */
#include "edgible/depgraph.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void what_nothing_depends_on_stops_first(void **state)
{
    (void) state;
    /* web → api → db, web → cache */
    const struct depgraph_edge edges[] = {
        {0, 1},
        {1, 2},
        {0, 3}
    };
    size_t ranks[4];
    assert_int_equal(depgraph_stop_ranks(4, edges, 3, ranks), 3);
    assert_int_equal(ranks[0], 0);
    assert_int_equal(ranks[1], 1);
    assert_int_equal(ranks[2], 2);
    assert_int_equal(ranks[3], 1);
}

static void without_edges_all_stop_at_once(void **state)
{
    (void) state;
    size_t ranks[3] = {7, 7, 7};
    assert_int_equal(depgraph_stop_ranks(3, NULL, 0, ranks), 1);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(ranks[i], 0);
    }
}

static void the_longest_way_counts(void **state)
{
    (void) state;
    const struct depgraph_edge edges[] = {
        {2, 3},
        {1, 2},
        {0, 1},
        {0, 3}
    };
    size_t ranks[4];
    assert_int_equal(depgraph_stop_ranks(4, edges, 4, ranks), 4);
    assert_int_equal(ranks[3], 3);
}

static void a_cycle_ends_and_does_not_hold_up_the_rest(void **state)
{
    (void) state;
    const struct depgraph_edge edges[] = {
        {0, 1},
        {1, 0},
        {2, 3}
    };
    size_t ranks[4];
    size_t count = depgraph_stop_ranks(4, edges, 3, ranks);
    assert_in_range(count, 1, 5);
    assert_int_equal(ranks[2], 0);
    assert_int_equal(ranks[3], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_nothing_depends_on_stops_first),
        cmocka_unit_test(without_edges_all_stop_at_once),
        cmocka_unit_test(the_longest_way_counts),
        cmocka_unit_test(a_cycle_ends_and_does_not_hold_up_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
