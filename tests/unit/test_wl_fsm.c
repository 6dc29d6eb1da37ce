/* The workload's state machine: the table is total, every cell is exercised, long random walks
 * hold the invariants, and scenarios show that it gets where it should (liveness). */
#include "edgible/backoff.h"
#include "edgible/wl_fsm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct restart_policy always = {
    .when = RESTART_ALWAYS,
    .initial_delay_ms = 500,
    .max_delay_ms = 60000,
    .rapid_after_ms = 10000,
    .max_rapid_failures = 5,
    .stable_after_ms = 60000,
};
static const struct stop_policy ten_seconds = {.signal = 15, .grace_ms = 10000};

/* A machine with its policy and a clock that the test moves. */
struct rig {
    struct wl_fsm fsm;
    struct restart_policy restart;
    struct stop_policy stop;
    mono_ms now;
};

static struct rig new_rig(void)
{
    struct rig rig = {.restart = always, .stop = ten_seconds, .now = 1000};
    wl_fsm_init(&rig.fsm, 42);
    return rig;
}

static unsigned give_end(struct rig *rig, enum wl_event event, enum wl_end end)
{
    unsigned effects = wl_fsm_step(&rig->fsm, &rig->restart, &rig->stop, event, end, rig->now);
    const char *broken = wl_fsm_broken(&rig->fsm);
    if (broken != NULL) {
        fail_msg("%s after %s", broken, wl_event_name(event));
    }
    return effects;
}

static unsigned give(struct rig *rig, enum wl_event event)
{
    return give_end(rig, event, WL_END_CLEAN);
}

static void a_start_that_was_put_off_leaves_no_deadline(void **state)
{
    (void) state;
    struct rig rig = new_rig();
    assert_int_equal(give(&rig, WL_EV_START), WL_DO_SPAWN);
    rig.fsm.deadline = rig.now; /* the next turn is to spawn it, and the log opens before */
    assert_int_equal(give(&rig, WL_EV_SPAWNED), 0);
    assert_int_equal(give(&rig, WL_EV_STARTED), 0);
    assert_int_equal(rig.fsm.deadline, 0);
}

static void bring_up(struct rig *rig)
{
    assert_int_equal(give(rig, WL_EV_START), WL_DO_SPAWN);
    assert_int_equal(give(rig, WL_EV_SPAWNED), 0);
    assert_int_equal(give(rig, WL_EV_STARTED), 0);
    assert_int_equal(rig->fsm.state, WL_RUNNING);
}

/* The running process ends after `uptime`, and nothing of it is left. */
static unsigned end_run(struct rig *rig, mono_ms uptime, enum wl_end end)
{
    rig->now += uptime;
    assert_int_equal(give_end(rig, WL_EV_EXITED, end), WL_DO_SWEEP);
    return give(rig, WL_EV_GONE);
}

static void to_next_start(struct rig *rig)
{
    assert_int_equal(rig->fsm.state, WL_BACKOFF);
    rig->now = rig->fsm.deadline;
    assert_int_equal(give(rig, WL_EV_DEADLINE), WL_DO_SPAWN);
    give(rig, WL_EV_SPAWNED);
    give(rig, WL_EV_STARTED);
}

static void every_cell_has_a_handler(void **state)
{
    (void) state;
    for (int s = 0; s < WL_STATE_COUNT; s++) {
        for (int e = 0; e < WL_EVENT_COUNT; e++) {
            if (wl_fsm_cell((enum wl_state) s, (enum wl_event) e) == NULL) {
                fail_msg("empty cell: %s, %s", wl_state_name((enum wl_state) s),
                         wl_event_name((enum wl_event) e));
            }
        }
    }
}

