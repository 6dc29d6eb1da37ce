/* Whose a process is: with real processes that leave their group, session and environment. */
#include "killtree_stage.h"

/* --- who belongs ---------------------------------------------------------------------------- */

static int play_plain_tree(void)
{
    static const char *const args[] = {"-c", "sleep 300 & sleep 301 & wait", NULL};
    struct workload workload;
    pid_t pids[8];
    CHECK(start_workload(&workload, "one", "/bin/sh", args, -1) == 0);
    CHECK(EVENTUALLY(find(&workload, NULL, 0, pids, 8) == 3));
    CHECK(contains(pids, 3, workload.process.pid));
    CHECK(find(&workload, NULL, 0, NULL, 0) == 3);
    CHECK(find(&workload, NULL, 0, pids, 2) == 2);
    CHECK(killtree_signal_group(workload.process.pid, 0));
    CHECK(kills_all(&workload));
    CHECK(find(&workload, NULL, 0, NULL, 0) == 0);
    /* The leader is a zombie now, and the group still there with it. */
    CHECK(killtree_signal_group(workload.process.pid, 0));
    /* So are its children, which came to us. */
    CHECK(clean_up() == 0);
    CHECK(EVENTUALLY(!killtree_signal_group(workload.process.pid, 0)));
    return 0;
}

static void a_tree_is_found_and_killed_and_zombies_do_not_count(void **state)
{
    (void) state;
    run_agent(play_plain_tree);
}

static int play_escape(const char *const *args, bool leader_stays)
{
    struct workload workload;
    pid_t pids[4];
    CHECK(start_workload(&workload, "one", double_fork_path, args, -1) == 0);
    CHECK(EVENTUALLY(read_pids(&workload, pids, 3) == 0));
    pids[3] = workload.process.pid;
    if (leader_stays) {
        CHECK(EVENTUALLY(finds_exactly(&workload, pids, 4)));
    } else {
        struct proc_exit ended;
        CHECK(EVENTUALLY(proc_wait_pidfd(workload.process.pidfd, false, &ended, NULL) == 1));
        CHECK(EVENTUALLY(finds_exactly(&workload, pids, 3)));
        (void) await_exit(workload.process.pidfd);
        CHECK(finds_exactly(&workload, pids, 3));
    }
    CHECK(kills_all(&workload));
    CHECK(EVENTUALLY(all_are_dead(pids, 4)));
    return 0;
}

static int play_daemons(void)
{
    static const char *const args[] = {"3", "@", NULL};
    return play_escape(args, true);
}

static int play_daemons_of_a_dead_leader(void)
{
    static const char *const args[] = {"3", "@", "--exit", NULL};
    return play_escape(args, false);
}

static int play_daemons_without_environment(void)
{
    static const char *const args[] = {"3", "@", "--clean-env", NULL};
    return play_escape(args, true);
}

static int play_daemons_without_anything(void)
{
    static const char *const args[] = {"3", "@", "--clean-env", "--exit", NULL};
    return play_escape(args, false);
}

static int play_group_of_a_dead_leader(void)
{
    static const char *const args[] = {"3", "@", "--clean-env", "--same-group", "--exit", NULL};
    return play_escape(args, false);
}

static void daemons_are_found_and_killed_by_cookie(void **state)
{
    (void) state;
    run_agent(play_daemons);
    run_agent(play_daemons_of_a_dead_leader);
}

static void daemons_with_a_cleared_environment_are_found_and_killed(void **state)
{
    (void) state;
    run_agent(play_daemons_without_environment);
    run_agent(play_daemons_without_anything);
}

static void what_stayed_in_the_group_is_found_when_the_leader_is_gone(void **state)
{
    (void) state;
    run_agent(play_group_of_a_dead_leader);
}

static int drop_to_nobody(void)
{
    CHECK(syscall(SYS_setgroups, 0, NULL) == 0);
    CHECK(syscall(SYS_setresgid, 65534, 65534, 65534) == 0);
    CHECK(syscall(SYS_setresuid, 65534, 65534, 65534) == 0);
    /* Else /proc/PID/environ of our own children is root's. */
    CHECK(prctl(PR_SET_DUMPABLE, 1UL, 0UL, 0UL, 0UL) == 0);
    return 0;
}

