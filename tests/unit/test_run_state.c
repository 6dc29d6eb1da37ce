#include "edgible/run_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct restart_policy restart = {
    .when = RESTART_ALWAYS,
    .initial_delay_ms = 100,
    .max_delay_ms = 1000,
    .rapid_after_ms = 1000,
    .stable_after_ms = 60000,
};
static const struct stop_policy stop = {.signal = 15, .grace_ms = 5000};

static struct run_state read_ok(const char *text)
{
    struct run_state state = {0};
    struct err err = {0};
    if (run_state_read("s.json", text, strlen(text), &state, &err) != STATE_DOC_READ) {
        fail_msg("%s", err.msg);
    }
    return state;
}

static void all_is_kept(void **unused)
{
    (void) unused;
    char boot[] = "boot";
    char pidfd_inode[] = "18446744073709551615";
    char pipe_inode[] = "12";
    char error[] = "cannot";
    char stage[] = "log";
    struct run_state state = {
        .boot_id = boot,
        .fsm = {.state = WL_ENDING,
                .wanted = true,
                .alive = true,
                .leader_exited = true,
                .judged = true,
                .term_left_sent = true,
                .end = WL_END_ERROR,
                .started_at = 1,
                .ended_at = 2,
                .deadline = 3,
                .grace_end = 4,
                .killing_since = 5,
                .delay_n = 6,
                .rapid_failures = 7,
                .host_tries = 8,
                .restarts = 9},
        .pid = 4711,
        .start_ticks = 5,
        .pidfd_inode = pidfd_inode,
        .uid = 1000,
        .pipe_inode = pipe_inode,
        .log_fd = 17,
        .run = 3,
        .in_cgroup = true,
        .started_unix_ms = 1795498119928,
        .end = {.at_unix_ms = 1795498119929,
                .is_known = true,
                .is_signal = true,
                .core_dumped = true,
                .code = 11,
                .fault_stage = 2,
                .fault_errno = 13,
                .start_error = error,
                .start_stage = stage,
                .start_errno = 28},
    };
    strv_add(&state.end.tail, "a line");
    strv_add(&state.end.tail, "");
    strv_add(&state.end.tail, "\"\\ \x01 \xC3\xA4");
    CLEANUP(free) char *text = run_state_text(&state);
    CLEANUP(run_state) struct run_state found = read_ok(text);
    CLEANUP(free) char *again = run_state_text(&found);
    assert_string_equal(text, again);
    assert_int_equal(found.fsm.state, WL_ENDING);
    assert_true(found.fsm.alive && found.fsm.judged && found.fsm.leader_exited);
    assert_string_equal(found.pidfd_inode, pidfd_inode);
    assert_true(strv_is_equal(&found.end.tail, &state.end.tail));
    assert_int_equal(found.log_fd, 17);
    strv_fini(&state.end.tail);
}

static void a_deadline_that_nothing_waits_for_is_dropped(void **unused)
{
    (void) unused;
    char boot[] = "boot";
    struct run_state state = {
        .boot_id = boot,
        .fsm = {.state = WL_RUNNING, .wanted = true, .alive = true, .deadline = 5},
        .pid = 7,
        .start_ticks = 1,
        .log_fd = -1,
        .end = {.at_unix_ms = 1     }
    };
    CLEANUP(free) char *text = run_state_text(&state);
    CLEANUP(run_state) struct run_state found = read_ok(text);
    assert_int_equal(found.fsm.state, WL_RUNNING);
    assert_int_equal(found.fsm.deadline, 0);
}

static void output_that_is_no_text_is_written_as_text(void **unused)
{
    (void) unused;
    char boot[] = "boot";
    struct run_state state = {.boot_id = boot, .log_fd = -1, .end = {.at_unix_ms = 1}};
    strv_add(&state.end.tail, "\xFF\xFE half \xC3");
    CLEANUP(free) char *text = run_state_text(&state);
    CLEANUP(run_state) struct run_state found = read_ok(text);
    assert_string_equal(found.end.tail.items[0], "\xEF\xBF\xBD\xEF\xBF\xBD half \xEF\xBF\xBD");
    strv_fini(&state.end.tail);
}

static void a_state_that_cannot_be_is_refused(void **unused)
{
    (void) unused;
    static const char *const texts[] = {
        "{\"version\":1,\"bootId\":\"b\",\"machine\":{\"state\":\"running\",\"wanted\":true}}",
        "{\"version\":1,\"bootId\":\"b\",\"machine\":{\"state\":\"backoff\",\"wanted\":true}}",
        "{\"version\":1,\"bootId\":\"b\",\"machine\":{\"state\":\"flying\",\"wanted\":true}}",
        "{\"version\":1,\"bootId\":\"b\",\"machine\":{\"state\":\"running\",\"wanted\":true},"
        "\"process\":{\"pid\":1,\"startTicks\":1,\"uid\":0}}",
        "{\"version\":1,\"bootId\":\"b\",\"machine\":{\"state\":\"running\",\"wanted\":true},"
        "\"process\":{\"pid\":-7,\"startTicks\":1,\"uid\":0}}",
        "{\"version\":1,\"bootId\":\"b\",\"machine\":{\"state\":\"completed\",\"wanted\":true},"
        "\"process\":{\"pid\":7,\"startTicks\":1,\"uid\":0}}",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        CLEANUP(run_state) struct run_state state = {0};
        struct err err = {0};
        assert_int_equal(run_state_read("s", texts[i], strlen(texts[i]), &state, &err),
                         STATE_DOC_CORRUPT);
        assert_true(err.msg[0] != '\0');
    }
}