/* Brings a fresh machine into the state. */
static void put_into(struct rig *rig, enum wl_state want)
{
    *rig = new_rig();
    if (want == WL_STOPPED) {
        return;
    }
    if (want == WL_STARTING) {
        give(rig, WL_EV_START);
        return;
    }
    bring_up(rig);
    if (want == WL_STOPPING || want == WL_KILLING) {
        give(rig, WL_EV_STOP);
    }
    if (want == WL_KILLING) {
        give(rig, WL_EV_KILL);
    }
    if (want == WL_ENDING) {
        give_end(rig, WL_EV_EXITED, WL_END_ERROR);
    }
    if (want == WL_COMPLETED || want == WL_FAILED) {
        rig->restart.when = RESTART_NEVER;
        end_run(rig, 10, want == WL_COMPLETED ? WL_END_CLEAN : WL_END_ERROR);
        rig->restart.when = RESTART_ALWAYS;
    }
    if (want == WL_BACKOFF) {
        end_run(rig, 10, WL_END_ERROR);
    }
}

/* What each event does in each state, by the names of the states it leads to. The effects are
 * checked by the scenarios below; here, that no cell is a surprise. */
static void every_pair_leads_where_it_should(void **state)
{
    (void) state;
    static const char letters[] = "DSRTEKBCF"; /* stopped starting running sTopping Ending … */
    static const char *const expected[WL_STATE_COUNT] = {
        /*                 START STOP RESTART RENEW KILL SPAWNED NOT_STARTED STARTED EXITED GONE
                           LEFT UNHEALTHY DEADLINE */
        [WL_STOPPED] = "SDDDDDDDDDDDD", [WL_STARTING] = "SDSSSSBRESSSS",
        [WL_RUNNING] = "RTTRRRRRERRTR", [WL_STOPPING] = "TTTTKTTTTTTTT",
        [WL_ENDING] = "EEEEKEEEEBEEE",  [WL_KILLING] = "KKKKKKKKKKKKK",
        [WL_BACKOFF] = "BDSBBBBBBBBBS", [WL_COMPLETED] = "CDSCCCCCCCCCC",
        [WL_FAILED] = "FDSSFFFFFFFFS",
    };
    for (int s = 0; s < WL_STATE_COUNT; s++) {
        for (int e = 0; e < WL_EVENT_COUNT; e++) {
            struct rig rig;
            put_into(&rig, (enum wl_state) s);
            assert_int_equal(rig.fsm.state, s);
            if (s == WL_STARTING && e == WL_EV_STARTED) {
                give(&rig, WL_EV_SPAWNED);
            }
            if (s == WL_STARTING && e == WL_EV_EXITED) {
                give(&rig, WL_EV_SPAWNED);
            }
            give_end(&rig, (enum wl_event) e, WL_END_ERROR);
            if (letters[rig.fsm.state] != expected[s][e]) {
                fail_msg("%s + %s led to %s, expected '%c'", wl_state_name((enum wl_state) s),
                         wl_event_name((enum wl_event) e), wl_state_name(rig.fsm.state),
                         expected[s][e]);
            }
        }
    }
}

/* --- a random walk against a model of the world
 * --------------------------------------------------- */

/* What really exists: at most one process, and things that it left. */
struct world {
    bool process;
    bool execed;
    bool zombie;
    bool leftovers;
};

static enum wl_event random_event(struct world *world, enum wl_end *end, uint32_t *random)
{
    for (;;) {
        enum wl_event event = (enum wl_event)(backoff_random(random) % WL_EVENT_COUNT);
        *end = (enum wl_end)(backoff_random(random) % 4);
        bool alive = world->process && !world->zombie;
        /* Only what the world can really send. */
        if ((event == WL_EV_STARTED && (!alive || world->execed)) ||
            (event == WL_EV_EXITED && !alive) || event == WL_EV_SPAWNED ||
            event == WL_EV_NOT_STARTED ||
            (event == WL_EV_GONE && (!world->process || alive || world->leftovers)) ||
            (event == WL_EV_LEFT && !world->process)) {
            continue;
        }
        return event;
    }
}

static void apply_event(struct world *world, enum wl_event event, uint32_t *random)
{
    if (event == WL_EV_STARTED) {
        world->execed = true;
    }
    if (event == WL_EV_EXITED) {
        world->zombie = true;
        world->leftovers = backoff_random(random) % 3 == 0;
    }
    if (event == WL_EV_LEFT && backoff_random(random) % 2 == 0) {
        world->leftovers = false;
    }
}

