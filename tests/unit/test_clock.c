#include "edgible/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define DAY_MS INT64_C(86400000)

static const struct clock_moment began = {.unix_ms = 20000, .boot_ms = 20000}; /* 1970 */

static void a_moment_before_the_clock_was_set_is_shown_as_it_is_set_now(void **state)
{
    (void) state;
    const struct clock_moment now = {.unix_ms = 20000 * DAY_MS, .boot_ms = 80000};
    assert_int_equal(clock_moment_shown(&began, &now), 20000 * DAY_MS - 60000);
}

static void a_clock_set_back_is_followed_too(void **state)
{
    (void) state;
    const struct clock_moment ahead = {.unix_ms = 30000 * DAY_MS, .boot_ms = 20000};
    const struct clock_moment now = {.unix_ms = 20000 * DAY_MS, .boot_ms = 80000};
    assert_int_equal(clock_moment_shown(&ahead, &now), 20000 * DAY_MS - 60000);
}

static void a_moment_does_not_waver_with_the_clocks(void **state)
{
    (void) state;
    const struct clock_moment now[] = {
        {80001, 80000},
        {79999, 80000},
        {80999, 80000}
    };
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(clock_moment_shown(&began, &now[i]), 20000);
    }
}

static void a_moment_of_an_older_record_stays_what_it_was(void **state)
{
    (void) state;
    const struct clock_moment old = {.unix_ms = 20000};
    const struct clock_moment now = {.unix_ms = 20000 * DAY_MS, .boot_ms = 80000};
    assert_int_equal(clock_moment_shown(&old, &now), 20000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_moment_before_the_clock_was_set_is_shown_as_it_is_set_now),
        cmocka_unit_test(a_clock_set_back_is_followed_too),
        cmocka_unit_test(a_moment_does_not_waver_with_the_clocks),
        cmocka_unit_test(a_moment_of_an_older_record_stays_what_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
