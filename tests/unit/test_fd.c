#include "edgible/fd.h"
#include "edgible/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* A folder of its own for each test. */
static int make_folder(void **state)
{
    char *path = xstrdup("/tmp/edgible-test-fd-XXXXXX");
    *state = path;
    return mkdtemp(path) != NULL ? 0 : -1;
}

static int remove_folder(void **state)
{
    static const char *const entries[] = {"a/b/c", "a/b", "a", "file", "locked"};
    char *path = *state;
    for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
        CLEANUP(free) char *entry = xasprintf("%s/%s", path, entries[i]);
        (void) remove(entry);
    }
    (void) rmdir(path);
    free(path);
    return 0;
}

static void descriptors_change_hands(void **state)
{
    (void) state;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CLEANUP(close_fd) int taken = steal_fd(&fd);
    assert_int_equal(fd, -1);
    assert_true(taken >= 0);
    fd_close(&fd);
    int other = dup(taken);
    fd_close(&other);
    assert_int_equal(other, -1);
}

static void a_file_is_read_whole(void **state)
{
    CLEANUP(free) char *path = xasprintf("%s/file", (const char *) *state);
    CLEANUP(free) char *content = xcalloc(100001, 1);
    memset(content, 'x', 100000);
    content[50000] = '\0';
    CLEANUP(close_fd) int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_equal(fd_write_all(fd, content, 100000, NULL), 0);
    CLEANUP(free) char *data = NULL;
    size_t len = 0;
    assert_int_equal(fd_read_file(AT_FDCWD, path, 100000, &data, &len, NULL), 0);
    assert_int_equal(len, 100000);
    assert_memory_equal(data, content, 100001);
}

static void a_file_past_the_bound_is_refused(void **state)
{
    CLEANUP(free) char *path = xasprintf("%s/file", (const char *) *state);
    CLEANUP(close_fd) int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_equal(fd_write_all(fd, "12345", 5, NULL), 0);
    char *data = NULL;
    size_t len = 77;
    struct err err = {0};
    assert_int_equal(fd_read_file(AT_FDCWD, path, 4, &data, &len, &err), -1);
    assert_int_equal(err.code, EFBIG);
    assert_null(data);
    assert_int_equal(len, 77);
    assert_non_null(strstr(err.msg, "more than 4 bytes"));
}

static void a_missing_file_is_named(void **state)
{
    (void) state;
    char *data = NULL;
    size_t len = 0;
    struct err err = {0};
    assert_int_equal(fd_read_file(AT_FDCWD, "/nonexistent/x", 10, &data, &len, &err), -1);
    assert_int_equal(err.code, ENOENT);
    assert_string_equal(err.msg, "open '/nonexistent/x'");
    assert_int_equal(fd_read_file(AT_FDCWD, "/", 10, &data, &len, &err), -1);
    assert_int_equal(err.code, EISDIR);
}

static void what_is_no_regular_file_is_refused_and_not_waited_for(void **state)
{
    CLEANUP(free) char *path = xasprintf("%s/fifo", (const char *) *state);
    char *data = NULL;
    size_t len = 0;
    struct err err = {0};
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(fd_read_regular_file(path, 10, &data, &len, &err), -1);
    assert_int_equal(err.code, EINVAL);
    assert_non_null(strstr(err.msg, "is not a regular file"));
    assert_int_equal(fd_read_regular_file("/", 10, &data, &len, &err), -1);
    assert_int_equal(fd_read_regular_file("/nonexistent/x", 10, &data, &len, &err), -1);
    assert_int_equal(err.code, ENOENT);
    assert_int_equal(fd_read_regular_file("/etc/passwd", 1, &data, &len, &err), -1);
    assert_int_equal(err.code, EFBIG);
    assert_int_equal(fd_read_regular_file("/etc/passwd", 1000000, &data, &len, &err), 0);
    assert_int_equal(strncmp(data, "root:", 5), 0);
    free(data);
}

struct drain {
    int fd;
    size_t len;
};

static void *drain_pipe(void *arg)
{
    struct drain *drain = arg;
    char *data = NULL;
    if (fd_read_all(drain->fd, 10UL * 1024 * 1024, &data, &drain->len, NULL) < 0) {
        drain->len = 0;
    }
    free(data);
    return NULL;
}