static void apply_effects(struct rig *rig, struct world *world, unsigned effects, uint32_t *random)
{
    if ((effects & WL_DO_RELEASE) != 0) {
        assert_true(world->process && world->zombie && !world->leftovers);
        *world = (struct world){0};
    }
    if ((effects & (WL_DO_TERM | WL_DO_KILL)) != 0) {
        assert_true(world->process);
    }
    if ((effects & WL_DO_SPAWN) != 0) {
        assert_false(world->process); /* never two copies */
        if (backoff_random(random) % 4 == 0) {
            enum wl_end end = backoff_random(random) % 2 == 0 ? WL_END_FAULT : WL_END_HOST_FAULT;
            apply_effects(rig, world, give_end(rig, WL_EV_NOT_STARTED, end), random);
        } else {
            world->process = true;
            apply_effects(rig, world, give(rig, WL_EV_SPAWNED), random);
        }
    }
}

static void a_million_random_events_hold_the_invariants(void **state)
{
    (void) state;
    uint32_t random = 20261123;
    for (int walk = 0; walk < 1000; walk++) {
        struct rig rig = new_rig();
        struct world world = {0};
        rig.restart.when = (enum restart_when)(1 + backoff_random(&random) % 3);
        rig.restart.retry_failed_after_ms = backoff_random(&random) % 2 * 5000;
        rig.restart.min_delay_ms = backoff_random(&random) % 2 * 5000;
        unsigned restarts = 0;
        for (int i = 0; i < 1200; i++) {
            enum wl_end end = WL_END_CLEAN;
            enum wl_event event = random_event(&world, &end, &random);
            rig.now += backoff_random(&random) % 3000;
            if (event == WL_EV_DEADLINE && rig.fsm.deadline == 0) {
                continue;
            }
            if (event == WL_EV_DEADLINE && rig.now < rig.fsm.deadline) {
                rig.now = rig.fsm.deadline;
            }
            apply_event(&world, event, &random);
            apply_effects(&rig, &world, give_end(&rig, event, end), &random);
            assert_true(rig.fsm.restarts >= restarts); /* counters are never lost */
            restarts = rig.fsm.restarts;
            assert_int_equal(rig.fsm.alive, world.process);
        }
    }
}

/* From wherever a walk ends, a stop and a killable process lead to rest. */
static void a_stop_always_ends(void **state)
{
    (void) state;
    for (int s = 0; s < WL_STATE_COUNT; s++) {
        struct rig rig;
        put_into(&rig, (enum wl_state) s);
        give(&rig, WL_EV_STOP);
        for (int i = 0; i < 100 && rig.fsm.state != WL_STOPPED; i++) {
            assert_int_not_equal(rig.fsm.deadline, 0);
            rig.now = rig.fsm.deadline;
            unsigned effects = give(&rig, WL_EV_DEADLINE);
            if ((effects & WL_DO_KILL) != 0) {
                give_end(&rig, WL_EV_EXITED, WL_END_ERROR);
                give(&rig, WL_EV_GONE);
            }
        }
        assert_int_equal(rig.fsm.state, WL_STOPPED);
    }
}

/* --- stories
 * -------------------------------------------------------------------------------------- */

static void delays_double_up_to_the_maximum_within_a_fifth(void **state)
{
    (void) state;
    struct rig rig = new_rig();
    rig.restart.max_rapid_failures = 0;
    bring_up(&rig);
    mono_ms expected = 500;
    for (int i = 0; i < 12; i++) {
        end_run(&rig, 10, WL_END_ERROR);
        mono_ms delay = rig.fsm.deadline - rig.now;
        assert_in_range(delay, expected * 8 / 10, expected * 12 / 10);
        expected = expected * 2 < 60000 ? expected * 2 : 60000;
        to_next_start(&rig);
    }
    assert_int_equal(rig.fsm.restarts, 12);
}

