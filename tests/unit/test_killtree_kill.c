/* That the right ones get the signal, and that all of a workload dies that is to die. */
#include "killtree_stage.h"

#include <linux/sched.h>

/* --- numbers that are used again ------------------------------------------------------------ */

static int play_wrong_start_time(void)
{
    struct workload workload;
    CHECK(start_sleeper(&workload, "one") == 0);
    struct workload old = workload;
    old.target.start_ticks -= 1;
    CHECK(find(&old, &workload.target, 1, NULL, 0) == 0);
    CHECK(killtree_kill(&old.target, &workload.target, 1) == 0);
    (void) usleep(20000);
    CHECK(!proc_is_dead(workload.process.pid));
    CHECK(find(&workload, NULL, 0, NULL, 0) == 1);
    return 0;
}

static void a_leader_with_another_start_time_is_a_stranger(void **state)
{
    (void) state;
    run_agent(play_wrong_start_time);
}

/* A process with the number asked for, which takes root; not our child but our parent's. */
static pid_t start_with_pid(pid_t wanted)
{
    struct clone_args args = {
        .flags = CLONE_PARENT,
        .set_tid = (uint64_t) (uintptr_t) &wanted,
        .set_tid_size = 1,
    };
    pid_t pid = (pid_t) syscall(SYS_clone3, &args, sizeof(args));
    if (pid == 0) {
        (void) syscall(SYS_setsid);
        for (;;) {
            (void) pause();
        }
    }
    return pid;
}

static int play_reused_pid(void)
{
    struct workload workload;
    CHECK(start_sleeper(&workload, "one") == 0);
    pid_t pid = workload.process.pid;
    CLEANUP(census) struct census *census = census_take(NULL);
    CHECK(kill(pid, SIGKILL) == 0);
    (void) await_exit(workload.process.pidfd);
    (void) usleep(30000); /* a clock tick is 10 ms */
    CHECK(start_with_pid(pid) == pid);
    CHECK(EVENTUALLY(getsid(pid) == pid));
    killtree_signal_pids(census, &pid, 1, SIGKILL, 0);
    CHECK(killtree_kill(&workload.target, NULL, 0) == 0);
    (void) usleep(20000);
    CHECK(!proc_is_dead(pid));
    CHECK(kill(pid, SIGKILL) == 0);
    return 0;
}

static void a_reused_pid_is_not_signalled(void **state)
{
    (void) state;
    if (geteuid() != 0) {
        skip();
    }
    run_agent(play_reused_pid);
}

/* --- signals -------------------------------------------------------------------------------- */

static int play_signals(void)
{
    static const char *const args[] = {"1", "@", NULL};
    struct workload workload;
    pid_t pids[2];
    struct proc_stat stat = {0};
    CHECK(start_workload(&workload, "one", double_fork_path, args, -1) == 0);
    CHECK(EVENTUALLY(read_pids(&workload, pids, 1) == 0));
    pids[1] = workload.process.pid;
    /* A stopped process gets SIGTERM only when it goes on. */
    CHECK(kill(pids[0], SIGSTOP) == 0 && kill(pids[1], SIGSTOP) == 0);
    CHECK(EVENTUALLY(proc_read_stat(pids[1], &stat, NULL) == 0 && stat.state == 'T'));
    CLEANUP(census) struct census *census = census_take(NULL);
    killtree_signal_pids(census, pids, 2, SIGTERM, workload.process.pid);
    CHECK(EVENTUALLY(proc_is_dead(pids[0])));
    CHECK(!proc_is_dead(pids[1]));
    CHECK(killtree_signal_group(workload.process.pid, SIGTERM));
    CHECK(EVENTUALLY(proc_is_dead(pids[1])));
    return 0;
}

static void a_stopped_process_is_woken_to_get_its_signal(void **state)
{
    (void) state;
    run_agent(play_signals);
}

static int play_signals_without_pidfds(void)
{
    CHECK(deny_syscalls((const int[]){SYS_pidfd_send_signal, -1}, ENOSYS) == 0);
    return play_signals();
}

static void without_pidfd_send_signal_kill_does_it(void **state)
{
    (void) state;
    run_agent(play_signals_without_pidfds);
}

static int play_protected(void)
{
    CHECK(!killtree_signal_group(0, SIGKILL));
    CHECK(!killtree_signal_group(1, SIGKILL));
    CHECK(!killtree_signal_group(-1, SIGKILL));
    CHECK(!killtree_signal_group(getpgrp(), SIGKILL));
    CLEANUP(census) struct census *census = census_take(NULL);
    pid_t pids[] = {1, getpid(), 0, -1};
    killtree_signal_pids(census, pids, 4, SIGKILL, 0);
    /* Targets without a leader, or with us or our parent for one. */
    pid_t leaders[] = {0, 1, -1, getpid(), getppid()};
    for (size_t i = 0; i < ARRAY_LEN(leaders); i++) {
        struct workload odd = {
            .target = {.leader = leaders[i], .uid = geteuid()}
        };
        pid_t found[64];
        size_t count = find(&odd, NULL, 0, found, ARRAY_LEN(found));
        CHECK(!contains(found, count, getpid()));
        CHECK(!contains(found, count, getppid()));
        CHECK(!contains(found, count, 1));
    }
    return 0;
}

static void pid_1_and_the_agent_itself_are_never_signalled(void **state)
{
    (void) state;
    run_agent(play_protected);
}

/* --- hard to kill --------------------------------------------------------------------------- */

