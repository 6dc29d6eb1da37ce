/* Delays before the next try. */
#include "edgible/backoff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void delays_double_within_a_fifth_and_stop_at_the_maximum(void **state)
{
    (void) state;
    uint32_t random = 7;
    mono_ms expected = 500;
    for (unsigned n = 0; n < 70; n++) {
        for (int i = 0; i < 100; i++) {
            mono_ms delay = backoff_delay(500, 60000, n, backoff_random(&random));
            assert_in_range(delay, expected * 8 / 10, expected * 12 / 10);
        }
        expected = expected * 2 < 60000 ? expected * 2 : 60000;
    }
}

static void no_delay_stays_none(void **state)
{
    (void) state;
    assert_int_equal(backoff_delay(0, 60000, 9, 4711), 0);
    assert_int_equal(backoff_delay(500, 0, 9, 4711), 0);
}

static void random_numbers_never_stick_at_zero(void **state)
{
    (void) state;
    uint32_t random = 0;
    for (int i = 0; i < 1000; i++) {
        assert_int_not_equal(backoff_random(&random), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delays_double_within_a_fifth_and_stop_at_the_maximum),
        cmocka_unit_test(no_delay_stays_none),
        cmocka_unit_test(random_numbers_never_stick_at_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