static int play_as_ordinary_user(void)
{
    CHECK(drop_to_nobody() == 0);
    return play_daemons() + play_daemons_of_a_dead_leader() + play_daemons_without_environment() +
           play_daemons_without_anything() + play_group_of_a_dead_leader() + play_plain_tree();
}

static void an_ordinary_user_can_do_the_same(void **state)
{
    (void) state;
    if (geteuid() != 0) {
        skip();
    }
    run_agent(play_as_ordinary_user);
}

static int play_two_possible_makers(void)
{
    static const char *const args[] = {"1", "@", "--clean-env", "--exit", NULL};
    struct workload older;
    struct workload maker;
    struct workload younger;
    pid_t orphan = 0;
    CHECK(start_sleeper(&older, "older") == 0);
    (void) usleep(30000); /* a clock tick is 10 ms: what is not among the others must be older */
    CHECK(start_workload(&maker, "maker", double_fork_path, args, -1) == 0);
    CHECK(EVENTUALLY(read_pids(&maker, &orphan, 1) == 0));
    (void) await_exit(maker.process.pidfd);
    (void) usleep(30000);
    CHECK(start_sleeper(&younger, "younger") == 0);
    struct killtree_target others[3] = {maker.target, younger.target};
    /* The younger one cannot have made it; that the maker stands among the others does no harm. */
    CHECK(EVENTUALLY(find(&maker, others, 2, NULL, 0) == 1));
    CHECK(find(&younger, others, 2, NULL, 0) == 1);
    /* The older one can: then nobody gets it. */
    others[2] = older.target;
    CHECK(find(&maker, others, 3, NULL, 0) == 0);
    CHECK(find(&older, others, 3, NULL, 0) == 1);
    /* Unless its processes are not below this one. */
    others[2].is_foreign = true;
    CHECK(find(&maker, others, 3, NULL, 0) == 1);
    others[2].is_foreign = false;
    /* Not if it runs as somebody else than root, and the orphan is root's. */
    if (geteuid() == 0) {
        others[2].uid = 65534;
        CHECK(find(&maker, others, 3, NULL, 0) == 1);
    }
    CHECK(!proc_is_dead(orphan));
    return 0;
}

static void an_orphan_without_evidence_goes_to_its_only_possible_maker(void **state)
{
    (void) state;
    run_agent(play_two_possible_makers);
}

/* Escapes that name somebody else, or nobody, in their environment. */
static int start_escape(struct workload *ret, const char *name, const char *variable, int cgroup_fd,
                        pid_t *orphan)
{
    const char *const args[] = {"-f", "env", variable,
                                "sh", "-c",  "echo $$ >\"$0\"; exec sleep 300 >/dev/null 2>&1",
                                "@",  NULL};
    CHECK(start_workload(ret, name, "/usr/bin/setsid", args, cgroup_fd) == 0);
    CHECK(EVENTUALLY(read_pids(ret, orphan, 1) == 0) && EVENTUALLY(runs(*orphan, "sleep")));
    (void) await_exit(ret->process.pidfd);
    return 0;
}

static int play_cookie_of_nobody(void)
{
    struct workload workload;
    struct workload neighbour;
    pid_t orphan = 0;
    CHECK(start_escape(&workload, "one", "EDGIBLE_APPLICATION=none", -1, &orphan) == 0);
    (void) usleep(30000);
    CHECK(start_sleeper(&neighbour, "two") == 0);
    struct killtree_target both[] = {workload.target, neighbour.target};
    CHECK(find(&neighbour, both, 2, NULL, 0) == 1);
    CHECK(find(&workload, both, 2, NULL, 0) == 1);
    CHECK(EVENTUALLY(killtree_kill(&workload.target, both, 2) == 0));
    CHECK(EVENTUALLY(proc_is_dead(orphan)) && !proc_is_dead(neighbour.process.pid));
    return 0;
}

/* Both are older than the orphan, and one names the other: it is believed as long as that can be,
 * and so goes with the last of them. */