static void five_rapid_exits_in_a_row_fail(void **state)
{
    (void) state;
    struct rig rig = new_rig();
    bring_up(&rig);
    for (int i = 1; i < 5; i++) {
        end_run(&rig, 100, WL_END_ERROR);
        assert_int_equal(rig.fsm.rapid_failures, i);
        to_next_start(&rig);
    }
    end_run(&rig, 100, WL_END_ERROR);
    assert_int_equal(rig.fsm.state, WL_FAILED);
    assert_int_equal(rig.fsm.deadline, 0);
}

static void an_exit_that_is_not_rapid_ends_the_row(void **state)
{
    (void) state;
    struct rig rig = new_rig();
    bring_up(&rig);
    for (int i = 0; i < 4; i++) {
        end_run(&rig, 100, WL_END_ERROR);
        to_next_start(&rig);
    }
    end_run(&rig, 20000, WL_END_ERROR);
    assert_int_equal(rig.fsm.rapid_failures, 0);
    assert_int_equal(rig.fsm.state, WL_BACKOFF);
}

static void a_stable_run_forgives_delay_and_count(void **state)
{
    (void) state;
    struct rig rig = new_rig();
    bring_up(&rig);
    for (int i = 0; i < 3; i++) {
        end_run(&rig, 100, WL_END_ERROR);
        to_next_start(&rig);
    }
    end_run(&rig, 60000, WL_END_ERROR);
    assert_in_range(rig.fsm.deadline - rig.now, 400, 600);
    assert_int_equal(rig.fsm.rapid_failures, 0);
}

static void faults_of_the_host_are_not_charged(void **state)
{
    (void) state;
    struct rig rig = new_rig();
    give(&rig, WL_EV_START);
    for (int i = 0; i < 50; i++) {
        give_end(&rig, WL_EV_NOT_STARTED, WL_END_HOST_FAULT);
        assert_int_equal(rig.fsm.state, WL_BACKOFF);
        assert_in_range(rig.fsm.deadline - rig.now, 1, 12000);
        rig.now = rig.fsm.deadline;
        assert_int_equal(give(&rig, WL_EV_DEADLINE), WL_DO_SPAWN);
    }
    assert_int_equal(rig.fsm.rapid_failures, 0);
}

static void faults_of_the_specification_fail_after_the_limit(void **state)
{
    (void) state;
    struct rig rig = new_rig();
    give(&rig, WL_EV_START);
    for (int i = 0; i < 4; i++) {
        give_end(&rig, WL_EV_NOT_STARTED, WL_END_FAULT);
        rig.now = rig.fsm.deadline;
        give(&rig, WL_EV_DEADLINE);
    }
    give_end(&rig, WL_EV_NOT_STARTED, WL_END_FAULT);
    assert_int_equal(rig.fsm.state, WL_FAILED);
}

static void what_left_a_daemon_behind_is_not_completed(void **state)
{
    (void) state;
    static const enum restart_when policies[] = {RESTART_NEVER, RESTART_ON_FAILURE};
    for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
        struct rig rig = new_rig();
        rig.restart.when = policies[i];
        bring_up(&rig);
        give_end(&rig, WL_EV_EXITED, WL_END_CLEAN);
        assert_int_equal(give(&rig, WL_EV_LEFT), WL_DO_TERM_LEFT);
        give(&rig, WL_EV_GONE);
        assert_int_equal(rig.fsm.state, WL_FAILED);
    }
}

static void policies_decide_what_an_exit_means(void **state)
{
    (void) state;
    static const struct {
        enum restart_when when;
        enum wl_end end;
        enum wl_state then;
    } cases[] = {
        {RESTART_ALWAYS,     WL_END_CLEAN, WL_BACKOFF  },
        {RESTART_ALWAYS,     WL_END_ERROR, WL_BACKOFF  },
        {RESTART_ON_FAILURE, WL_END_CLEAN, WL_COMPLETED},
        {RESTART_ON_FAILURE, WL_END_ERROR, WL_BACKOFF  },
        {RESTART_NEVER,      WL_END_CLEAN, WL_COMPLETED},
        {RESTART_NEVER,      WL_END_ERROR, WL_FAILED   },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rig rig = new_rig();
        rig.restart.when = cases[i].when;
        bring_up(&rig);
        end_run(&rig, 100, cases[i].end);
        assert_int_equal(rig.fsm.state, cases[i].then);
    }
}

