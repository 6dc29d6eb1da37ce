/* cgroups for real, where the machine has them and lets us (as root); else only the refusal. */
#include "edgible/cgroup.h"
#include "sys_test.h"

#include <sys/xattr.h>

static struct cgroup_root *open_root_or_skip(void)
{
    struct err err = {0};
    struct cgroup_root *root = cgroup_root_open("test-cgroup", &err);
    if (root == NULL) {
        print_message("  no cgroups here: %s\n", err.msg);
        skip();
    }
    return root;
}

/* A sleeper in the group, moved there by hand. */
static pid_t start_in_group(int group_fd)
{
    pid_t pid = fork();
    if (pid == 0) {
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        int fd = openat(group_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
        (void) !write(fd, "0", 1);
        (void) close(fd);
        for (;;) {
            (void) pause();
        }
    }
    return pid;
}

static void groups_are_made_listed_killed_and_removed(void **state)
{
    (void) state;
    CLEANUP(cgroup_root) struct cgroup_root *root = open_root_or_skip();
    assert_non_null(strstr(cgroup_root_path(root), "/edgible-test-cgroup"));
    pid_t listed[4] = {0};
    assert_false(cgroup_is_populated(root, "app.one"));
    CLEANUP(close_fd) int group = cgroup_make(root, "app.one", NULL, NULL);
    assert_true(group >= 0);
    bool is_fresh = false;
    CLEANUP(close_fd) int again = cgroup_make(root, "app.one", &is_fresh, NULL);
    assert_true(again >= 0 && is_fresh); /* an empty one is made anew */
    assert_false(cgroup_is_populated(root, "app.one"));
    assert_int_equal(cgroup_list_pids(root, "app.one", listed, 4), 0);
    pid_t pid = start_in_group(again);
    assert_true(EVENTUALLY(cgroup_is_populated(root, "app.one")));
    CLEANUP(close_fd) int full = cgroup_make(root, "app.one", &is_fresh, NULL);
    assert_true(full >= 0 && !is_fresh);
    assert_int_equal(cgroup_list_pids(root, "app.one", listed, 4), 1);
    assert_int_equal(listed[0], pid);
    assert_false(cgroup_remove(root, "app.one"));
    assert_int_equal(cgroup_kill(root, "app.one", NULL), 0);
    assert_true(EVENTUALLY(proc_is_dead(pid)));
    /* A zombie is not in the way. */
    assert_true(EVENTUALLY(!cgroup_is_populated(root, "app.one")));
    assert_true(cgroup_remove(root, "app.one"));
    assert_true(cgroup_remove(root, "app.one"));
    (void) waitpid(pid, NULL, 0);
}

static mode_t mode_of(int fd)
{
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    return st.st_mode & 07777;
}

/* Who can open a folder can hold its lock, for which whoever makes a group there waits. */
static void no_other_user_can_open_the_folders_of_groups(void **state)
{
    (void) state;
    CLEANUP(cgroup_root) struct cgroup_root *root = open_root_or_skip();
    CLEANUP(close_fd) int group = cgroup_make(root, "app.closed", NULL, NULL);
    CLEANUP(close_fd) int above = openat(group, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(group >= 0 && above >= 0);
    pid_t pid = start_in_group(group);
    assert_true(EVENTUALLY(cgroup_is_populated(root, "app.closed")));
    for (int turn = 0; turn < 2; turn++) {
        assert_int_equal(mode_of(group), 0711);
        assert_int_equal(mode_of(above), 0711);
        if (turn == 0) { /* as agents before 0.2 made them */
            assert_int_equal(fchmod(group, 0755), 0);
            assert_int_equal(fchmod(above, 0755), 0);
            CLEANUP(cgroup_root) struct cgroup_root *next = open_root_or_skip();
            assert_non_null(next);
        }
    }
    assert_int_equal(cgroup_kill(root, "app.closed", NULL), 0);
    (void) waitpid(pid, NULL, 0);
    assert_true(EVENTUALLY(cgroup_remove(root, "app.closed")));
}

static void sub_groups_of_the_workload_count_and_go_with_it(void **state)
{
    (void) state;
    CLEANUP(cgroup_root) struct cgroup_root *root = open_root_or_skip();
    CLEANUP(close_fd) int group = cgroup_make(root, "app.two", NULL, NULL);
    assert_int_equal(mkdirat(group, "deep", 0755), 0);
    assert_int_equal(mkdirat(group, "deep/deeper", 0755), 0);
    CLEANUP(close_fd) int deeper = openat(group, "deep/deeper", O_RDONLY | O_CLOEXEC);
    pid_t pids[3];
    for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
        pids[i] = start_in_group(i == 0 ? group : deeper);
    }
    pid_t listed[3] = {0, 0, -1};
    assert_true(EVENTUALLY(cgroup_list_pids(root, "app.two", NULL, 0) == 3));
    assert_int_equal(cgroup_list_pids(root, "app.two", listed, 2), 2);
    assert_int_equal(listed[2], -1);
    assert_int_equal(cgroup_kill(root, "app.two", NULL), 0);
    assert_true(EVENTUALLY(!cgroup_is_populated(root, "app.two")));
    assert_true(cgroup_remove(root, "app.two"));
    for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
        (void) waitpid(pids[i], NULL, 0);
    }
}

