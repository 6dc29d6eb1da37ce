/* A function on a thread beside the loop. */
#include "edgible/work.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

struct job {
    struct loop *loop;
    struct work *work;
    int ran;
    bool is_done;
    atomic_bool may_end, was_freed; /* both threads' */
};

static void pause_a_moment(void)
{
    (void) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void run(void *arg)
{
    struct job *job = arg;
    while (!atomic_load(&job->may_end)) {
        pause_a_moment();
    }
    job->ran++;
}

static void done(void *arg)
{
    struct job *job = arg;
    job->is_done = true;
    work_free(job->work);
    loop_stop(job->loop);
}

static void note_free(void *arg)
{
    struct job *job = arg;
    atomic_store(&job->was_freed, true);
}

static void start(struct job *job)
{
    struct err err = {0};
    job->loop = loop_new(&err);
    assert_non_null(job->loop);
    struct work_params params = {
        .loop = job->loop, .run = run, .done = done, .free_arg = note_free, .arg = job};
    job->work = work_start(&params, &err);
    assert_non_null(job->work);
}

static void the_loop_is_told_of_the_end(void **state)
{
    (void) state;
    struct job job = {.may_end = true};
    start(&job);
    loop_run(job.loop);
    assert_true(job.is_done);
    assert_int_equal(job.ran, 1);
    assert_true(atomic_load(&job.was_freed));
    loop_free(job.loop);
}

static void who_leaves_does_not_wait(void **state)
{
    (void) state;
    struct job job = {0};
    start(&job);
    work_free(job.work);
    assert_false(atomic_load(&job.was_freed));
    loop_free(job.loop);
    atomic_store(&job.may_end, true);
    while (!atomic_load(&job.was_freed)) {
        pause_a_moment();
    }
    assert_int_equal(job.ran, 1);
    assert_false(job.is_done);
}

static void the_end_and_leaving_may_meet(void **state)
{
    (void) state;
    struct job job = {.may_end = true};
    start(&job);
    while (!atomic_load(&job.was_freed)) {
        pause_a_moment();
        work_free(steal_ptr(&job.work));
    }
    assert_false(job.is_done);
    loop_free(job.loop);
}

static void who_waits_is_told_of_the_end(void **state)
{
    (void) state;
    struct job job = {0};
    start(&job);
    assert_false(work_wait(job.work, 1));
    atomic_store(&job.may_end, true);
    while (!work_wait(job.work, 1000)) {
    }
    assert_int_equal(job.ran, 1);
    assert_false(atomic_load(&job.was_freed));
    work_free(job.work);
    assert_true(atomic_load(&job.was_freed));
    assert_false(job.is_done);
    loop_free(job.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_loop_is_told_of_the_end),
        cmocka_unit_test(who_leaves_does_not_wait),
        cmocka_unit_test(the_end_and_leaving_may_meet),
        cmocka_unit_test(who_waits_is_told_of_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