static int play_bomb(const char *const *args, bool use_cgroup)
{
    struct workload bomb;
    struct err err = {0};
    CLEANUP(cgroup_root)
    struct cgroup_root *root = use_cgroup ? cgroup_root_open("test-killtree", &err) : NULL;
    CLEANUP(close_fd) int group = root != NULL ? cgroup_make(root, "app.one", NULL, NULL) : -1;
    CHECK(start_workload(&bomb, "one", forkbomb_path, args, group) == 0);
    bomb.target.cgroups = root;
    bomb.target.cgroup = root != NULL ? "app.one" : NULL;
    CHECK(EVENTUALLY(find(&bomb, NULL, 0, NULL, 0) > 20));
    long start = now_ms();
    CHECK(kills_all(&bomb));
    print_message("  killed in %ld ms\n", now_ms() - start);
    (void) usleep(50000);
    CHECK(find(&bomb, NULL, 0, NULL, 0) == 0);
    CHECK(clean_up() == 0);
    if (root != NULL) {
        CHECK(EVENTUALLY(cgroup_remove(root, "app.one")));
    }
    return 0;
}

static int play_bomb_without_cgroup(void)
{
    static const char *const args[] = {"100", NULL};
    return play_bomb(args, false);
}

static int play_bomb_of_orphans(void)
{
    static const char *const args[] = {"100", "--exit", NULL};
    return play_bomb(args, false);
}

static int play_bomb_in_cgroup(void)
{
    static const char *const args[] = {"100", "--exit", NULL};
    return play_bomb(args, true);
}

static void a_fork_bomb_is_killed_without_a_cgroup(void **state)
{
    (void) state;
    run_agent(play_bomb_without_cgroup);
    run_agent(play_bomb_of_orphans);
}

static void a_fork_bomb_is_killed_in_a_cgroup(void **state)
{
    (void) state;
    run_agent(play_bomb_in_cgroup);
}

static int play_state_d(void)
{
    struct workload workload;
    pid_t pids[4];
    CHECK(start_sleeper(&workload, "one") == 0);
    (void) usleep(30000);
    /* The parent of a vfork stands in state D until the child executes something; here it is an
     * orphan without evidence but its age, since the environment is not read in that state. */
    pid_t stuck = fork();
    if (stuck == 0) {
        (void) setsid();
        /* NOLINTNEXTLINE(clang-analyzer-security.insecureAPI.vfork,clang-analyzer-unix.Vfork) */
        if (vfork() == 0) {
            (void) pause();
            _exit(0);
        }
        _exit(0);
    }
    struct proc_stat stat = {0};
    CHECK(EVENTUALLY(proc_read_stat(stuck, &stat, NULL) == 0 && stat.state == 'D'));
    CHECK(find(&workload, NULL, 0, pids, 4) == 3);
    CHECK(contains(pids, 3, stuck));
    CHECK(kills_all(&workload));
    CHECK(EVENTUALLY(proc_is_dead(stuck)));
    return 0;
}

static void a_process_in_state_d_counts_as_living(void **state)
{
    (void) state;
    run_agent(play_state_d);
}

static int play_group_that_cannot_be_found_by_census(void)
{
    struct workload workload;
    CHECK(start_sleeper(&workload, "one") == 0);
    struct rlimit limit = {0, 64};
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    struct err err = {0};
    CHECK(census_take(&err) == NULL);
    CHECK(err.code == EMFILE);
    /* Nothing can be known, so nothing may count as over. */
    CHECK(killtree_kill(&workload.target, NULL, 0) > 0);
    limit.rlim_cur = 64;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    CHECK(kills_all(&workload));
    return 0;
}

static void without_a_descriptor_nothing_counts_as_over(void **state)
{
    (void) state;
    run_agent(play_group_that_cannot_be_found_by_census);
}

static int play_end(void)
{
    static const char *const args[] = {"3", "@", "--clean-env", "--exit", NULL};
    struct workload stays;
    struct workload leaves;
    pid_t daemons[3];
    pid_t pids[16];
    CHECK(start_sleeper(&stays, "one") == 0);
    CHECK(start_workload(&leaves, "two", double_fork_path, args, -1) == 0);
    CHECK(EVENTUALLY(read_pids(&leaves, daemons, 3) == 0));
    (void) await_exit(leaves.process.pidfd);
    pid_t own = fork();
    if (own == 0) {
        (void) pause();
        _exit(0);
    }
    CLEANUP(census) struct census *census = census_take(NULL);
    CHECK(census != NULL && killtree_find_descendants(census, pids, 16) == 4);
    CHECK(contains(pids, 4, stays.process.pid) && contains(pids, 4, daemons[2]));
    CHECK(killtree_find_descendants(census, pids, 2) == 2);
    CHECK(EVENTUALLY(killtree_kill_descendants() == 0));
    CHECK(EVENTUALLY(all_are_dead(daemons, 3)) && proc_is_dead(stays.process.pid));
    CHECK(!proc_is_dead(own));
    return 0;
}

static void all_descendants_outside_the_own_session_are_killed(void **state)
{
    (void) state;
    run_agent(play_end);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_leader_with_another_start_time_is_a_stranger),
        cmocka_unit_test(a_reused_pid_is_not_signalled),
        cmocka_unit_test(a_stopped_process_is_woken_to_get_its_signal),
        cmocka_unit_test(without_pidfd_send_signal_kill_does_it),
        cmocka_unit_test(pid_1_and_the_agent_itself_are_never_signalled),
        cmocka_unit_test(a_fork_bomb_is_killed_without_a_cgroup),
        cmocka_unit_test(a_fork_bomb_is_killed_in_a_cgroup),
        cmocka_unit_test(all_descendants_outside_the_own_session_are_killed),
        cmocka_unit_test(a_process_in_state_d_counts_as_living),
        cmocka_unit_test(without_a_descriptor_nothing_counts_as_over),
    };
    return cmocka_run_group_tests(tests, set_stage, clear_stage);
}
