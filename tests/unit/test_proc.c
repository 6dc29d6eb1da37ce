/* Single processes: identity, ends of every kind, and what /proc gets asked. */
#include "../../src/sys/proc_priv.h"
#include "sys_test.h"

#include <pthread.h>
#include <sys/ptrace.h>

/* A child that runs the function and exits with what it returns. */
static pid_t start_child(int (*run)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        /* Should the test die. */
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(run());
    }
    assert_true(pid > 0);
    return pid;
}

static int run_pause(void)
{
    while (pause() < 0) {
    }
    return 0;
}

static int run_exit_7(void)
{
    return 7;
}

static void end_child(pid_t pid)
{
    (void) kill(pid, SIGKILL);
    (void) waitpid(pid, NULL, 0);
}

static void the_stat_of_this_process_is_read(void **state)
{
    (void) state;
    struct proc_stat stat;
    assert_int_equal(proc_read_stat(getpid(), &stat, NULL), 0);
    assert_int_equal(stat.pid, getpid());
    assert_int_equal(stat.ppid, getppid());
    assert_int_equal(stat.pgid, getpgrp());
    assert_int_equal(stat.sid, getsid(0));
    assert_int_equal(stat.state, 'R');
    assert_int_equal(stat.threads, 1);
    assert_true(stat.start_ticks > 0);
    assert_int_equal(proc_read_start_ticks(getpid()), stat.start_ticks);
}