static void a_stop_waits_the_grace_period_and_then_kills(void **state)
{
    (void) state;
    struct rig rig = new_rig();
    bring_up(&rig);
    assert_int_equal(give(&rig, WL_EV_STOP), WL_DO_TERM);
    assert_int_equal(rig.fsm.deadline, rig.now + 10000);
    rig.now = rig.fsm.deadline;
    assert_int_equal(give(&rig, WL_EV_DEADLINE), WL_DO_KILL);
    assert_int_equal(give_end(&rig, WL_EV_EXITED, WL_END_ERROR), WL_DO_SWEEP);
    assert_int_equal(give(&rig, WL_EV_GONE), WL_DO_RELEASE);
    assert_int_equal(rig.fsm.state, WL_STOPPED);
}

static void a_group_that_outlives_its_leader_is_still_stopping(void **state)
{
    (void) state;
    struct rig rig = new_rig();
    bring_up(&rig);
    give(&rig, WL_EV_STOP);
    mono_ms grace_end = rig.fsm.grace_end;
    rig.now += 100;
    assert_int_equal(give(&rig, WL_EV_EXITED), WL_DO_SWEEP);
    assert_int_equal(give(&rig, WL_EV_LEFT), WL_DO_TERM_LEFT);
    assert_int_equal(rig.fsm.state, WL_STOPPING);
    assert_int_equal(give(&rig, WL_EV_LEFT), 0); /* told once */
    while (rig.fsm.state == WL_STOPPING) {
        rig.now = rig.fsm.deadline;
        unsigned effects = give(&rig, WL_EV_DEADLINE);
        if ((effects & WL_DO_SWEEP) != 0) {
            give(&rig, WL_EV_LEFT);
        }
    }
    assert_int_equal(rig.fsm.state, WL_KILLING);
    assert_int_equal(rig.now, grace_end);
}

static void nothing_starts_before_the_last_run_is_gone(void **state)
{
    (void) state;
    struct rig rig = new_rig();
    bring_up(&rig);
    rig.now += 20000;
    give_end(&rig, WL_EV_EXITED, WL_END_ERROR);
    assert_int_equal(rig.fsm.state, WL_ENDING);
    assert_int_equal(give(&rig, WL_EV_LEFT), WL_DO_TERM_LEFT);
    assert_int_equal(rig.fsm.state, WL_ENDING);
    assert_int_equal(give(&rig, WL_EV_GONE), WL_DO_RELEASE);
    assert_int_equal(rig.fsm.state, WL_BACKOFF);
}

static void a_second_stop_shortens_the_grace_period_only(void **state)
{
    (void) state;
    struct rig rig = new_rig();
    bring_up(&rig);
    give(&rig, WL_EV_STOP);
    mono_ms first = rig.fsm.grace_end;
    rig.now += 5000;
    give(&rig, WL_EV_STOP);
    assert_int_equal(rig.fsm.grace_end, first);
    rig.stop.grace_ms = 100;
    give(&rig, WL_EV_STOP);
    assert_int_equal(rig.fsm.grace_end, rig.now + 100);
    assert_int_equal(give(&rig, WL_EV_KILL), WL_DO_KILL);
}

static void a_start_during_a_stop_starts_after_it(void **state)
{
    (void) state;
    struct rig rig = new_rig();
    bring_up(&rig);
    give(&rig, WL_EV_STOP);
    give(&rig, WL_EV_START);
    assert_int_equal(rig.fsm.state, WL_STOPPING);
    give(&rig, WL_EV_EXITED);
    assert_int_equal(give(&rig, WL_EV_GONE), WL_DO_RELEASE | WL_DO_SPAWN);
    assert_int_equal(rig.fsm.restarts, 0); /* made by hand: never counted */
}