static void writing_goes_on_after_short_writes(void **state)
{
    (void) state;
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    struct drain drain = {.fd = fds[0]};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, drain_pipe, &drain), 0);
    size_t len = 3UL * 1024 * 1024;
    CLEANUP(free) char *data = xcalloc(len, 1);
    assert_int_equal(fd_write_all(fds[1], data, len, NULL), 0);
    fd_close(&fds[1]);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(drain.len, len);
    fd_close(&fds[0]);
}

static void a_failed_write_says_its_errno(void **state)
{
    (void) state;
    struct err err = {0};
    assert_int_equal(fd_write_all(-1, "x", 1, &err), -1);
    assert_int_equal(err.code, EBADF);
    assert_int_equal(fd_write_all(-1, "", 0, &err), 0);
}

static void a_descriptor_becomes_non_blocking(void **state)
{
    (void) state;
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(fd_set_nonblocking(fds[0], NULL), 0);
    assert_true((fcntl(fds[0], F_GETFL) & O_NONBLOCK) != 0);
    char *data = NULL;
    size_t len = 0;
    struct err err = {0};
    assert_int_equal(fd_read_all(fds[0], 10, &data, &len, &err), -1);
    assert_int_equal(err.code, EAGAIN);
    fd_close(&fds[0]);
    fd_close(&fds[1]);
    assert_int_equal(fd_set_nonblocking(-1, &err), -1);
    assert_int_equal(err.code, EBADF);
}

static void missing_directories_are_made_and_existing_ones_are_fine(void **state)
{
    CLEANUP(free) char *path = xasprintf("%s/a/b/c", (const char *) *state);
    struct stat st;
    assert_int_equal(fd_make_dirs(path, 0700, NULL), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(fd_make_dirs(path, 0700, NULL), 0);
    assert_int_equal(fd_make_dirs("/", 0700, NULL), 0);
}

static void install_death_by_mkdir(void)
{
    struct sock_filter lines[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mkdirat, 1, 0),
#ifdef SYS_mkdir
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mkdir, 0, 1),
#else
        BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0),
#endif
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = ARRAY_LEN(lines), .filter = lines};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0) {
        _exit(77); /* not here */
    }
}

/* To make one waits for the lock of the folder that it is in, which others may hold for ever. */
static void nothing_is_made_of_directories_that_exist(void **state)
{
    CLEANUP(free) char *path = xasprintf("%s/a/b/c", (const char *) *state);
    assert_int_equal(fd_make_dirs(path, 0700, NULL), 0);
    for (int missing = 0; missing < 2; missing++) {
        pid_t pid = fork();
        if (pid == 0) {
            install_death_by_mkdir();
            _exit(fd_make_dirs(path, 0700, NULL) == 0 ? 0 : 1);
        }
        int status = -1;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
            skip();
        }
        assert_int_equal(missing ? WTERMSIG(status) : status, missing ? SIGSYS : 0);
        assert_int_equal(rmdir(path), missing ? -1 : 0);
    }
}

static void a_file_in_the_way_of_a_directory_is_an_error(void **state)
{
    CLEANUP(free) char *file = xasprintf("%s/file", (const char *) *state);
    CLEANUP(free) char *below = xasprintf("%s/x/y", file);
    CLEANUP(close_fd) int fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    struct err err = {0};
    assert_true(fd >= 0);
    assert_int_equal(fd_make_dirs(file, 0700, &err), -1);
    assert_int_equal(err.code, ENOTDIR);
    assert_int_equal(fd_make_dirs(below, 0700, &err), -1);
    assert_int_equal(err.code, ENOTDIR);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descriptors_change_hands),
        WITH_FOLDER(a_file_is_read_whole),
        WITH_FOLDER(a_file_past_the_bound_is_refused),
        cmocka_unit_test(a_missing_file_is_named),
        WITH_FOLDER(what_is_no_regular_file_is_refused_and_not_waited_for),
        cmocka_unit_test(writing_goes_on_after_short_writes),
        cmocka_unit_test(a_failed_write_says_its_errno),
        cmocka_unit_test(a_descriptor_becomes_non_blocking),
        WITH_FOLDER(missing_directories_are_made_and_existing_ones_are_fine),
        WITH_FOLDER(nothing_is_made_of_directories_that_exist),
        WITH_FOLDER(a_file_in_the_way_of_a_directory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