static int play_cookie_of_a_neighbour(void)
{
    struct workload neighbour;
    struct workload workload;
    pid_t orphan = 0;
    CHECK(start_sleeper(&neighbour, "two") == 0);
    (void) usleep(30000);
    CHECK(start_escape(&workload, "one", "EDGIBLE_WORKLOAD=two", -1, &orphan) == 0);
    struct killtree_target both[] = {neighbour.target, workload.target};
    CHECK(find(&workload, both, 2, NULL, 0) == 0);
    CHECK(find(&neighbour, both, 2, NULL, 0) == 2);
    both[0].leader = 0; /* it is gone */
    CHECK(find(&workload, both, 2, NULL, 0) == 1);
    if (geteuid() == 0) {
        both[0] = neighbour.target;
        both[0].uid = 65534; /* who cannot have made a process of root */
        CHECK(find(&workload, both, 2, NULL, 0) == 1);
        /* Nor can the maker, by its user: then it was a program with the set-user-ID bit. */
        workload.target.uid = 65533;
        both[1] = workload.target;
        CHECK(find(&workload, both, 2, NULL, 0) == 0);
        CHECK(find(&workload, both + 1, 1, NULL, 0) == 1);
    }
    CHECK(!proc_is_dead(orphan));
    return 0;
}

static void a_cookie_only_chooses_among_possible_makers(void **state)
{
    (void) state;
    run_agent(play_cookie_of_nobody);
    run_agent(play_cookie_of_a_neighbour);
}

static int play_cgroup(void)
{
    CLEANUP(cgroup_root) struct cgroup_root *root = cgroup_root_open("test-orphan", NULL);
    CHECK(root != NULL);
    CLEANUP(close_fd) int group = cgroup_make(root, "app.two", NULL, NULL);
    struct workload workload;
    struct workload neighbour;
    pid_t orphan = 0;
    CHECK(group >= 0 && start_sleeper(&workload, "one") == 0);
    CHECK(start_escape(&neighbour, "two", "EDGIBLE_WORKLOAD=one", group, &orphan) == 0);
    struct killtree_target both[] = {workload.target, neighbour.target};
    CHECK(find(&workload, both, 2, NULL, 0) == 2);
    both[1].cgroups = root;
    both[1].cgroup = "app.two";
    CHECK(find(&workload, both, 2, NULL, 0) == 1);
    neighbour.target = both[1];
    CHECK(EVENTUALLY(killtree_kill(&neighbour.target, both, 2) == 0));
    CHECK(EVENTUALLY(proc_is_dead(orphan)) && !proc_is_dead(workload.process.pid));
    CHECK(clean_up() == 0 && EVENTUALLY(cgroup_remove(root, "app.two")));
    return 0;
}

static void a_cgroup_says_more_than_the_cookie(void **state)
{
    (void) state;
    CLEANUP(cgroup_root) struct cgroup_root *root = cgroup_root_open("test-orphan", NULL);
    if (root == NULL) {
        skip();
    }
    run_agent(play_cgroup);
}

static int play_log_pipe(void)
{
    static const char *const args[] = {"-f", "env", "EDGIBLE_WORKLOAD=two",
                                       "sh", "-c",  "echo $$ >\"$0\"; exec sleep 300",
                                       "@",  NULL};
    struct workload neighbour;
    struct workload workload;
    pid_t orphan = 0;
    struct stat st = {0};
    int ends[2];
    CHECK(pipe2(ends, O_CLOEXEC) == 0 && fstat(ends[0], &st) == 0);
    CLEANUP(free) char *path = xasprintf("/proc/%d/fd/%d", (int) getpid(), ends[1]);
    CHECK(start_sleeper(&neighbour, "two") == 0);
    stage_output = path;
    CHECK(start_workload(&workload, "one", "/usr/bin/setsid", args, -1) == 0);
    stage_output = "/dev/null";
    CHECK(EVENTUALLY(read_pids(&workload, &orphan, 1) == 0));
    (void) await_exit(workload.process.pidfd);
    workload.target.log_pipe = st.st_ino;
    struct killtree_target both[] = {neighbour.target, workload.target};
    CHECK(find(&workload, both, 2, NULL, 0) == 1);
    CHECK(find(&neighbour, both, 2, NULL, 0) == 1);
    (void) close(ends[0]);
    (void) close(ends[1]);
    return 0;
}

static void the_log_pipe_says_more_than_the_cookie(void **state)
{
    (void) state;
    run_agent(play_log_pipe);
}

/* As root, or where groups are delegated to a user: who runs as the agent's user can write there.
 */