static void a_stop_during_the_start_is_not_forgotten(void **state)
{
    (void) state;
    struct rig rig = new_rig();
    give(&rig, WL_EV_START);
    give(&rig, WL_EV_SPAWNED);
    assert_int_equal(give(&rig, WL_EV_STOP), WL_DO_TERM);
    give(&rig, WL_EV_STARTED);
    give(&rig, WL_EV_EXITED);
    assert_int_equal(give(&rig, WL_EV_GONE), WL_DO_RELEASE);
    assert_int_equal(rig.fsm.state, WL_STOPPED);
}

static void a_stop_before_the_process_exists_needs_no_signal(void **state)
{
    (void) state;
    struct rig rig = new_rig();
    give(&rig, WL_EV_START);
    assert_int_equal(give(&rig, WL_EV_STOP), 0);
    assert_int_equal(rig.fsm.state, WL_STOPPED);
}

static void a_stop_during_backoff_cancels_the_next_start(void **state)
{
    (void) state;
    struct rig rig = new_rig();
    bring_up(&rig);
    end_run(&rig, 10, WL_END_ERROR);
    assert_int_equal(give(&rig, WL_EV_STOP), 0);
    assert_int_equal(rig.fsm.state, WL_STOPPED);
    assert_int_equal(rig.fsm.deadline, 0);
}

static void a_restart_by_hand_forgives_and_does_not_count(void **state)
{
    (void) state;
    struct rig rig = new_rig();
    bring_up(&rig);
    end_run(&rig, 10, WL_END_ERROR);
    to_next_start(&rig);
    assert_int_equal(rig.fsm.restarts, 1);
    assert_int_equal(give(&rig, WL_EV_RESTART), WL_DO_TERM);
    give(&rig, WL_EV_EXITED);
    assert_int_equal(give(&rig, WL_EV_GONE), WL_DO_RELEASE | WL_DO_SPAWN);
    assert_int_equal(rig.fsm.restarts, 1);
    assert_int_equal(rig.fsm.rapid_failures, 0);
}

/* Ways to a start that no end of the workload's own leads to. */
static unsigned restart_running(struct rig *rig)
{
    give(rig, WL_EV_RESTART);
    give(rig, WL_EV_EXITED);
    return give(rig, WL_EV_GONE) & ~(unsigned) WL_DO_RELEASE;
}

static unsigned stop_and_start(struct rig *rig)
{
    give(rig, WL_EV_STOP);
    give(rig, WL_EV_EXITED);
    give(rig, WL_EV_GONE);
    return give(rig, WL_EV_START);
}

static unsigned renew_failed(struct rig *rig)
{
    rig->restart.when = RESTART_NEVER;
    end_run(rig, 0, WL_END_ERROR);
    return give(rig, WL_EV_RENEW);
}

static unsigned restart_in_backoff(struct rig *rig)
{
    end_run(rig, 0, WL_END_ERROR);
    return give(rig, WL_EV_RESTART);
}

static void every_start_waits_for_the_smallest_delay_since_the_last(void **state)
{
    (void) state;
    unsigned (*const ways[])(struct rig *) = {restart_running, stop_and_start, renew_failed,
                                              restart_in_backoff};
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        struct rig rig = new_rig();
        rig.restart.min_delay_ms = 100;
        bring_up(&rig);
        mono_ms due = rig.now + 100;
        rig.now += 30;
        assert_int_equal(ways[i](&rig), 0);
        assert_int_equal(rig.fsm.state, WL_STARTING);
        assert_int_equal(rig.fsm.deadline, due);
        rig.now += 30;
        assert_int_equal(give(&rig, WL_EV_RESTART), 0); /* the latest wins, the time stays */
        assert_int_equal(give(&rig, WL_EV_DEADLINE), 0);
        rig.now = rig.fsm.deadline;
        assert_int_equal(rig.now, due);
        assert_int_equal(give(&rig, WL_EV_DEADLINE), WL_DO_SPAWN);
        assert_int_equal(give(&rig, WL_EV_DEADLINE), 0);
        give(&rig, WL_EV_SPAWNED);
        give(&rig, WL_EV_STARTED);
        rig.now += 100;
        assert_int_equal(restart_running(&rig), WL_DO_SPAWN);
    }
}

