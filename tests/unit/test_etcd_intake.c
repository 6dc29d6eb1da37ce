/* What waits behind a long answer of etcd. */
#include "../../src/svc/etcd_intake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define LINES 300
#define BURN_NS 1000000
#define LONG_BYTES ((size_t) 256 * 1024)

struct kit {
    struct loop *loop;
    struct etcd_intake intake;
    size_t taken, drop_after;
    int64_t last;
    bool was_idle;
};

static int64_t cpu_ns(void)
{
    struct timespec ts = {0};
    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts), 0);
    return (int64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void take(void *arg, struct etcd_answer *answer, const struct err *err)
{
    struct kit *kit = arg;
    int64_t end = cpu_ns() + BURN_NS;
    assert_null(err);
    assert_int_equal(answer->revision, kit->last + 1);
    kit->last = answer->revision;
    while (cpu_ns() < end) {
    }
    kit->taken++;
    if (kit->taken == kit->drop_after) {
        etcd_intake_clear(&kit->intake);
    }
    if (kit->taken == kit->drop_after || kit->taken == LINES) {
        kit->was_idle = etcd_intake_is_idle(&kit->intake);
        loop_stop(kit->loop);
    }
}

/* The first is long. */
static void add(struct kit *kit, int number)
{
    struct err err = {0};
    CLEANUP(buf) struct buf text = {0};
    buf_printf(&text, "{\"result\":{\"header\":{\"revision\":\"%d\"}}}", number);
    while (number == 1 && text.len < LONG_BYTES) {
        buf_add_str(&text, "          ");
    }
    assert_int_equal(etcd_intake_add(&kit->intake, &text, &err), 0);
}

static void run(struct kit *kit)
{
    kit->loop = loop_new(NULL);
    etcd_intake_init(&kit->intake, kit->loop, take, kit);
    for (int i = 1; i <= LINES; i++) {
        add(kit, i);
    }
    assert_int_equal(kit->taken, 0);
    loop_run(kit->loop);
}

static void end(struct kit *kit)
{
    etcd_intake_clear(&kit->intake);
    loop_free(kit->loop);
}

static void lines_that_waited_are_taken_in_turns(void **state)
{
    (void) state;
    struct kit kit = {0};
    run(&kit);
    assert_int_equal(kit.taken, LINES);
    assert_true(kit.was_idle);
    /* In one turn they would take 300 ms. */
    assert_true(loop_turns(kit.loop)->longest_cpu_ns < (int64_t) LINES * BURN_NS / 2);
    end(&kit);
}

static void what_waits_is_dropped_between_two_turns(void **state)
{
    (void) state;
    struct kit kit = {.drop_after = LINES / 2};
    run(&kit);
    assert_int_equal(kit.taken, LINES / 2);
    assert_true(kit.was_idle);
    kit.drop_after = kit.taken + 1;
    add(&kit, LINES / 2 + 1);
    assert_int_equal(kit.taken, LINES / 2 + 1);
    end(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_that_waited_are_taken_in_turns),
        cmocka_unit_test(what_waits_is_dropped_between_two_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
