/* How many threads may be left behind by paths that hang, and for whom. */
#include "../../src/svc/look.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#define ALICE 1000
#define BOB 1001
#define LONG_MS 60000

static atomic_bool may_end;
static atomic_int freed;

static void run(void *arg)
{
    atomic_bool *is_let_go = arg;
    while (!atomic_load(is_let_go)) {
        (void) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

static void count(void *arg)
{
    (void) arg;
    (void) atomic_fetch_add(&freed, 1);
}

static struct work *start(uid_t user, mono_ms wait, bool *ret_over, struct err *err)
{
    const struct work_params params = {.run = run, .free_arg = count, .arg = &may_end};
    return look_start(&params, user, wait, ret_over, err);
}

static void leave(uid_t user, int how_many)
{
    for (int i = 0; i < how_many; i++) {
        bool is_over = true;
        struct err err = {0};
        struct work *work = start(user, 0, &is_over, &err);
        assert_non_null(work);
        assert_false(is_over);
        work_free(work);
    }
}

static void let_go(int how_many)
{
    atomic_store(&may_end, true);
    while (atomic_load(&freed) < how_many) {
        (void) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    atomic_store(&freed, 0);
    atomic_store(&may_end, false);
}

static void what_ends_soon_is_waited_for_and_takes_no_room(void **state)
{
    (void) state;
    struct work *works[LOOKS_MAX + 1];
    struct err err = {0};
    atomic_store(&may_end, true);
    for (size_t i = 0; i < LOOKS_MAX + 1; i++) {
        bool is_over = false;
        works[i] = start(ALICE, LONG_MS, &is_over, &err);
        assert_non_null(works[i]);
        assert_true(is_over);
    }
    assert_int_equal(atomic_load(&freed), 0); /* what they found is the caller's until then */
    for (size_t i = 0; i < LOOKS_MAX + 1; i++) {
        work_free(works[i]);
    }
    let_go(LOOKS_MAX + 1);
}

static void the_paths_of_one_user_leave_room_for_others(void **state)
{
    (void) state;
    bool is_over = false;
    struct err err = {0};
    leave(ALICE, LOOKS_OF_USER_MAX);
    assert_null(start(ALICE, 0, &is_over, &err));
    assert_int_equal(err.code, EBUSY);
    leave(BOB, 1);
    let_go(LOOKS_OF_USER_MAX + 1);
    leave(ALICE, 1);
    let_go(1);
}

static void no_more_are_left_behind_than_may_be(void **state)
{
    (void) state;
    bool is_over = false;
    struct err err = {0};
    for (uid_t user = 0; user < LOOKS_MAX / LOOKS_OF_USER_MAX; user++) {
        leave(user, LOOKS_OF_USER_MAX);
    }
    assert_null(start(ALICE, 0, &is_over, &err));
    assert_int_equal(err.code, EBUSY);
    let_go(LOOKS_MAX);
    assert_false(look_any_hangs());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_ends_soon_is_waited_for_and_takes_no_room),
        cmocka_unit_test(the_paths_of_one_user_leave_room_for_others),
        cmocka_unit_test(no_more_are_left_behind_than_may_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