static void a_process_that_has_no_group_for_a_moment_is_asked_again(void **state)
{
    (void) state;
    static const char text[] = "7 (x) X 0 -1 -1 0 -1 4 0 0 0 0 0 0 0 0 20 0 0 0 99 0\n";
    char folder[] = "/tmp/edgible-proc-XXXXXX";
    char path[64];
    struct proc_stat stat = {0};
    assert_non_null(mkdtemp(folder));
    int at = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    (void) snprintf(path, sizeof(path), "%s/7", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    int fd = openat(at, "7/stat", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
    (void) close(fd);
    errno = 0;
    assert_int_equal(proc_stat_at(at, 7, &stat), -1);
    assert_int_equal(errno, ESRCH);
    assert_int_equal(unlinkat(at, "7/stat", 0), 0);
    (void) close(at);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

enum { PIPE_FD = 40, TERMINAL_FD };

/* Its output is the pipe at one moment and a terminal at the next. */
static int run_exchange(void)
{
    while (dup2(PIPE_FD, STDOUT_FILENO) >= 0 && dup2(TERMINAL_FD, STDOUT_FILENO) >= 0) {
    }
    return 1;
}

static struct stat exchanged_pipe;
static pid_t exchanger;

/* As an agent that leads a session without a terminal: the first one that it opens becomes its. */
static int run_reopening(void)
{
    struct stat st;
    int found = 0;
    (void) setsid();
    for (int i = 0; i < 20000 || (found == 0 && i < 10000000); i++) {
        int fd = proc_reopen_pipe(exchanger, exchanged_pipe.st_ino, NULL);
        if (fd >= 0 && (fstat(fd, &st) < 0 || st.st_ino != exchanged_pipe.st_ino)) {
            return 1;
        }
        found += fd >= 0 ? 1 : 0;
        (void) close(fd);
    }
    return found > 0 && open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC) < 0 ? 7 : 2;
}

static void what_a_process_exchanges_is_not_opened(void **state)
{
    (void) state;
    int fds[2];
    char name[64];
    int status = 0;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    assert_int_equal(ptsname_r(terminal, name, sizeof(name)), 0);
    int slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(slave >= 0);
    assert_int_equal(fstat(fds[0], &exchanged_pipe), 0);
    assert_int_equal(dup2(fds[1], PIPE_FD), PIPE_FD);
    assert_int_equal(dup2(slave, TERMINAL_FD), TERMINAL_FD);
    (void) close(fds[1]);
    exchanger = start_child(run_exchange);
    (void) close(PIPE_FD);
    (void) close(TERMINAL_FD);
    pid_t judge = start_child(run_reopening);
    assert_int_equal(waitpid(judge, &status, 0), judge);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
    end_child(exchanger);
    (void) close(fds[0]);
    (void) close(slave);
    (void) close(terminal);
}

static void a_name_full_of_traps_does_not_shift_the_fields(void **state)
{
    (void) state;
    static const char *const names[] = {") R 1 1 1 (", "a b)c\nd", "()))", "", ") Z 9 9 9 9"};
    struct proc_stat before;
    struct proc_stat after;
    char old[16];
    assert_int_equal(prctl(PR_GET_NAME, old), 0);
    assert_int_equal(proc_read_stat(getpid(), &before, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        assert_int_equal(prctl(PR_SET_NAME, names[i]), 0);
        assert_int_equal(proc_read_stat(getpid(), &after, NULL), 0);
        assert_int_equal(after.ppid, before.ppid);
        assert_int_equal(after.sid, before.sid);
        assert_int_equal(after.state, before.state);
        assert_int_equal(after.start_ticks, before.start_ticks);
    }
    assert_int_equal(prctl(PR_SET_NAME, old), 0);
}

static void a_process_that_is_gone_is_esrch(void **state)
{
    (void) state;
    struct proc_stat stat;
    struct err err = {0};
    pid_t pid = start_child(run_exit_7);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(proc_read_stat(pid, &stat, &err), -1);
    assert_int_equal(err.code, ESRCH);
    assert_int_equal(proc_read_start_ticks(pid), 0);
    assert_true(proc_is_dead(pid));
    assert_int_equal(proc_open_pidfd(pid, &err), -1);
    assert_int_equal(err.code, ESRCH);
    assert_int_equal(proc_reap(pid), 0);
}

static void a_child_is_seen_running_then_a_zombie_then_reaped(void **state)
{
    (void) state;
    struct proc_exit ended = {0};
    struct proc_stat stat;
    struct err err = {0};
    pid_t pid = start_child(run_pause);
    CLEANUP(close_fd) int pidfd = proc_open_pidfd(pid, &err);
    assert_true(pidfd >= 0);
    assert_true((fcntl(pidfd, F_GETFD) & FD_CLOEXEC) != 0);
    assert_int_equal(proc_wait_pidfd(pidfd, false, &ended, NULL), 0);
    assert_false(proc_is_dead(pid));
    assert_int_equal(kill(pid, SIGTERM), 0);
    assert_true(EVENTUALLY(proc_wait_pidfd(pidfd, false, &ended, NULL) == 1));
    assert_true(ended.known && ended.signaled && !ended.core_dumped);
    assert_int_equal(ended.code, SIGTERM);
    /* It was only looked at: the zombie still pins its number. */
    assert_int_equal(proc_read_stat(pid, &stat, NULL), 0);
    assert_int_equal(stat.state, 'Z');
    assert_true(proc_is_dead(pid));
    assert_int_equal(proc_wait_pidfd(pidfd, true, &ended, NULL), 1);
    assert_int_equal(proc_wait_pidfd(pidfd, true, &ended, &err), -1);
    assert_int_equal(err.code, ECHILD);
}

static void an_exit_code_and_a_plain_reap(void **state)
{
    (void) state;
    struct proc_exit ended = {0};
    pid_t pid = start_child(run_exit_7);
    CLEANUP(close_fd) int pidfd = proc_open_pidfd(pid, NULL);
    assert_true(EVENTUALLY(proc_wait_pidfd(pidfd, false, &ended, NULL) == 1));
    assert_true(ended.known && !ended.signaled);
    assert_int_equal(ended.code, 7);
    assert_int_equal(proc_reap(pid), 1);
    assert_int_equal(proc_reap(pid), 0);
    pid = start_child(run_pause);
    assert_int_equal(proc_reap(pid), 0);
    end_child(pid);
}

static void *live_on(void *arg)
{
    for (;;) {
        (void) pause();
    }
    return arg;
}

/* The main thread ends, the process goes on. */
static int run_without_main_thread(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, live_on, NULL) != 0) {
        return 1;
    }
    /* By number: pthread_exit would have to load libgcc to unwind. */
    (void) syscall(SYS_exit, 0);
    return 0;
}

static void a_process_whose_main_thread_has_ended_is_not_dead(void **state)
{
    (void) state;
    struct proc_stat stat = {0};
    struct proc_exit ended = {0};
    pid_t pid = start_child(run_without_main_thread);
    CLEANUP(close_fd) int pidfd = proc_open_pidfd(pid, NULL);
    assert_true(EVENTUALLY(proc_read_stat(pid, &stat, NULL) == 0 && stat.state == 'Z'));
    assert_int_equal(stat.threads, 2);
    assert_false(proc_is_dead(pid));
    assert_int_equal(proc_wait_pidfd(pidfd, false, &ended, NULL), 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_true(EVENTUALLY(proc_is_dead(pid)));
    assert_int_equal(proc_reap(pid), 1);
}

/* The folder in /proc of a process that changed its user belongs to root. */
static void the_uid_is_that_of_the_process_and_not_of_its_folder(void **state)
{
    (void) state;
    int ready[2];
    char byte = 0;
    uid_t uid = geteuid() == 0 ? 4711 : getuid();
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (setuid(uid) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0 || write(ready[1], "x", 1) != 1) {
            _exit(1);
        }
        for (;;) {
            (void) pause();
        }
    }
    (void) close(ready[1]);
    ssize_t n = read(ready[0], &byte, 1);
    uid_t found = proc_read_uid(pid);
    (void) close(ready[0]);
    end_child(pid);
    assert_int_equal(n, 1);
    assert_int_equal(found, uid);
    assert_int_equal(proc_read_uid(pid), 0);
}

static void children_are_listed_with_zombies(void **state)
{
    (void) state;
    pid_t pids[8] = {0};
    pid_t living = start_child(run_pause);
    pid_t zombie = start_child(run_exit_7);
    assert_true(EVENTUALLY(proc_is_dead(zombie)));
    assert_int_equal(proc_list_children(pids, 8), 2);
    assert_true((pids[0] == living && pids[1] == zombie) ||
                (pids[0] == zombie && pids[1] == living));
    pids[1] = -1;
    assert_int_equal(proc_list_children(pids, 1), 1);
    assert_int_equal(pids[1], -1);
    end_child(living);
    end_child(zombie);
    assert_int_equal(proc_list_children(pids, 8), 0);
}

static int run_vfork_of_a_sleeper(void)
{
    pid_t self = getpid();
    /* Until its child has executed something or ended, the parent stands in the kernel: state D. */
    /* NOLINTNEXTLINE(clang-analyzer-security.insecureAPI.vfork,clang-analyzer-unix.Vfork) */
    if (vfork() == 0) {
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == self) { /* it may have been ended before that */
            (void) pause();
        }
        _exit(0);
    }
    return 0;
}