static void the_folder_of_an_earlier_agent_is_taken_over_and_goes_when_empty(void **state)
{
    (void) state;
    struct cgroup_root *first = open_root_or_skip();
    CLEANUP(free) char *path = xstrdup(cgroup_root_path(first));
    CLEANUP(close_fd) int group = cgroup_make(first, "left.behind", NULL, NULL);
    assert_true(group >= 0);
    assert_int_equal(mkdirat(group, "inner", 0755), 0);
    cgroup_root_free(first);
    /* A workload's group that is not empty keeps the folder. */
    assert_int_equal(access(path, F_OK), 0);
    struct cgroup_root *second = open_root_or_skip();
    assert_true(cgroup_remove(second, "left.behind"));
    cgroup_root_free(second);
    assert_int_equal(access(path, F_OK), -1);
    cgroup_root_free(NULL);
}

/* As of a check that was still dying when its workload was removed, or of an agent that was
 * killed. */
static void empty_groups_go_at_the_beginning_and_at_the_end(void **state)
{
    (void) state;
    for (int i = 0; i < 2; i++) {
        struct cgroup_root *root = open_root_or_skip();
        CLEANUP(free) char *path = xstrdup(cgroup_root_path(root));
        CLEANUP(free) char *group = xasprintf("%s/app.web.check", path);
        CLEANUP(close_fd) int fd = cgroup_make(root, "app.web.check", NULL, NULL);
        assert_true(fd >= 0);
        struct cgroup_root *next = i == 0 ? open_root_or_skip() : NULL;
        if (next == NULL) {
            cgroup_root_free(steal_ptr(&root));
        }
        assert_int_equal(access(group, F_OK), -1);
        cgroup_root_free(root);
        cgroup_root_free(next);
        assert_int_equal(access(path, F_OK), -1);
    }
}

static void what_is_not_there_or_no_name_is_refused(void **state)
{
    (void) state;
    CLEANUP(cgroup_root) struct cgroup_root *root = open_root_or_skip();
    static const char *const names[] = {"", ".", "..", "../up", "a/b"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct err err = {0};
        assert_int_equal(cgroup_make(root, names[i], NULL, &err), -1);
        assert_int_equal(err.code, EINVAL);
        assert_int_equal(cgroup_kill(root, names[i], &err), -1);
        assert_false(cgroup_remove(root, names[i]));
        assert_false(cgroup_is_populated(root, names[i]));
        assert_int_equal(cgroup_list_pids(root, names[i], NULL, 0), 0);
    }
    struct err err = {0};
    assert_int_equal(cgroup_kill(root, "missing", &err), -1);
    assert_int_equal(err.code, ENOENT);
    assert_null(cgroup_root_open("../up", &err));
    assert_int_equal(err.code, EINVAL);
}

/* As systemd does for DelegateSubgroup=: the mark is on the group above, or on our own. */
static int play_sub_group(const void *arg)
{
    const char *top = arg;
    CLEANUP(free) char *sub = xasprintf("%s/agent", top);
    CLEANUP(free) char *procs = xasprintf("%s/cgroup.procs", sub);
    CLEANUP(free) char *beside = xasprintf("%s/edgible-test-sub", top);
    CLEANUP(free) char *inside = xasprintf("%s/edgible-test-sub", sub);
    CHECK(mkdir(top, 0755) == 0 && mkdir(sub, 0755) == 0);
    CLEANUP(close_fd) int fd = open(procs, O_WRONLY | O_CLOEXEC);
    CHECK(write(fd, "0", 1) == 1);
    struct cgroup_root *root = cgroup_root_open("test-sub", NULL);
    CHECK(root != NULL && strcmp(cgroup_root_path(root), inside) == 0);
    cgroup_root_free(root);
    CHECK(setxattr(top, "user.delegate", "1", 1, 0) == 0);
    root = cgroup_root_open("test-sub", NULL);
    CHECK(root != NULL && strcmp(cgroup_root_path(root), beside) == 0);
    cgroup_root_free(root);
    CHECK(access(beside, F_OK) < 0);
    CHECK(setxattr(sub, "user.delegate", "1", 1, 0) == 0);
    root = cgroup_root_open("test-sub", NULL);
    CHECK(root != NULL && strcmp(cgroup_root_path(root), inside) == 0);
    cgroup_root_free(root);
    return 0;
}

static void groups_are_beside_the_sub_group_of_a_delegated_one(void **state)
{
    (void) state;
    struct cgroup_root *root = open_root_or_skip();
    const char *slash = strrchr(cgroup_root_path(root), '/');
    CLEANUP(free)
    char *top = xasprintf("%.*s/edgible-test-top-%d", (int) (slash - cgroup_root_path(root)),
                          cgroup_root_path(root), (int) getpid());
    CLEANUP(free) char *sub = xasprintf("%s/agent", top);
    cgroup_root_free(root);
    int code = run_scenario(play_sub_group, top);
    assert_true(EVENTUALLY(rmdir(sub) == 0 || errno == ENOENT));
    (void) rmdir(top);
    assert_int_equal(code, 0);
}