static int play_moved(void)
{
    static const char *const args[] = {"-f", "sh", "-c", "echo $$ >\"$0\"; exec sleep 300",
                                       "@",  NULL};
    CLEANUP(cgroup_root) struct cgroup_root *root = cgroup_root_open("test-orphan", NULL);
    CHECK(root != NULL);
    CLEANUP(close_fd) int group = cgroup_make(root, "app.two", NULL, NULL);
    struct workload neighbour;
    struct workload workload;
    pid_t orphan = 0;
    struct stat st = {0};
    int ends[2];
    CHECK(pipe2(ends, O_CLOEXEC) == 0 && fstat(ends[0], &st) == 0);
    CLEANUP(free) char *path = xasprintf("/proc/%d/fd/%d", (int) getpid(), ends[1]);
    CHECK(start_sleeper(&neighbour, "two") == 0);
    stage_output = path;
    CHECK(start_workload(&workload, "one", "/usr/bin/setsid", args, -1) == 0);
    stage_output = "/dev/null";
    CHECK(EVENTUALLY(read_pids(&workload, &orphan, 1) == 0));
    (void) await_exit(workload.process.pidfd);
    CLEANUP(close_fd) int procs = openat(group, "cgroup.procs", O_WRONLY | O_CLOEXEC);
    CHECK(procs >= 0 && dprintf(procs, "%d", (int) orphan) > 0);
    workload.target.log_pipe = st.st_ino;
    neighbour.target.cgroups = root;
    neighbour.target.cgroup = "app.two";
    struct killtree_target both[] = {neighbour.target, workload.target};
    CHECK(find(&neighbour, both, 2, NULL, 0) == 2);
    CHECK(find(&workload, both, 2, NULL, 0) == 1);
    workload.target.uid = geteuid() + 1; /* who cannot write to the agent's groups */
    both[1] = workload.target;
    CHECK(find(&workload, both, 2, NULL, 0) == 0);
    (void) close(ends[0]);
    (void) close(ends[1]);
    CHECK(clean_up() == 0 && EVENTUALLY(cgroup_remove(root, "app.two")));
    return 0;
}

static void a_group_that_it_can_have_moved_to_does_not_hide_whose_it_is(void **state)
{
    (void) state;
    CLEANUP(cgroup_root) struct cgroup_root *root = cgroup_root_open("test-orphan", NULL);
    if (root == NULL) {
        skip();
    }
    run_agent(play_moved);
}

static int play_neighbours(void)
{
    static const char *const args[] = {"2", "@", NULL};
    struct workload one;
    struct workload two;
    pid_t ones[3];
    pid_t twos[3];
    CHECK(start_workload(&one, "one", double_fork_path, args, -1) == 0);
    CHECK(start_workload(&two, "two", double_fork_path, args, -1) == 0);
    CHECK(EVENTUALLY(read_pids(&one, ones, 2) == 0));
    CHECK(EVENTUALLY(read_pids(&two, twos, 2) == 0));
    ones[2] = one.process.pid;
    twos[2] = two.process.pid;
    struct killtree_target both[] = {one.target, two.target};
    CHECK(EVENTUALLY(killtree_kill(&one.target, both, 2) == 0));
    CHECK(EVENTUALLY(all_are_dead(ones, 3)));
    for (size_t i = 0; i < 3; i++) {
        CHECK(!proc_is_dead(twos[i]));
    }
    CHECK(find(&two, both, 2, NULL, 0) == 3);
    return 0;
}

static void a_neighbour_is_left_alone(void **state)
{
    (void) state;
    run_agent(play_neighbours);
}

static int play_helper_of_the_agent(void)
{
    struct workload workload;
    CHECK(start_sleeper(&workload, "one") == 0);
    (void) usleep(30000);
    /* Neither setsid nor cookie: a child of the agent's own. */
    pid_t own = fork();
    if (own == 0) {
        (void) pause();
        _exit(0);
    }
    CHECK(find(&workload, NULL, 0, NULL, 0) == 1);
    CHECK(kills_all(&workload));
    CHECK(!proc_is_dead(own));
    return 0;
}

static void a_child_in_the_agents_own_session_is_nobodys(void **state)
{
    (void) state;
    run_agent(play_helper_of_the_agent);
}

/* --- another agent with the same names ------------------------------------------------------ */

static int ready[2];
static int leave[2];

static int play_second_agent(void)
{
    static const char *const args[] = {"2", "@", NULL};
    struct workload workload;
    pid_t pids[3];
    char byte = 0;
    CHECK(start_workload(&workload, "one", double_fork_path, args, -1) == 0);
    CHECK(EVENTUALLY(read_pids(&workload, pids, 2) == 0));
    pids[2] = workload.process.pid;
    CHECK(write(ready[1], pids, sizeof(pids)) == (ssize_t) sizeof(pids));
    CHECK(read(leave[0], &byte, 1) == 1);
    return 0;
}