static void the_wait_channel_is_read_or_empty(void **state)
{
    (void) state;
    char wchan[64] = "old";
    struct proc_stat stat = {0};
    pid_t pid = start_child(run_vfork_of_a_sleeper);
    assert_true(EVENTUALLY(proc_read_stat(pid, &stat, NULL) == 0 && stat.state == 'D'));
    proc_read_wchan(pid, wchan, sizeof(wchan));
    print_message("  wait channel: '%s'\n", wchan);
    assert_string_not_equal(wchan, "old");
    assert_string_not_equal(wchan, "0");
    end_child(pid);
    proc_read_wchan(pid, wchan, sizeof(wchan));
    assert_string_equal(wchan, "");
}

static void the_boot_id_is_a_uuid(void **state)
{
    (void) state;
    char id[40];
    char again[40];
    struct err err = {0};
    assert_int_equal(proc_read_boot_id(id, sizeof(id), NULL), 0);
    assert_int_equal(strlen(id), 36);
    assert_int_equal(proc_read_boot_id(again, sizeof(again), NULL), 0);
    assert_string_equal(id, again);
    assert_int_equal(proc_read_boot_id(again, 10, &err), -1);
}

/* --- the status of a process that is not our child ------------------------------------------ */

static int control[2];
static int report[2];

/* Reports its child's pid, and reaps it when told to. */
static int run_parent_of_another(void)
{
    char byte = 0;
    pid_t pid = fork();
    if (pid == 0) {
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void) !read(control[0], &byte, 1);
        (void) raise(SIGUSR2);
        _exit(0);
    }
    (void) !write(report[1], &pid, sizeof(pid));
    struct proc_stat stat;
    while (proc_read_stat(pid, &stat, NULL) == 0 && stat.state != 'Z') {
        (void) usleep(1000);
    }
    (void) !read(control[0], &byte, 1);
    (void) waitpid(pid, NULL, 0);
    (void) pause();
    return 0;
}

static void the_status_of_a_strangers_child_is_kept_in_its_pidfd(void **state)
{
    (void) state;
    struct err err = {0};
    struct proc_exit ended = {0};
    assert_int_equal(pipe2(control, O_CLOEXEC), 0);
    assert_int_equal(pipe2(report, O_CLOEXEC), 0);
    pid_t parent = start_child(run_parent_of_another);
    pid_t pid = 0;
    assert_int_equal(read(report[0], &pid, sizeof(pid)), sizeof(pid));
    CLEANUP(close_fd) int pidfd = proc_open_pidfd(pid, NULL);
    assert_int_equal(proc_wait_pidfd(pidfd, false, &ended, &err), -1);
    assert_int_equal(err.code, ECHILD);
    int rc = proc_read_pidfd_exit(pidfd, &ended, &err);
    if (rc < 0) {
        assert_int_equal(err.code, EOPNOTSUPP);
        end_child(parent);
        skip();
    }
    assert_int_equal(rc, 0);
    assert_int_equal(write(control[1], "x", 1), 1);
    assert_true(EVENTUALLY(proc_is_dead(pid)));
    assert_int_equal(proc_read_pidfd_exit(pidfd, &ended, &err), 0);
    assert_int_equal(write(control[1], "x", 1), 1);
    assert_true(EVENTUALLY((rc = proc_read_pidfd_exit(pidfd, &ended, &err)) != 0));
    assert_int_equal(rc, 1);
    assert_true(ended.known && ended.signaled);
    assert_int_equal(ended.code, SIGUSR2);
    end_child(parent);
    for (int i = 0; i < 2; i++) {
        (void) close(control[i]);
        (void) close(report[i]);
    }
}