static void chance_makes_no_delay_shorter_than_the_smallest(void **state)
{
    (void) state;
    struct rig rig = new_rig();
    rig.restart.initial_delay_ms = 1000;
    rig.restart.max_delay_ms = 1000;
    rig.restart.min_delay_ms = 1000;
    rig.restart.max_rapid_failures = 0;
    bool any_longer = false;
    bring_up(&rig);
    for (int i = 0; i < 100; i++) {
        end_run(&rig, 0, WL_END_ERROR);
        assert_int_equal(rig.fsm.state, WL_BACKOFF);
        assert_true(rig.fsm.deadline - rig.now >= 1000);
        any_longer = any_longer || rig.fsm.deadline - rig.now > 1000;
        to_next_start(&rig);
    }
    assert_true(any_longer);
}

static void a_stop_cancels_a_start_that_waits(void **state)
{
    (void) state;
    struct rig rig = new_rig();
    rig.restart.min_delay_ms = 100;
    bring_up(&rig);
    assert_int_equal(restart_running(&rig), 0);
    assert_int_equal(give(&rig, WL_EV_STOP), 0);
    assert_int_equal(rig.fsm.state, WL_STOPPED);
    assert_int_equal(rig.fsm.deadline, 0);
}

static void a_new_generation_gives_a_failed_one_another_chance(void **state)
{
    (void) state;
    struct rig rig;
    put_into(&rig, WL_FAILED);
    assert_int_equal(give(&rig, WL_EV_RENEW), WL_DO_SPAWN);
    assert_int_equal(rig.fsm.rapid_failures, 0);
}

static void a_failed_one_is_tried_again_where_that_is_wanted(void **state)
{
    (void) state;
    struct rig rig = new_rig();
    rig.restart.max_rapid_failures = 1;
    rig.restart.retry_failed_after_ms = 30000;
    bring_up(&rig);
    for (int i = 0; i < 3; i++) {
        end_run(&rig, 10, WL_END_ERROR);
        assert_int_equal(rig.fsm.state, WL_FAILED);
        assert_int_equal(rig.fsm.deadline, rig.now + 30000);
        rig.now = rig.fsm.deadline;
        assert_int_equal(give(&rig, WL_EV_DEADLINE), WL_DO_SPAWN);
        give(&rig, WL_EV_SPAWNED);
        give(&rig, WL_EV_STARTED);
    }
}

static void what_does_not_die_is_killed_again_ever_less_often(void **state)
{
    (void) state;
    struct rig rig;
    put_into(&rig, WL_KILLING);
    mono_ms last = 0;
    for (int i = 0; i < 20; i++) {
        mono_ms wait = rig.fsm.deadline - rig.now;
        assert_true(wait >= last && wait <= 1000);
        last = wait;
        rig.now = rig.fsm.deadline;
        assert_int_equal(give(&rig, WL_EV_DEADLINE), WL_DO_KILL);
        assert_int_equal(give(&rig, WL_EV_LEFT), 0);
        assert_int_equal(rig.fsm.state, WL_KILLING); /* and no second copy is started */
    }
}

