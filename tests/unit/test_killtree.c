/*
 * Whose a process is, and that all of it dies: with real processes that try to get away. Each
 * scenario is an agent of its own: a forked process that is a subreaper.
 */
#include "edgible/killtree.h"
#include "sys_test.h"

#include <linux/sched.h>

static char folder[] = "/tmp/edgible-killtree-XXXXXX";
static char *double_fork_path;
static char *forkbomb_path;

struct workload {
    struct killtree_target target;
    struct spawned process;
    char pid_file[64];
};

/* --- the stage ------------------------------------------------------------------------------ */

/* Kills and reaps all descendants: as they lose their parents they become our children. */
static int clean_up(void)
{
    pid_t pids[256];
    long until = now_ms() + 20000;
    size_t count = 0;
    while ((count = proc_list_children(pids, ARRAY_LEN(pids))) > 0 && now_ms() < until) {
        for (size_t i = 0; i < count; i++) {
            (void) kill(pids[i], SIGKILL);
            (void) proc_reap(pids[i]);
        }
    }
    CHECK(count == 0);
    return 0;
}

static int play_agent(const void *arg)
{
    int (*play)(void) = NULL;
    memcpy(&play, arg, sizeof(play));
    CHECK(spawn_become_subreaper(NULL) == 0);
    int rc = play();
    return clean_up() != 0 ? 1 : rc;
}

static void run_agent(int (*play)(void))
{
    assert_int_equal(run_scenario(play_agent, &play), 0);
}

/* Starts program with the cookie of application "app", device "device-1". "@" among the arguments
 * is the file for pids. */
static int start_workload(struct workload *ret, const char *name, const char *program,
                          const char *const *args, int cgroup_fd)
{
    static int number;
    *ret = (struct workload){0};
    (void) snprintf(ret->pid_file, sizeof(ret->pid_file), "%s/%d-%d", folder, (int) getpid(),
                    number++);
    CLEANUP(strv) struct strv argv = {0};
    CLEANUP(strv) struct strv envp = {0};
    strv_add(&argv, program);
    for (; *args != NULL; args++) {
        strv_add(&argv, strcmp(*args, "@") == 0 ? ret->pid_file : *args);
    }
    strv_add(&envp, "PATH=/usr/bin:/bin");
    strv_add(&envp, "EDGIBLE_APPLICATION=app");
    strv_add_take(&envp, xasprintf("EDGIBLE_WORKLOAD=%s", name));
    strv_add(&envp, "EDGIBLE_DEVICE=device-1");
    char *const paths[] = {argv.items[0], NULL};
    CLEANUP(close_fd) int output = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct spawn_request request = usual_request(argv.items, envp.items);
    request.paths = paths;
    request.output_fd = output;
    request.cgroup_fd = cgroup_fd;
    struct spawn_fault fault;
    CHECK(spawn(&request, &ret->process, NULL) == 0);
    CHECK(await_handshake(ret->process.handshake_fd, &fault) == SPAWN_STARTED);
    ret->target = (struct killtree_target){
        .leader = ret->process.pid,
        .start_ticks = proc_read_start_ticks(ret->process.pid),
        .uid = geteuid(),
        .application = "app",
        .workload = name,
        .device = "device-1",
    };
    return 0;
}

static int start_sleeper(struct workload *ret, const char *name)
{
    static const char *const args[] = {"300", NULL};
    return start_workload(ret, name, "/bin/sleep", args, -1);
}

/* The pids in the file, once there are `count` of them. */
static int read_pids(const struct workload *workload, pid_t *pids, size_t count)
{
    CLEANUP(free) char *text = NULL;
    size_t len = 0;
    if (fd_read_file(AT_FDCWD, workload->pid_file, 4096, &text, &len, NULL) < 0) {
        return -1;
    }
    char *at = text;
    for (size_t i = 0; i < count; i++) {
        char *end = NULL;
        pids[i] = (pid_t) strtol(at, &end, 10);
        if (pids[i] <= 0 || *end != '\n') {
            return -1;
        }
        at = end + 1;
    }
    return 0;
}

static size_t find(const struct workload *workload, const struct killtree_target *others,
                   size_t other_count, pid_t *pids, size_t max)
{
    CLEANUP(census) struct census *census = census_take(NULL);
    if (census == NULL) {
        return SIZE_MAX;
    }
    return killtree_find(census, &workload->target, others, other_count, pids, max);
}