static int run_traced(void)
{
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0) {
        return 1;
    }
    for (;;) {
        (void) raise(SIGUSR1); /* it stops for its tracer, which need not be asked to wait for it */
    }
}

static bool is_in_trace_stop(pid_t pid)
{
    CLEANUP(free) char *path = xasprintf("/proc/%d/stat", (int) pid);
    CLEANUP(free) char *text = NULL;
    size_t len = 0;
    return fd_read_file(AT_FDCWD, path, 4096, &text, &len, NULL) == 0 &&
           strstr(text, ") t ") != NULL;
}

static void a_stop_of_who_is_traced_is_no_end(void **state)
{
    (void) state;
    pid_t pid = start_child(run_traced);
    CLEANUP(close_fd) int pidfd = proc_open_pidfd(pid, NULL);
    struct proc_exit ended;
    assert_true(EVENTUALLY(is_in_trace_stop(pid)));
    assert_int_equal(proc_wait_pidfd(pidfd, false, &ended, NULL), 0);
    assert_int_equal(proc_wait_pidfd(pidfd, true, &ended, NULL), 0);
    assert_int_equal(ptrace(PTRACE_CONT, pid, NULL, NULL), 0);
    assert_true(EVENTUALLY(is_in_trace_stop(pid)));
    assert_int_equal(proc_reap(pid), 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_true(EVENTUALLY(proc_wait_pidfd(pidfd, false, &ended, NULL) == 1));
    assert_true(ended.signaled && ended.code == SIGKILL);
    assert_int_equal(proc_reap(pid), 1);
}

static void *trace_and_end(void *arg)
{
    (void) arg;
    return ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 ? arg : NULL;
}

static int run_traced_thread(void)
{
    int mark = 0;
    void *told = NULL;
    pthread_t thread;
    bool ok = pthread_create(&thread, NULL, trace_and_end, &mark) == 0 &&
              pthread_join(thread, &told) == 0 && told == &mark;
    return ok ? 7 : 1;
}

static void ended_threads_of_who_is_traced_are_reaped(void **state)
{
    (void) state;
    pid_t pid = start_child(run_traced_thread);
    CLEANUP(close_fd) int pidfd = proc_open_pidfd(pid, NULL);
    struct proc_exit ended;
    struct proc_stat stat = {0};
    assert_true(EVENTUALLY(proc_read_stat(pid, &stat, NULL) == 0 && stat.state == 'Z'));
    assert_int_equal(stat.threads, 2);
    assert_int_equal(proc_wait_pidfd(pidfd, false, &ended, NULL), 0);
    proc_reap_threads(pid);
    assert_true(EVENTUALLY(proc_wait_pidfd(pidfd, true, &ended, NULL) == 1));
    assert_true(!ended.signaled && ended.code == 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_stat_of_this_process_is_read),
        cmocka_unit_test(a_process_that_has_no_group_for_a_moment_is_asked_again),
        cmocka_unit_test(what_a_process_exchanges_is_not_opened),
        cmocka_unit_test(a_name_full_of_traps_does_not_shift_the_fields),
        cmocka_unit_test(a_process_that_is_gone_is_esrch),
        cmocka_unit_test(a_child_is_seen_running_then_a_zombie_then_reaped),
        cmocka_unit_test(an_exit_code_and_a_plain_reap),
        cmocka_unit_test(a_process_whose_main_thread_has_ended_is_not_dead),
        cmocka_unit_test(children_are_listed_with_zombies),
        cmocka_unit_test(a_stop_of_who_is_traced_is_no_end),
        cmocka_unit_test(ended_threads_of_who_is_traced_are_reaped),
        cmocka_unit_test(the_uid_is_that_of_the_process_and_not_of_its_folder),
        cmocka_unit_test(the_wait_channel_is_read_or_empty),
        cmocka_unit_test(the_boot_id_is_a_uuid),
        cmocka_unit_test(the_status_of_a_strangers_child_is_kept_in_its_pidfd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