static void an_unhealthy_one_is_charged_whatever_status_it_ends_with(void **state)
{
    (void) state;
    struct rig rig;
    put_into(&rig, WL_RUNNING);
    rig.restart.when = RESTART_ON_FAILURE;
    assert_int_equal(give(&rig, WL_EV_UNHEALTHY), WL_DO_TERM);
    assert_int_equal(give_end(&rig, WL_EV_EXITED, WL_END_CLEAN), WL_DO_SWEEP);
    (void) give(&rig, WL_EV_GONE);
    assert_int_equal(rig.fsm.state, WL_BACKOFF);
    assert_int_equal(rig.fsm.rapid_failures, 1);
    put_into(&rig, WL_RUNNING);
    (void) give(&rig, WL_EV_UNHEALTHY);
    (void) give(&rig, WL_EV_STOP);
    (void) give_end(&rig, WL_EV_EXITED, WL_END_CLEAN);
    (void) give(&rig, WL_EV_GONE);
    assert_int_equal(rig.fsm.state, WL_STOPPED); /* a stop on the way wins */
}

/* `test_wl_fsm --table` prints docs/state-machine.md. */
static int print_table(void)
{
    (void) printf("# The workload's state machine\n\nPrinted by `test_wl_fsm --table` from the "
                  "table in `src/core/wl_fsm.c`; a test holds this page to it. A cell names the "
                  "handler; `ignore` is written as a dot.\n\n| event |");
    for (int s = 0; s < WL_STATE_COUNT; s++) {
        (void) printf(" %s |", wl_state_name((enum wl_state) s));
    }
    (void) printf("\n|---|");
    for (int s = 0; s < WL_STATE_COUNT; s++) {
        (void) printf("---|");
    }
    for (int e = 0; e < WL_EVENT_COUNT; e++) {
        (void) printf("\n| %s |", wl_event_name((enum wl_event) e));
        for (int s = 0; s < WL_STATE_COUNT; s++) {
            const char *name = wl_fsm_cell((enum wl_state) s, (enum wl_event) e);
            (void) printf(" %s |", strcmp(name, "ignore") == 0 ? "." : name);
        }
    }
    (void) printf("\n");
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--table") == 0) {
        return print_table();
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_start_that_was_put_off_leaves_no_deadline),
        cmocka_unit_test(an_unhealthy_one_is_charged_whatever_status_it_ends_with),
        cmocka_unit_test(every_cell_has_a_handler),
        cmocka_unit_test(what_left_a_daemon_behind_is_not_completed),
        cmocka_unit_test(every_pair_leads_where_it_should),
        cmocka_unit_test(a_million_random_events_hold_the_invariants),
        cmocka_unit_test(a_stop_always_ends),
        cmocka_unit_test(delays_double_up_to_the_maximum_within_a_fifth),
        cmocka_unit_test(five_rapid_exits_in_a_row_fail),
        cmocka_unit_test(an_exit_that_is_not_rapid_ends_the_row),
        cmocka_unit_test(a_stable_run_forgives_delay_and_count),
        cmocka_unit_test(faults_of_the_host_are_not_charged),
        cmocka_unit_test(faults_of_the_specification_fail_after_the_limit),
        cmocka_unit_test(policies_decide_what_an_exit_means),
        cmocka_unit_test(a_stop_waits_the_grace_period_and_then_kills),
        cmocka_unit_test(a_group_that_outlives_its_leader_is_still_stopping),
        cmocka_unit_test(nothing_starts_before_the_last_run_is_gone),
        cmocka_unit_test(a_second_stop_shortens_the_grace_period_only),
        cmocka_unit_test(a_start_during_a_stop_starts_after_it),
        cmocka_unit_test(a_stop_during_the_start_is_not_forgotten),
        cmocka_unit_test(a_stop_before_the_process_exists_needs_no_signal),
        cmocka_unit_test(a_stop_during_backoff_cancels_the_next_start),
        cmocka_unit_test(a_restart_by_hand_forgives_and_does_not_count),
        cmocka_unit_test(every_start_waits_for_the_smallest_delay_since_the_last),
        cmocka_unit_test(chance_makes_no_delay_shorter_than_the_smallest),
        cmocka_unit_test(a_stop_cancels_a_start_that_waits),
        cmocka_unit_test(a_new_generation_gives_a_failed_one_another_chance),
        cmocka_unit_test(a_failed_one_is_tried_again_where_that_is_wanted),
        cmocka_unit_test(what_does_not_die_is_killed_again_ever_less_often),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
