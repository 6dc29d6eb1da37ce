/* One agent a directory; files that are there whole or not. */
#include "edgible/statedir.h"
#include "sys_test.h"

#include <sys/resource.h>

static char top[] = "/tmp/edgible-statedir-XXXXXX";

static int make_top(void **state)
{
    (void) state;
    return mkdtemp(top) != NULL ? 0 : -1;
}

static int remove_top(void **state)
{
    (void) state;
    return remove_tree(top);
}

static void the_directory_is_made_and_the_pid_written(void **state)
{
    (void) state;
    CLEANUP(free) char *dir = xasprintf("%s/a/b", top);
    CLEANUP(free) char *file = xasprintf("%s/agent.lock", dir);
    CLEANUP(free) char *own = xasprintf("%d\n", (int) getpid());
    CLEANUP(free) char *text = NULL;
    size_t len = 0;
    struct stat st;
    struct err err = {0};
    CLEANUP(close_fd) int fd = statedir_lock(dir, &err);
    assert_true(fd >= 0);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    assert_int_equal(fd_read_file(AT_FDCWD, file, 100, &text, &len, NULL), 0);
    assert_string_equal(text, own);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
}

static int play_second_agent(const void *arg)
{
    struct err err = {0};
    CHECK(statedir_lock(arg, &err) < 0);
    CHECK(err.code == EBUSY);
    CLEANUP(free) char *wanted = xasprintf("is in use by the agent with PID %d", (int) getppid());
    CHECK(strstr(err.msg, wanted) != NULL);
    return 0;
}

static void a_second_agent_is_told_who_holds_it(void **state)
{
    (void) state;
    CLEANUP(close_fd) int fd = statedir_lock(top, NULL);
    assert_true(fd >= 0);
    assert_int_equal(run_scenario(play_second_agent, top), 0);
    /* A second time in the same process as well: the lock is the description's. */
    struct err err = {0};
    assert_int_equal(statedir_lock(top, &err), -1);
    assert_int_equal(err.code, EBUSY);
}

static int play_lock_and_leave(const void *arg)
{
    CHECK(statedir_lock(arg, NULL) >= 0);
    /* Longer than any PID that follows. */
    CLEANUP(free) char *file = xasprintf("%s/agent.lock", (const char *) arg);
    CLEANUP(close_fd) int fd = open(file, O_WRONLY | O_TRUNC | O_CLOEXEC);
    CHECK(fd_write_all(fd, "999999999999\n", 13, NULL) == 0);
    return 0;
}

static void a_dead_agents_lock_is_free_and_its_pid_replaced(void **state)
{
    (void) state;
    assert_int_equal(run_scenario(play_lock_and_leave, top), 0);
    CLEANUP(close_fd) int fd = statedir_lock(top, NULL);
    assert_true(fd >= 0);
    char text[64] = "";
    assert_true(pread(fd, text, sizeof(text) - 1, 0) > 0);
    CLEANUP(free) char *own = xasprintf("%d\n", (int) getpid());
    assert_string_equal(text, own);
}

static int play_hold_without_pid(const void *arg)
{
    CLEANUP(close_fd) int fd = statedir_lock(arg, NULL);
    CHECK(fd >= 0 && ftruncate(fd, 0) == 0);
    struct err err = {0};
    CHECK(statedir_lock(arg, &err) < 0 && err.code == EBUSY);
    CHECK(strstr(err.msg, "in use by another agent") != NULL);
    return 0;
}

static void a_holder_that_wrote_no_pid_is_another_agent(void **state)
{
    (void) state;
    assert_int_equal(run_scenario(play_hold_without_pid, top), 0);
}

static void a_directory_that_cannot_be_is_an_error(void **state)
{
    (void) state;
    struct err err = {0};
    assert_int_equal(statedir_lock("/proc/nonexistent/state", &err), -1);
    assert_true(err.code != 0);
    assert_int_equal(statedir_lock("/etc/passwd", &err), -1);
    assert_int_equal(err.code, ENOTDIR);
}