static int play_ordinary_user(const void *arg)
{
    (void) arg;
    struct err err = {0};
    CHECK(syscall(SYS_setgroups, 0, NULL) == 0);
    CHECK(syscall(SYS_setresgid, 65534, 65534, 65534) == 0);
    CHECK(syscall(SYS_setresuid, 65534, 65534, 65534) == 0);
    CHECK(cgroup_root_open("test-nobody", &err) == NULL);
    CHECK(err.code != 0 && err.msg[0] != '\0');
    return 0;
}

static void who_may_not_is_told_why(void **state)
{
    (void) state;
    if (geteuid() != 0) {
        skip();
    }
    assert_int_equal(run_scenario(play_ordinary_user, NULL), 0);
}

/* Runs /bin/true in the group, as a workload's next process is. */
static struct proc_exit run_in_group(int group_fd, bool joins)
{
    char program[] = "/bin/true";
    char *argv[] = {program, NULL};
    char *envp[] = {NULL};
    struct spawn_request request = {
        .argv = argv,
        .envp = envp,
        .paths = argv,
        .exec_fd = -1,
        .output_fd = STDERR_FILENO,
        .cgroup_fd = group_fd,
        .joins_cgroup = joins,
        .open_files = {64, 64},
        .sandbox_fd = -1,
    };
    struct spawned child;
    struct proc_exit ended = {0};
    assert_int_equal(spawn(&request, &child, NULL), 0);
    spawn_release(child.handshake_fd);
    assert_true(EVENTUALLY(proc_wait_pidfd(child.pidfd, true, &ended, NULL) == 1));
    (void) close(child.handshake_fd);
    (void) close(child.pidfd);
    return ended;
}

static void a_group_that_was_killed_takes_in_the_next_process(void **state)
{
    (void) state;
    CLEANUP(cgroup_root) struct cgroup_root *root = open_root_or_skip();
    bool is_fresh = false;
    CLEANUP(close_fd) int group = cgroup_make(root, "app.again", &is_fresh, NULL);
    assert_true(group >= 0 && is_fresh);
    assert_int_equal(cgroup_kill(root, "app.again", NULL), 0);
    /* One that cannot be made anew, as something is in it still. */
    assert_int_equal(mkdirat(group, "inner", 0755), 0);
    CLEANUP(close_fd) int same = cgroup_make(root, "app.again", &is_fresh, NULL);
    assert_true(same >= 0 && !is_fresh);
    struct proc_exit ended = run_in_group(same, !is_fresh);
    assert_true(ended.known && !ended.signaled && ended.code == 0);
    assert_int_equal(unlinkat(group, "inner", AT_REMOVEDIR), 0);
    CLEANUP(close_fd) int next = cgroup_make(root, "app.again", &is_fresh, NULL);
    assert_true(next >= 0 && is_fresh);
    ended = run_in_group(next, !is_fresh);
    assert_true(ended.known && !ended.signaled && ended.code == 0);
    assert_true(cgroup_remove(root, "app.again"));
}

static void a_copy_goes_on_alone_and_removes_nothing(void **state)
{
    (void) state;
    CLEANUP(cgroup_root) struct cgroup_root *root = open_root_or_skip();
    CLEANUP(close_fd) int group = cgroup_make(root, "app.one", NULL, NULL);
    assert_true(group >= 0);
    pid_t pid = start_in_group(group);
    assert_true(EVENTUALLY(cgroup_is_populated(root, "app.one")));
    struct cgroup_root *copy = cgroup_root_copy(root);
    assert_string_equal(cgroup_root_path(copy), cgroup_root_path(root));
    assert_int_equal(cgroup_kill(root, "app.one", NULL), 0);
    assert_true(EVENTUALLY(proc_is_dead(pid) && !cgroup_is_populated(copy, "app.one")));
    cgroup_root_free(copy);
    assert_int_equal(access(cgroup_root_path(root), F_OK), 0);
    copy = cgroup_root_copy(root);
    cgroup_root_free(steal_ptr(&root));
    pid_t listed[4];
    assert_int_equal(cgroup_list_pids(copy, "app.one", listed, 4), 0);
    cgroup_root_free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_are_made_listed_killed_and_removed),
        cmocka_unit_test(a_group_that_was_killed_takes_in_the_next_process),
        cmocka_unit_test(no_other_user_can_open_the_folders_of_groups),
        cmocka_unit_test(sub_groups_of_the_workload_count_and_go_with_it),
        cmocka_unit_test(the_folder_of_an_earlier_agent_is_taken_over_and_goes_when_empty),
        cmocka_unit_test(empty_groups_go_at_the_beginning_and_at_the_end),
        cmocka_unit_test(what_is_not_there_or_no_name_is_refused),
        cmocka_unit_test(groups_are_beside_the_sub_group_of_a_delegated_one),
        cmocka_unit_test(who_may_not_is_told_why),
        cmocka_unit_test(a_copy_goes_on_alone_and_removes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
