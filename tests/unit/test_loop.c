/* How the event loop measures its turns, and tells of signals. */
#include "edgible/loop.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#define MS 1000000
#define BURN_MS 20
#define SLEEP_MS 100

static int64_t cpu_ns(void)
{
    struct timespec ts = {0};
    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts), 0);
    return (int64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void burn_and_stop(void *arg)
{
    int64_t end = cpu_ns() + (int64_t) BURN_MS * MS;
    while (cpu_ns() < end) {
    }
    loop_stop(arg);
}

static void stop(void *arg)
{
    loop_stop(arg);
}

static void run_after(struct loop *loop, loop_fn fn, mono_ms delay)
{
    struct loop_timer *timer = loop_timer_new(loop, fn, loop);
    loop_timer_arm(timer, loop_now() + delay);
    loop_run(loop);
    loop_timer_free(timer);
}

static struct loop *make_loop(void)
{
    struct err err = {0};
    struct loop *loop = loop_new(&err);
    assert_non_null(loop);
    return loop;
}

static void a_long_callback_makes_a_long_turn(void **state)
{
    (void) state;
    CLEANUP(loop) struct loop *loop = make_loop();
    run_after(loop, burn_and_stop, 0);
    const struct loop_turns *turns = loop_turns(loop);
    assert_true(turns->longest_cpu_ns >= (int64_t) BURN_MS * MS);
    assert_true(turns->longest_ns >= (int64_t) BURN_MS * MS);
    assert_true(turns->sum_ns >= turns->longest_ns);
    uint64_t short_ones = turns->buckets[0] + turns->buckets[1] + turns->buckets[2];
    assert_true(turns->count > short_ones); /* the buckets up to 10 ms are without it */
}

static void the_longest_stays_after_short_turns(void **state)
{
    (void) state;
    CLEANUP(loop) struct loop *loop = make_loop();
    run_after(loop, burn_and_stop, 0);
    uint64_t count = loop_turns(loop)->count;
    run_after(loop, stop, 0);
    assert_true(loop_turns(loop)->count > count);
    assert_true(loop_turns(loop)->longest_cpu_ns >= (int64_t) BURN_MS * MS);
}

static void sleep_is_no_part_of_a_turn(void **state)
{
    (void) state;
    CLEANUP(loop) struct loop *loop = make_loop();
    mono_ms began = loop_now();
    run_after(loop, stop, SLEEP_MS);
    mono_ms took = loop_now() - began;
    const struct loop_turns *turns = loop_turns(loop);
    /* However slow the machine: what it slept is in no turn. A timer may be early by a little. */
    assert_true(took - turns->sum_ns / MS >= SLEEP_MS / 2);
    assert_in_range(turns->count, 1, 5); /* measuring wakes nothing */
}

static void measuring_does_not_keep_the_loop_running(void **state)
{
    (void) state;
    CLEANUP(loop) struct loop *loop = make_loop();
    loop_run(loop); /* returns, as nothing is watched */
    assert_int_equal(loop_turns(loop)->longest_cpu_ns / 1000000000, 0);
}

static void raise_all(void *arg)
{
    (void) arg;
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(raise(SIGUSR2), 0);
}

struct told {
    struct loop *loop;
    int number;
    bool is_other_pending; /* while this one is told of */
    unsigned count;
};

static void on_told(void *arg)
{
    struct told *told = arg;
    sigset_t pending;
    assert_int_equal(sigpending(&pending), 0);
    assert_false(sigismember(&pending, told->number));
    told->is_other_pending = sigismember(&pending, told->number == SIGUSR1 ? SIGUSR2 : SIGUSR1);
    told->count++;
    if (!told->is_other_pending) {
        loop_stop(told->loop);
    }
}

/* So that an exec at any moment loses none: what is pending survives it. */
static void a_signal_is_pending_until_it_is_told_of(void **state)
{
    (void) state;
    CLEANUP(loop) struct loop *loop = make_loop();
    struct told first = {.loop = loop, .number = SIGUSR1};
    struct told second = {.loop = loop, .number = SIGUSR2};
    struct loop_signal *one = loop_signal_new(loop, SIGUSR1, on_told, &first);
    struct loop_signal *other = loop_signal_new(loop, SIGUSR2, on_told, &second);
    struct loop_timer *timer = loop_timer_new(loop, raise_all, NULL);
    loop_timer_arm(timer, 0);
    loop_run(loop);
    assert_int_equal(first.count, 1);
    assert_int_equal(second.count, 1);
    assert_true(first.is_other_pending != second.is_other_pending);
    loop_timer_free(timer);
    loop_signal_free(one);
    assert_int_equal(raise(SIGUSR1), 0); /* stays blocked, and tells nobody */
    loop_signal_free(other);
    loop_run(loop); /* returns, as nothing is watched */
    assert_int_equal(first.count, 1);
}

/* As SIGHUP is where nohup started this program. */
static void a_signal_that_was_ignored_is_told_of(void **state)
{
    (void) state;
    CLEANUP(loop) struct loop *loop = make_loop();
    (void) signal(SIGHUP, SIG_IGN);
    struct loop_signal *sig = loop_signal_new(loop, SIGHUP, stop, loop);
    assert_int_equal(raise(SIGHUP), 0);
    loop_run(loop);
    loop_signal_free(sig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_callback_makes_a_long_turn),
        cmocka_unit_test(the_longest_stays_after_short_turns),
        cmocka_unit_test(sleep_is_no_part_of_a_turn),
        cmocka_unit_test(measuring_does_not_keep_the_loop_running),
        cmocka_unit_test(a_signal_is_pending_until_it_is_told_of),
        cmocka_unit_test(a_signal_that_was_ignored_is_told_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
