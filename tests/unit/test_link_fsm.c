/* When a control plane is asked next. */
#include "edgible/link_fsm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MANY 2000

static void first_contact_is_spread_unless_nothing_runs(void **state)
{
    (void) state;
    struct link_fsm fsm;
    mono_ms lowest = INT64_MAX;
    mono_ms highest = 0;
    for (uint64_t seed = 0; seed < MANY; seed++) {
        link_fsm_init(&fsm, seed);
        assert_int_equal(link_fsm_first(&fsm, 60000, false), 0);
        mono_ms wait = link_fsm_first(&fsm, 60000, true);
        lowest = wait < lowest ? wait : lowest;
        highest = wait > highest ? wait : highest;
        assert_true(link_fsm_first(&fsm, 2000, true) <= 2000);
    }
    assert_true(lowest < 300 && highest > 29700 && highest <= 30000);
}

static void intervals_carry_a_tenth_of_chance(void **state)
{
    (void) state;
    struct link_fsm fsm;
    mono_ms sum = 0;
    link_fsm_init(&fsm, 7);
    for (int i = 0; i < MANY; i++) {
        mono_ms wait = link_fsm_spread(&fsm, 30000);
        assert_true(wait >= 27000 && wait <= 33000);
        sum += wait;
    }
    assert_true(sum / MANY > 29700 && sum / MANY < 30300);
    assert_int_equal(link_fsm_spread(&fsm, 0), 0);
}

static void failures_double_the_wait_up_to_five_minutes_with_full_chance(void **state)
{
    (void) state;
    static const mono_ms max[] = {1000,  2000,   4000,   8000,   16000, 32000,
                                  64000, 128000, 256000, 300000, 300000};
    mono_ms highest[11] = {0};
    mono_ms lowest[11] = {0};
    for (uint64_t seed = 0; seed < MANY; seed++) {
        struct link_fsm fsm;
        link_fsm_init(&fsm, seed);
        for (size_t i = 0; i < 11; i++) {
            mono_ms wait = link_fsm_on_failure(&fsm, -1);
            assert_true(wait >= 50 && wait <= max[i]);
            highest[i] = wait > highest[i] ? wait : highest[i];
            lowest[i] = seed == 0 || wait < lowest[i] ? wait : lowest[i];
        }
    }
    for (size_t i = 0; i < 11; i++) {
        assert_true(highest[i] > max[i] * 95 / 100);
        assert_true(lowest[i] < max[i] * 6 / 100);
    }
}

static void what_a_server_asks_for_is_waited_up_to_an_hour(void **state)
{
    (void) state;
    struct link_fsm fsm;
    link_fsm_init(&fsm, 1);
    for (int i = 0; i < 100; i++) {
        link_fsm_on_success(&fsm);
        mono_ms wait = link_fsm_on_failure(&fsm, 20000);
        assert_true(wait >= 20000 && wait <= 23000);
        link_fsm_on_success(&fsm);
        wait = link_fsm_on_failure(&fsm, INT64_MAX);
        assert_true(wait >= 3600000 && wait <= 3600000 + 361000);
    }
}

static mono_ms answer(struct link_fsm *fsm, bool changed, bool applied, mono_ms took)
{
    struct link_answer a = {.is_changed = changed, .is_wait_applied = applied, .took_ms = took};
    return link_fsm_on_answer(fsm, &a, 30000);
}

static void a_server_that_holds_requests_is_asked_at_once(void **state)
{
    (void) state;
    struct link_fsm fsm;
    link_fsm_init(&fsm, 1);
    assert_true(answer(&fsm, true, false, 10) <= 500); /* not known yet */
    assert_int_equal(answer(&fsm, false, false, 50000), 0);
    assert_int_equal(fsm.waits, LINK_WAITS);
    assert_int_equal(answer(&fsm, true, false, 12000), 0);
    assert_true(answer(&fsm, true, false, 10) <= 500);
}

static void a_server_that_says_that_it_waits_is_believed(void **state)
{
    (void) state;
    struct link_fsm fsm;
    link_fsm_init(&fsm, 1);
    assert_true(answer(&fsm, false, true, 10) <= 500);
    assert_int_equal(fsm.waits, LINK_WAITS);
}

static void a_server_that_answers_at_once_is_polled(void **state)
{
    (void) state;
    struct link_fsm fsm;
    link_fsm_init(&fsm, 1);
    assert_true(answer(&fsm, false, false, 10) <= 30000); /* any part of the first interval */
    assert_true(answer(&fsm, false, false, 10) >= 27000);
    assert_true(answer(&fsm, true, false, 10) >= 27000);
    /* Slow for once is not holding: it may have too much to do. */
    assert_true(answer(&fsm, false, false, 9000) >= 27000);
    assert_int_equal(answer(&fsm, false, false, 40000), 0);
}

static void a_server_whose_answers_differ_each_time_is_not_hammered(void **state)
{
    (void) state;
    struct link_fsm fsm;
    link_fsm_init(&fsm, 1);
    mono_ms wait = 0;
    for (int i = 0; i < 20; i++) {
        wait = answer(&fsm, true, false, 5);
    }
    assert_true(wait >= 27000);
}

static void reading_all_again_and_again_is_slowed(void **state)
{
    (void) state;
    struct link_fsm fsm;
    link_fsm_init(&fsm, 7);
    static const mono_ms expected[] = {0, 10000, 20000, 40000, 80000, 160000, 300000, 300000};
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        assert_int_equal(link_fsm_on_reread(&fsm, 5200), expected[i]);
        link_fsm_on_success(&fsm); /* contact alone forgives nothing */
    }
    assert_int_equal(link_fsm_on_reread(&fsm, 600000), 0);
    assert_int_equal(link_fsm_on_reread(&fsm, 599999), 10000);
    link_fsm_init(&fsm, 7);
    assert_int_equal(link_fsm_on_reread(&fsm, 10), 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_contact_is_spread_unless_nothing_runs),
        cmocka_unit_test(intervals_carry_a_tenth_of_chance),
        cmocka_unit_test(failures_double_the_wait_up_to_five_minutes_with_full_chance),
        cmocka_unit_test(what_a_server_asks_for_is_waited_up_to_an_hour),
        cmocka_unit_test(a_server_that_holds_requests_is_asked_at_once),
        cmocka_unit_test(a_server_that_says_that_it_waits_is_believed),
        cmocka_unit_test(a_server_that_answers_at_once_is_polled),
        cmocka_unit_test(a_server_whose_answers_differ_each_time_is_not_hammered),
        cmocka_unit_test(reading_all_again_and_again_is_slowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