static bool contains(const pid_t *pids, size_t count, pid_t pid)
{
    for (size_t i = 0; i < count; i++) {
        if (pids[i] == pid) {
            return true;
        }
    }
    return false;
}

/* All are found for the workload, and nothing but them. */
static bool finds_exactly(const struct workload *workload, const pid_t *wanted, size_t count)
{
    pid_t pids[64];
    size_t found = find(workload, NULL, 0, pids, ARRAY_LEN(pids));
    for (size_t i = 0; i < count; i++) {
        if (!contains(pids, found, wanted[i])) {
            return false;
        }
    }
    return found == count;
}

static bool all_are_dead(const pid_t *pids, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!proc_is_dead(pids[i])) {
            return false;
        }
    }
    return true;
}

static bool kills_all(const struct workload *workload)
{
    return EVENTUALLY(killtree_kill(&workload->target, NULL, 0) == 0);
}

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
    CHECK(start_workload(&maker, "maker", double_fork_path, args, -1) == 0);
    CHECK(EVENTUALLY(read_pids(&maker, &orphan, 1) == 0));
    (void) await_exit(maker.process.pidfd);
    (void) usleep(30000); /* a clock tick is 10 ms */
    CHECK(start_sleeper(&younger, "younger") == 0);
    struct killtree_target others[3] = {maker.target, younger.target};
    /* The younger one cannot have made it; that the maker stands among the others does no harm. */
    CHECK(EVENTUALLY(find(&maker, others, 2, NULL, 0) == 1));
    CHECK(find(&younger, others, 2, NULL, 0) == 1);
    /* The older one can: then nobody gets it. */
    others[2] = older.target;
    CHECK(find(&maker, others, 3, NULL, 0) == 0);
    CHECK(find(&older, others, 3, NULL, 0) == 1);
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
            (void) syscall(SYS_pause);
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
    struct proc_stat stat;
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
    CLEANUP(close_fd) int group = root != NULL ? cgroup_make(root, "app.one", NULL) : -1;
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
        /* NOLINTNEXTLINE(clang-analyzer-security.insecureAPI.vfork) */
        if (vfork() == 0) {
            (void) pause();
            _exit(0);
        }
        _exit(0);
    }
    struct proc_stat stat;
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

static int make_folder(void **state)
{
    (void) state;
    return mkdtemp(folder) != NULL && chmod(folder, 01777) == 0 ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void) state;
    return remove_tree(folder);
}

int main(void)
{
    double_fork_path = public_helper("double_fork");
    forkbomb_path = public_helper("forkbomb");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tree_is_found_and_killed_and_zombies_do_not_count),
        cmocka_unit_test(daemons_are_found_and_killed_by_cookie),
        cmocka_unit_test(daemons_with_a_cleared_environment_are_found_and_killed),
        cmocka_unit_test(what_stayed_in_the_group_is_found_when_the_leader_is_gone),
        cmocka_unit_test(an_ordinary_user_can_do_the_same),
        cmocka_unit_test(an_orphan_without_evidence_goes_to_its_only_possible_maker),
        cmocka_unit_test(a_neighbour_is_left_alone),
        cmocka_unit_test(a_child_in_the_agents_own_session_is_nobodys),
        cmocka_unit_test(another_agents_workload_of_the_same_name_is_never_touched),
        cmocka_unit_test(an_adopted_workload_is_found_by_its_leader),
        cmocka_unit_test(a_leader_with_another_start_time_is_a_stranger),
        cmocka_unit_test(a_reused_pid_is_not_signalled),
        cmocka_unit_test(a_stopped_process_is_woken_to_get_its_signal),
        cmocka_unit_test(without_pidfd_send_signal_kill_does_it),
        cmocka_unit_test(pid_1_and_the_agent_itself_are_never_signalled),
        cmocka_unit_test(a_fork_bomb_is_killed_without_a_cgroup),
        cmocka_unit_test(a_fork_bomb_is_killed_in_a_cgroup),
        cmocka_unit_test(a_process_in_state_d_counts_as_living),
        cmocka_unit_test(without_a_descriptor_nothing_counts_as_over),
    };
    int failed = cmocka_run_group_tests(tests, make_folder, remove_folder);
    (void) unlink(double_fork_path);
    (void) unlink(forkbomb_path);
    free(double_fork_path);
    free(forkbomb_path);
    return failed;
}