/* A machine that ran from time 1000 on. */
static struct wl_fsm running(void)
{
    return (struct wl_fsm){
        .state = WL_RUNNING, .wanted = true, .alive = true, .started_at = 1000, .restarts = 4};
}

static unsigned resume(struct wl_fsm *fsm, enum wl_found found, mono_ms now)
{
    unsigned effects = wl_fsm_resume(fsm, &restart, &stop, found, now);
    if (wl_fsm_broken(fsm) != NULL) {
        fail_msg("%s, in %s after finding %d", wl_fsm_broken(fsm), wl_state_name(fsm->state),
                 (int) found);
    }
    return effects;
}

static void one_that_runs_goes_on_running(void **unused)
{
    (void) unused;
    struct wl_fsm fsm = running();
    assert_int_equal(resume(&fsm, WL_FOUND_LEADER, 9000), 0);
    assert_int_equal(fsm.state, WL_RUNNING);
    assert_int_equal(fsm.started_at, 1000);
    assert_int_equal(fsm.restarts, 4);
}

static void a_start_that_was_cut_off_is_not_charged(void **unused)
{
    (void) unused;
    struct wl_fsm fsm = {.state = WL_STARTING, .wanted = true, .restarts = 4, .rapid_failures = 2};
    assert_int_equal(resume(&fsm, WL_FOUND_NOTHING, 9000), WL_DO_SPAWN);
    fsm = (struct wl_fsm){
        .state = WL_STARTING, .wanted = true, .alive = true, .restarts = 4, .rapid_failures = 2};
    assert_int_equal(resume(&fsm, WL_FOUND_NO_LEADER, 9000), WL_DO_SWEEP);
    unsigned effects = wl_fsm_step(&fsm, &restart, &stop, WL_EV_GONE, WL_END_CLEAN, 9001);
    assert_int_equal(effects, WL_DO_RELEASE | WL_DO_SPAWN);
    assert_int_equal(fsm.state, WL_STARTING);
    assert_int_equal(fsm.restarts, 4);
    assert_int_equal(fsm.rapid_failures, 2);
}

static void a_stop_keeps_its_remaining_grace(void **unused)
{
    (void) unused;
    struct wl_fsm fsm = {.state = WL_STOPPING, .alive = true, .grace_end = 10000, .deadline = 9000};
    assert_int_equal(resume(&fsm, WL_FOUND_LEADER, 8000), 0);
    assert_int_equal(fsm.deadline, 10000);
    assert_int_equal(wl_fsm_step(&fsm, &restart, &stop, WL_EV_DEADLINE, WL_END_CLEAN, 10000),
                     WL_DO_KILL);
    /* One that no policy of now can have set is cut down to what it says now. */
    fsm = (struct wl_fsm){.state = WL_STOPPING, .alive = true, .grace_end = 999999, .deadline = 1};
    (void) resume(&fsm, WL_FOUND_LEADER, 8000);
    assert_int_equal(fsm.grace_end, 13000);
}

static void a_backoff_keeps_its_remaining_time(void **unused)
{
    (void) unused;
    struct wl_fsm fsm = {.state = WL_BACKOFF, .wanted = true, .deadline = 8500, .delay_n = 3};
    (void) resume(&fsm, WL_FOUND_NOTHING, 8000);
    assert_int_equal(fsm.deadline, 8500);
    assert_int_equal(fsm.delay_n, 3);
    fsm.deadline = 900000;
    (void) resume(&fsm, WL_FOUND_NOTHING, 8000);
    assert_true(fsm.deadline <= 8000 + 12000);
}

static void every_state_goes_on_whatever_is_found(void **unused)
{
    (void) unused;
    for (int state = 0; state < WL_STATE_COUNT; state++) {
        for (int found = WL_FOUND_NOTHING; found <= WL_FOUND_NO_LEADER; found++) {
            struct wl_fsm fsm = {.state = (enum wl_state) state,
                                 .wanted = state != WL_STOPPED,
                                 .alive = found != WL_FOUND_NOTHING,
                                 .deadline = 1};
            if (wl_fsm_broken(&fsm) == NULL) {
                (void) resume(&fsm, (enum wl_found) found, 5000);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_is_kept),
        cmocka_unit_test(a_deadline_that_nothing_waits_for_is_dropped),
        cmocka_unit_test(output_that_is_no_text_is_written_as_text),
        cmocka_unit_test(a_state_that_cannot_be_is_refused),
        cmocka_unit_test(one_that_runs_goes_on_running),
        cmocka_unit_test(a_start_that_was_cut_off_is_not_charged),
        cmocka_unit_test(a_stop_keeps_its_remaining_grace),
        cmocka_unit_test(a_backoff_keeps_its_remaining_time),
        cmocka_unit_test(every_state_goes_on_whatever_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