static char *read_back(int dirfd, const char *name)
{
    char *text = NULL;
    size_t len = 0;
    assert_int_equal(fd_read_file(dirfd, name, 1 << 20, &text, &len, NULL), 0);
    return text;
}

static void a_file_is_written_and_replaced_with_its_mode(void **state)
{
    (void) state;
    struct stat st;
    CLEANUP(close_fd) int dir = open(top, O_PATH | O_DIRECTORY | O_CLOEXEC);
    mode_t old = umask(077);
    assert_int_equal(statedir_write_file(dir, "x.json", "one, the longer", 15, 0644, true, NULL),
                     0);
    (void) umask(old);
    assert_int_equal(statedir_write_file(dir, "x.json", "two", 3, 0640, true, NULL), 0);
    CLEANUP(free) char *text = read_back(dir, "x.json");
    assert_string_equal(text, "two");
    assert_int_equal(fstatat(dir, "x.json", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(faccessat(dir, ".x.json.tmp", F_OK, 0), -1);
    assert_int_equal(statedir_write_file(dir, "empty", "", 0, 0600, true, NULL), 0);
}

static void what_a_crash_left_is_taken_over(void **state)
{
    (void) state;
    CLEANUP(close_fd) int dir = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(close_fd) int left = openat(dir, ".y.tmp", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(fd_write_all(left, "half a fi", 9, NULL), 0);
    assert_int_equal(statedir_write_file(dir, "y", "new", 3, 0600, true, NULL), 0);
    CLEANUP(free) char *text = read_back(dir, "y");
    assert_string_equal(text, "new");
}

/* Stands for a full disk: no file grows beyond 4 bytes. */
static int play_no_room(const void *arg)
{
    struct rlimit small = {4, 4};
    struct err err = {0};
    CLEANUP(close_fd) int dir = open(arg, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
    CHECK(statedir_write_file(dir, "z", "longer than four", 16, 0600, true, &err) < 0);
    CHECK(err.code == EFBIG);
    CHECK(strncmp(err.msg, "write 'z': ", 11) == 0);
    CHECK(faccessat(dir, ".z.tmp", F_OK, 0) < 0);
    return 0;
}

static void a_write_that_fails_leaves_the_old_file_whole(void **state)
{
    (void) state;
    CLEANUP(close_fd) int dir = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(statedir_write_file(dir, "z", "the old text", 12, 0600, true, NULL), 0);
    assert_int_equal(run_scenario(play_no_room, top), 0);
    CLEANUP(free) char *text = read_back(dir, "z");
    assert_string_equal(text, "the old text");
}

static void a_name_with_a_slash_and_a_folder_in_the_way_are_errors(void **state)
{
    (void) state;
    struct err err = {0};
    CLEANUP(close_fd) int dir = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(statedir_write_file(dir, "a/b", "x", 1, 0600, true, &err), -1);
    assert_int_equal(err.code, EINVAL);
    assert_int_equal(mkdirat(dir, "folder", 0700), 0);
    assert_int_equal(statedir_write_file(dir, "folder", "x", 1, 0600, true, &err), -1);
    assert_int_equal(faccessat(dir, ".folder.tmp", F_OK, 0), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_directory_is_made_and_the_pid_written),
        cmocka_unit_test(a_second_agent_is_told_who_holds_it),
        cmocka_unit_test(a_dead_agents_lock_is_free_and_its_pid_replaced),
        cmocka_unit_test(a_holder_that_wrote_no_pid_is_another_agent),
        cmocka_unit_test(a_directory_that_cannot_be_is_an_error),
        cmocka_unit_test(a_file_is_written_and_replaced_with_its_mode),
        cmocka_unit_test(what_a_crash_left_is_taken_over),
        cmocka_unit_test(a_write_that_fails_leaves_the_old_file_whole),
        cmocka_unit_test(a_name_with_a_slash_and_a_folder_in_the_way_are_errors),
    };
    return cmocka_run_group_tests(tests, make_top, remove_top);
}