static int play_first_agent(void)
{
    static const char *const args[] = {"2", "@", "--exit", NULL};
    struct workload workload;
    pid_t theirs[3];
    pid_t ours[2];
    CHECK(read(ready[0], theirs, sizeof(theirs)) == (ssize_t) sizeof(theirs));
    CHECK(start_workload(&workload, "one", double_fork_path, args, -1) == 0);
    CHECK(EVENTUALLY(read_pids(&workload, ours, 2) == 0));
    (void) await_exit(workload.process.pidfd);
    CHECK(EVENTUALLY(finds_exactly(&workload, ours, 2)));
    CHECK(kills_all(&workload));
    CHECK(EVENTUALLY(all_are_dead(ours, 2)));
    CHECK(!proc_is_dead(theirs[0]) && !proc_is_dead(theirs[1]) && !proc_is_dead(theirs[2]));
    return 0;
}

static void another_agents_workload_of_the_same_name_is_never_touched(void **state)
{
    (void) state;
    int (*second)(void) = play_second_agent;
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    assert_int_equal(pipe2(leave, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        _exit(play_agent(&second));
    }
    int (*first)(void) = play_first_agent;
    int rc = run_scenario(play_agent, &first);
    int status = 1;
    assert_int_equal(write(leave[1], "x", 1), 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(rc, 0);
}

/* What an agent started anew adopts: not its descendants. */
static int play_adopting_agent(void)
{
    pid_t theirs[3];
    CHECK(read(ready[0], theirs, sizeof(theirs)) == (ssize_t) sizeof(theirs));
    struct workload adopted = {
        .target = {
                   .leader = theirs[2],
                   .start_ticks = proc_read_start_ticks(theirs[2]),
                   .uid = geteuid(),
                   .application = "app",
                   .workload = "one",
                   .device = "device-1",
                   }
    };
    /* The daemons of it are out of reach: they could be another agent's. */
    CHECK(finds_exactly(&adopted, &theirs[2], 1));
    adopted.target.start_ticks = 0;
    CHECK(finds_exactly(&adopted, &theirs[2], 1));
    adopted.target.device = "device-2";
    CHECK(find(&adopted, NULL, 0, NULL, 0) == 0);
    adopted.target.device = "device-1";
    adopted.target.start_ticks = proc_read_start_ticks(theirs[2]);
    CHECK(kills_all(&adopted));
    CHECK(EVENTUALLY(proc_is_dead(theirs[2])));
    return 0;
}

static void an_adopted_workload_is_found_by_its_leader(void **state)
{
    (void) state;
    int (*second)(void) = play_second_agent;
    pid_t pid = fork();
    if (pid == 0) {
        _exit(play_agent(&second));
    }
    int (*first)(void) = play_adopting_agent;
    int rc = run_scenario(play_agent, &first);
    int status = 1;
    assert_int_equal(write(leave[1], "x", 1), 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(rc, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tree_is_found_and_killed_and_zombies_do_not_count),
        cmocka_unit_test(daemons_are_found_and_killed_by_cookie),
        cmocka_unit_test(daemons_with_a_cleared_environment_are_found_and_killed),
        cmocka_unit_test(what_stayed_in_the_group_is_found_when_the_leader_is_gone),
        cmocka_unit_test(an_ordinary_user_can_do_the_same),
        cmocka_unit_test(an_orphan_without_evidence_goes_to_its_only_possible_maker),
        cmocka_unit_test(a_cookie_only_chooses_among_possible_makers),
        cmocka_unit_test(a_cgroup_says_more_than_the_cookie),
        cmocka_unit_test(the_log_pipe_says_more_than_the_cookie),
        cmocka_unit_test(a_group_that_it_can_have_moved_to_does_not_hide_whose_it_is),
        cmocka_unit_test(a_neighbour_is_left_alone),
        cmocka_unit_test(a_child_in_the_agents_own_session_is_nobodys),
        cmocka_unit_test(another_agents_workload_of_the_same_name_is_never_touched),
        cmocka_unit_test(an_adopted_workload_is_found_by_its_leader),
    };
    return cmocka_run_group_tests(tests, set_stage, clear_stage);
}
