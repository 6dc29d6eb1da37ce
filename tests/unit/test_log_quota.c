/* How many lines about a workload go to the log. */
#include "edgible/log_quota.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct {
    char who[64];
    uint64_t count;
    mono_ms during;
    int calls;
} told;

static void tell(const char *application, const char *workload, uint64_t count, mono_ms during)
{
    (void) snprintf(told.who, sizeof(told.who), "%s/%s", application != NULL ? application : "-",
                    workload != NULL ? workload : "");
    told.count = count;
    told.during = during;
    told.calls++;
}

static struct log_quota *make_empty(mono_ms now)
{
    memset(&told, 0, sizeof(told));
    struct log_quota *quota = log_quota_new(tell);
    for (int i = 0; i < LOG_QUOTA_BURST; i++) {
        assert_true(log_quota_take(quota, "app", "main", false, now));
    }
    return quota;
}

static void a_burst_is_taken_and_the_rest_is_counted(void **state)
{
    (void) state;
    struct log_quota *quota = make_empty(5000);
    for (int i = 0; i < 1234; i++) {
        assert_false(log_quota_take(quota, "app", "main", false, 5000 + i));
    }
    assert_int_equal(log_quota_tell_due(quota, 6000), 5000 + LOG_QUOTA_TELL_MS);
    assert_int_equal(told.calls, 0);
    assert_int_equal(log_quota_tell_due(quota, 5000 + LOG_QUOTA_TELL_MS), -1);
    assert_int_equal(told.calls, 1);
    assert_string_equal(told.who, "app/main");
    assert_int_equal(told.count, 1234);
    assert_int_equal(told.during, LOG_QUOTA_TELL_MS);
    log_quota_free(quota, 100000);
    assert_int_equal(told.calls, 1);
}

static void lines_come_back_slowly_and_no_more_than_the_burst(void **state)
{
    (void) state;
    struct log_quota *quota = make_empty(0);
    assert_false(log_quota_take(quota, "app", "main", false, LOG_QUOTA_REFILL_MS - 1));
    assert_true(log_quota_take(quota, "app", "main", false, LOG_QUOTA_REFILL_MS));
    assert_false(log_quota_take(quota, "app", "main", false, LOG_QUOTA_REFILL_MS));
    mono_ms later = (mono_ms) 3 * LOG_QUOTA_BURST * LOG_QUOTA_REFILL_MS;
    int taken = 0;
    while (log_quota_take(quota, "app", "main", false, later)) {
        taken++;
    }
    assert_int_equal(taken, LOG_QUOTA_BURST);
    log_quota_free(quota, later);
}

static void each_workload_has_its_own(void **state)
{
    (void) state;
    struct log_quota *quota = make_empty(0);
    assert_false(log_quota_take(quota, "app", "main", false, 0));
    assert_true(log_quota_take(quota, "app", "other", false, 0));
    assert_true(log_quota_take(quota, "other", "main", false, 0));
    log_quota_free(quota, 0);
}

static void what_says_more_has_a_bucket_of_its_own(void **state)
{
    (void) state;
    struct log_quota *quota = make_empty(0);
    for (int i = 0; i < LOG_QUOTA_BURST; i++) {
        assert_true(log_quota_take(quota, "app", "main", true, 0));
    }
    assert_false(log_quota_take(quota, "app", "main", true, 0));
    assert_false(log_quota_take(quota, "app", "main", false, 0));
    assert_true(log_quota_take(quota, "app", NULL, true, 0));
    log_quota_free(quota, 0);
    assert_int_equal(told.calls, 2);
}

static void an_application_and_all_of_them_are_bounded(void **state)
{
    (void) state;
    struct log_quota *quota = make_empty(0);
    int taken = 0;
    while (log_quota_take(quota, "app", NULL, true, 0)) {
        taken++;
    }
    assert_int_equal(taken, LOG_QUOTA_BURST);
    for (taken += LOG_QUOTA_BURST; taken < LOG_QUOTA_ALL_BURST; taken++) {
        char name[24];
        (void) snprintf(name, sizeof(name), "made-up-%d", taken);
        assert_true(log_quota_take(quota, name, NULL, true, 0));
    }
    assert_false(log_quota_take(quota, "one-more", NULL, true, 0));
    assert_false(log_quota_take(quota, NULL, NULL, true, 0));
    assert_true(log_quota_take(quota, NULL, NULL, true, LOG_QUOTA_ALL_REFILL_MS));
    assert_int_equal(log_quota_tell_due(quota, LOG_QUOTA_TELL_MS), -1);
    assert_string_equal(told.who, "-/");
    assert_int_equal(told.count, 2);
    log_quota_free(quota, 0);
}

static void lines_about_the_device_are_bounded(void **state)
{
    (void) state;
    struct log_quota *quota = make_empty(0);
    for (int i = 0; i < LOG_QUOTA_BURST; i++) {
        assert_true(log_quota_take(quota, NULL, NULL, true, 0));
    }
    assert_false(log_quota_take(quota, NULL, NULL, true, 0));
    log_quota_free(quota, 0);
    assert_string_equal(told.who, "-/");
}

static void what_is_left_out_is_told_when_asked_for_and_at_the_end(void **state)
{
    (void) state;
    struct log_quota *quota = make_empty(0);
    log_quota_flush(quota, "app", "main", 0);
    log_quota_flush(quota, "nobody", "main", 0);
    assert_int_equal(told.calls, 0);
    assert_false(log_quota_take(quota, "app", "main", false, 10));
    log_quota_flush(quota, "app", "main", 30);
    assert_int_equal(told.calls, 1);
    assert_int_equal(told.during, 20);
    assert_false(log_quota_take(quota, "app", "main", false, 40));
    log_quota_free(quota, 50);
    assert_int_equal(told.calls, 2);
    assert_int_equal(told.count, 1);
}

static void quiet_workloads_are_forgotten(void **state)
{
    (void) state;
    struct log_quota *quota = make_empty(0);
    assert_false(log_quota_take(quota, "app", "main", false, 0));
    for (int i = 0; i < 10000; i++) {
        char name[16];
        (void) snprintf(name, sizeof(name), "w%d", i);
        assert_true(log_quota_take(quota, "app", name, false, (mono_ms) i * LOG_QUOTA_REFILL_MS));
    }
    assert_true(log_quota_count(quota) < 200);
    log_quota_free(quota, 0);
    assert_int_equal(told.calls, 1); /* never without telling of what was left out */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_is_taken_and_the_rest_is_counted),
        cmocka_unit_test(lines_come_back_slowly_and_no_more_than_the_burst),
        cmocka_unit_test(each_workload_has_its_own),
        cmocka_unit_test(what_says_more_has_a_bucket_of_its_own),
        cmocka_unit_test(an_application_and_all_of_them_are_bounded),
        cmocka_unit_test(lines_about_the_device_are_bounded),
        cmocka_unit_test(what_is_left_out_is_told_when_asked_for_and_at_the_end),
        cmocka_unit_test(quiet_workloads_are_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
