/* What a child inherits, what fails where, and the ways of creating it that a system may refuse. */
#include "edgible/buf.h"
#include "edgible/cgroup.h"
#include "sys_test.h"

#include <pthread.h>
#include <pwd.h>
#include <sched.h>

/* --- what the child inherits ---------------------------------------------------------------- */

struct hostile_case {
    const char *name;
    bool deny_clone3, deny_close_range;
    int deny_error;
    bool drop;     /* to uid 65534 */
    bool no_stdio; /* the parent has 0 to 2 closed */
    int output_as; /* with no_stdio, the number of output_fd; -1: any */
    bool use_cgroup;
};

static char *show_state_path;

/* All that a child should not get to see. */
static int become_hostile(void)
{
    sigset_t all;
    for (int sig = 1; sig < 65; sig++) {
        if (sig != SIGKILL && sig != SIGSTOP && sig != SIGCHLD && sig != 32 && sig != 33) {
            CHECK(signal(sig, SIG_IGN) != SIG_ERR);
        }
    }
    (void) sigfillset(&all);
    CHECK(sigprocmask(SIG_SETMASK, &all, NULL) == 0);
    CHECK(open("/etc/passwd", O_RDONLY) >= 0); /* NOLINT(android-cloexec-open): that is the point */
    CHECK(fcntl(0, F_DUPFD, 200) >= 0);
    (void) umask(077);
    (void) !chdir("/usr");
    if (geteuid() == 0) {
        CHECK(setpriority(PRIO_PROCESS, 0, -5) == 0);
        /* Without CAP_SYS_RESOURCE this is refused, and nothing is there to restore. */
        int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
        (void) !write(fd, "-500", 4);
        (void) close(fd);
    }
    return 0;
}

static int deny_for(const struct hostile_case *test)
{
    int numbers[8] = {-1};
    int count = 0;
    if (test->deny_clone3) {
        numbers[count++] = SYS_clone3;
    }
    if (test->deny_close_range) {
        numbers[count++] = SYS_close_range;
    }
    numbers[count] = -1;
    return count > 0 ? deny_syscalls(numbers, test->deny_error) : 0;
}

/* Takes out the lines that depend on how the test itself was built or started. */
static void add_compared_lines(struct buf *to, char *text)
{
    char *rest = text;
    char *line = NULL;
    while ((line = strsep(&rest, "\n")) != NULL) {
        if (line[0] != '\0' && strncmp(line, "SigCgt", 6) != 0 &&
            strncmp(line, "NoNewPrivs", 10) != 0) {
            buf_printf(to, "%s\n", line);
        }
    }
}

static void add_expected_cgroup(struct buf *to, bool in_own_group)
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    char line[4096];
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, "0::", 3) == 0) {
            line[strcspn(line, "\n")] = '\0';
            bool is_top = strcmp(line, "0::/") == 0;
            buf_printf(to, "cgroup=%s%s\n", in_own_group && is_top ? "0::" : line,
                       in_own_group ? "/edgible-test-spawn/a.b" : "");
        }
    }
    if (file != NULL) {
        (void) fclose(file);
    }
}

static void add_expected(struct buf *to, const struct creds *creds, const struct rlimit *files,
                         bool in_own_group)
{
    /* In the order of /proc/PID/status. */
    buf_printf(to, "SigBlk=0000000000000000\nSigIgn=0000000000000000\n"
                   "CapInh=0000000000000000\nCapAmb=0000000000000000\n"
                   "fd=0 /dev/null\nfd=1 pipe\nfd=2 pipe\nleader=session group\n");
    buf_printf(to, "uid=%u %u %u\n", creds->uid, creds->uid, creds->uid);
    buf_printf(to, "gid=%u %u %u\ngroups=", creds->gid, creds->gid, creds->gid);
    gid_t own[256];
    int own_count = creds->change ? (int) creds->group_count : getgroups(256, own);
    for (int i = 0; i < own_count; i++) {
        buf_printf(to, "%s%u", i > 0 ? " " : "", creds->change ? creds->groups[i] : own[i]);
    }
    buf_printf(to, "\nnofile=%llu %llu\numask=022\nnice=0\npdeathsig=0\noom_score_adj=0\n",
               (unsigned long long) files->rlim_cur, (unsigned long long) files->rlim_max);
    add_expected_cgroup(to, in_own_group);
    buf_printf(to, "cwd=/tmp\nargv=state\nargv=two words\nenv=A=1\nenv=B=x y\n");
}

static int show_state_of_child(const struct hostile_case *test, const struct creds *creds,
                               struct cgroup_root *root, struct buf *ret_output,
                               struct rlimit *ret_files)
{
    char *const argv[] = {(char[]){"state"}, (char[]){"two words"}, NULL};
    char *const envp[] = {(char[]){"A=1"}, (char[]){"B=x y"}, NULL};
    char *const paths[] = {show_state_path, NULL};
    int ends[2];
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    if (test->no_stdio) {
        int high = fcntl(ends[0], F_DUPFD_CLOEXEC, 50);
        int high_output = fcntl(ends[1], F_DUPFD_CLOEXEC, 51);
        for (int fd = 0; fd < 3; fd++) {
            (void) close(fd);
        }
        (void) close(ends[0]);
        (void) close(ends[1]);
        ends[0] = high;
        ends[1] = high_output;
        if (test->output_as >= 0) {
            CHECK(dup3(ends[1], test->output_as, O_CLOEXEC) >= 0);
            (void) close(ends[1]);
            ends[1] = test->output_as;
        }
    }
    struct spawn_request request = usual_request(argv, envp);
    request.paths = paths;
    request.working_dir = "/tmp";
    request.creds = creds;
    request.output_fd = ends[1];
    request.open_files.rlim_cur = 300;
    *ret_files = request.open_files;
    CLEANUP(close_fd) int cgroup_fd = root != NULL ? cgroup_make(root, "a.b", NULL, NULL) : -1;
    request.cgroup_fd = cgroup_fd;
    struct spawned child;
    struct err err = {0};
    int rc = spawn(&request, &child, &err);
    spawn_release(child.handshake_fd);
    CHECK(rc == 0);
    CHECK(close(ends[1]) == 0);
    struct spawn_fault fault = {0};
    CHECK(await_handshake(child.handshake_fd, &fault) == SPAWN_STARTED);
    char *text = NULL;
    size_t len = 0;
    CHECK(fd_read_all(ends[0], 1 << 20, &text, &len, NULL) == 0);
    add_compared_lines(ret_output, text);
    free(text);
    struct proc_exit ended = await_exit(child.pidfd);
    CHECK(ended.known && !ended.signaled && ended.code == 0);
    (void) close(child.handshake_fd);
    (void) close(child.pidfd);
    return 0;
}

static int play_hostile(const void *arg)
{
    const struct hostile_case *test = arg;
    CLEANUP(buf) struct buf expected = {0};
    CLEANUP(buf) struct buf got = {0};
    struct err err = {0};
    /* cmocka's stderr goes along when 0 to 2 are closed. */
    CLEANUP(close_fd) int report = fcntl(2, F_DUPFD_CLOEXEC, 100);
    CLEANUP(creds) struct creds *creds = creds_lookup(test->drop ? "nobody" : NULL, NULL, &err);
    CHECK(creds != NULL);
    CLEANUP(cgroup_root)
    struct cgroup_root *root = test->use_cgroup ? cgroup_root_open("test-spawn", NULL) : NULL;
    CHECK(become_hostile() == 0);
    CHECK(deny_for(test) == 0);
    struct rlimit files = {0};
    int rc = show_state_of_child(test, creds, root, &got, &files);
    add_expected(&expected, creds, &files, root != NULL);
    if (root != NULL) {
        (void) cgroup_remove(root, "a.b");
    }
    if (rc != 0 || strcmp(buf_str(&got), buf_str(&expected)) != 0) {
        (void) dprintf(report, "--- %s: expected\n%s--- got\n%s", test->name, buf_str(&expected),
                       buf_str(&got));
        return 1;
    }
    return 0;
}

static void a_child_inherits_nothing_of_a_hostile_parent(void **state)
{
    (void) state;
    // clang-format off
    static const struct hostile_case cases[] = {
        {.name = "plain"},
        {.name = "dropped to another user", .drop = true},
        {.name = "no stdio in the parent", .no_stdio = true, .output_as = -1},
        {.name = "the output is descriptor 0", .no_stdio = true, .output_as = 0},
        {.name = "the output is descriptor 1", .no_stdio = true, .output_as = 1},
        {.name = "the output is descriptor 2", .no_stdio = true, .output_as = 2},
        {.name = "clone3 is unknown", .deny_clone3 = true, .deny_error = ENOSYS},
        {.name = "clone3 is forbidden", .deny_clone3 = true, .deny_error = EPERM, .drop = true},
        {.name = "no close_range", .deny_close_range = true, .deny_error = ENOSYS},
        {.name = "neither, no stdio", .deny_clone3 = true, .deny_close_range = true,
         .deny_error = ENOSYS, .no_stdio = true, .output_as = 1},
        {.name = "in a cgroup", .use_cgroup = true, .drop = true},
        {.name = "in a cgroup without clone3", .use_cgroup = true, .deny_clone3 = true,
         .deny_error = ENOSYS},
    };
    // clang-format on
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (cases[i].drop && geteuid() != 0) {
            continue;
        }
        print_message("  %s\n", cases[i].name);
        assert_int_equal(run_scenario(play_hostile, &cases[i]), 0);
    }
}

/* --- the heap, which no child gets ---------------------------------------------------------- */

enum heap_way { WAY_CLONE3, WAY_PLAIN_CLONE3, WAY_CLONE, WAY_CLONE_WITHOUT_PIDFD };

static int leave_only(enum heap_way way)
{
    /* The size of struct clone_args, which is 64 bytes at first, 80 and 88 later. */
    if (way == WAY_PLAIN_CLONE3) {
        return deny_argument(SYS_clone3, 1, 0x18, E2BIG);
    }
    if (way == WAY_CLONE_WITHOUT_PIDFD && deny_argument(SYS_clone, 0, CLONE_PIDFD, EINVAL) < 0) {
        return -1;
    }
    return way == WAY_CLONE3 ? 0 : deny_syscalls((const int[]){SYS_clone3, -1}, ENOSYS);
}

/* 1: a heap is in the map of the process; with a flag, one of its areas has that flag. */
static int has_heap(pid_t pid, const char *flag)
{
    CLEANUP(free) char *path = xasprintf("/proc/%d/smaps", (int) pid);
    FILE *file = fopen(path, "re");
    char line[4096];
    bool in_heap = false;
    int found = file != NULL ? 0 : -1;
    while (file != NULL && found == 0 && fgets(line, sizeof(line), file) != NULL) {
        bool is_flags = strncmp(line, "VmFlags:", 8) == 0;
        bool is_end = is_flags && in_heap;
        in_heap = !is_end && (in_heap || strstr(line, "[heap]") != NULL);
        found = flag == NULL ? in_heap : is_end && strstr(line, flag) != NULL;
    }
    if (file != NULL) {
        (void) fclose(file);
    }
    return found;
}

static void *stand(void *arg)
{
    (void) pause();
    return arg;
}

/* What glibc's fork has to put in order in the child: the name service, and locks of threads. */
static int make_fork_heavy(void)
{
    pthread_t thread;
    (void) getpwnam("nobody");
    CHECK(pthread_create(&thread, NULL, stand, NULL) == 0);
    return 0;
}

static int play_hidden_heap(const void *arg)
{
    char *const argv[] = {(char[]){"/bin/true"}, NULL};
    char *const envp[] = {NULL};
    CLEANUP(close_fd) int output = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct spawn_request request = usual_request(argv, envp);
    request.output_fd = output;
    CHECK(make_fork_heavy() == 0);
    CHECK(leave_only(*(const enum heap_way *) arg) == 0);
    struct spawned child;
    struct err err = {0};
    CHECK(spawn(&request, &child, &err) == 0);
    CHECK(has_heap(child.pid, NULL) == 0);
    CHECK(has_heap(getpid(), " dc") == 0);
    spawn_release(child.handshake_fd);
    struct spawn_fault fault = {0};
    CHECK(await_handshake(child.handshake_fd, &fault) == SPAWN_STARTED);
    struct proc_exit ended = await_exit(child.pidfd);
    CHECK(ended.known && !ended.signaled && ended.code == 0);
    pid_t pid = fork();
    if (pid == 0) {
        _exit(7);
    }
    int status = 0;
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    return 0;
}

static void every_way_of_creating_does_without_the_heap_and_leaves_it_to_other_forks(void **state)
{
    (void) state;
    for (enum heap_way way = WAY_CLONE3; way <= WAY_CLONE_WITHOUT_PIDFD; way++) {
        assert_int_equal(run_scenario(play_hidden_heap, &way), 0);
    }
}

/* --- what fails, and where ------------------------------------------------------------------ */

static char folder[] = "/tmp/edgible-spawn-XXXXXX";

static char *make_file(const char *name, const char *text, mode_t mode)
{
    char *path = xasprintf("%s/%s", folder, name);
    CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, text, strlen(text), NULL), 0);
    assert_int_equal(fchmod(fd, mode), 0);
    return path;
}

struct fault_case {
    const char *paths[4]; /* "@name" is in the test's folder */
    const char *dir;
    enum spawn_stage stage;
    int error; /* 0: it starts */
    bool is_host;
};

// clang-format off
static const struct fault_case fault_cases[] = {
    {{"@missing"},                         NULL,           SPAWN_STAGE_EXEC,  ENOENT,  false},
    {{"@plain/below"},                     NULL,           SPAWN_STAGE_EXEC,  ENOTDIR, false},
    {{"@plain"},                           NULL,           SPAWN_STAGE_EXEC,  EACCES,  false},
    {{"/"},                                NULL,           SPAWN_STAGE_EXEC,  EACCES,  false},
    {{"@no-program"},                      NULL,           SPAWN_STAGE_EXEC,  ENOEXEC, false},
    {{"@lost-interpreter"},                NULL,           SPAWN_STAGE_EXEC,  ELIBACC, false},
    {{NULL},                               NULL,           SPAWN_STAGE_EXEC,  ENOENT,  false},
    {{"@missing", "@plain", "@missing"},   NULL,           SPAWN_STAGE_EXEC,  EACCES,  false},
    {{"@no-program", "/bin/true"},         NULL,           SPAWN_STAGE_EXEC,  ENOEXEC, false},
    {{"@missing", "@plain", "/bin/true"},  NULL,           SPAWN_STAGE_EXEC,  0,       false},
    {{"@plain/below", "/bin/true"},        NULL,           SPAWN_STAGE_EXEC,  0,       false},
    {{"@busy"},                            NULL,           SPAWN_STAGE_EXEC,  ETXTBSY, true },
    {{"/bin/true"},                        "/nonexistent", SPAWN_STAGE_CHDIR, ENOENT,  false},
    {{"/bin/true"},                        "/etc/passwd",  SPAWN_STAGE_CHDIR, ENOTDIR, false},
};
// clang-format on

static void run_fault_case(const struct fault_case *test)
{
    char *paths[5] = {0};
    for (size_t i = 0; i < 4 && test->paths[i] != NULL; i++) {
        const char *path = test->paths[i];
        paths[i] = path[0] == '@' ? xasprintf("%s/%s", folder, path + 1) : xstrdup(path);
    }
    char *const argv[] = {(char[]){"x"}, NULL};
    char *const envp[] = {NULL};
    CLEANUP(close_fd) int output = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct spawn_request request = usual_request(argv, envp);
    request.paths = paths;
    request.output_fd = output;
    request.working_dir = test->dir;
    struct spawned child;
    assert_int_equal(spawn(&request, &child, NULL), 0);
    spawn_release(child.handshake_fd);
    struct spawn_fault fault = {0};
    enum spawn_outcome outcome = await_handshake(child.handshake_fd, &fault);
    assert_int_equal(outcome, test->error != 0 ? SPAWN_FAULTED : SPAWN_STARTED);
    struct proc_exit ended = await_exit(child.pidfd);
    assert_true(ended.known);
    if (test->error != 0) {
        assert_int_equal(fault.error, test->error);
        assert_int_equal(fault.stage, test->stage);
        assert_int_equal(spawn_fault_is_host(&fault), test->is_host);
        assert_int_equal(ended.code, 127);
    } else {
        assert_int_equal(ended.code, 0);
    }
    (void) close(child.handshake_fd);
    (void) close(child.pidfd);
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        free(paths[i]);
    }
}

static void a_fault_in_the_child_comes_back_with_stage_and_errno(void **state)
{
    (void) state;
    assert_non_null(mkdtemp(folder));
    char *files[] = {
        make_file("plain", "text", 0644),
        make_file("no-program", "just text\n", 0755),
        make_file("lost-interpreter", "#!/nonexistent/interpreter\n", 0755),
        make_file("busy", "\177ELF", 0755),
    };
    CLEANUP(close_fd) int busy = open(files[3], O_WRONLY | O_CLOEXEC);
    assert_true(busy >= 0);
    for (size_t i = 0; i < ARRAY_LEN(fault_cases); i++) {
        run_fault_case(&fault_cases[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        (void) unlink(files[i]);
        free(files[i]);
    }
    (void) rmdir(folder);
}

static void a_handshake_is_pending_until_something_comes(void **state)
{
    (void) state;
    int ends[2];
    struct spawn_fault fault = {0};
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(spawn_read_handshake(ends[0], &fault), SPAWN_PENDING);
    struct spawn_fault sent = {SPAWN_STAGE_CHDIR, EIO};
    assert_int_equal(write(ends[1], &sent, sizeof(sent)), sizeof(sent));
    assert_int_equal(spawn_read_handshake(ends[0], &fault), SPAWN_FAULTED);
    assert_int_equal(fault.error, EIO);
    assert_string_equal(spawn_stage_name(fault.stage), "chdir");
    (void) close(ends[1]);
    assert_int_equal(spawn_read_handshake(ends[0], &fault), SPAWN_STARTED);
    (void) close(ends[0]);
}

static void every_stage_has_a_name_and_host_faults_are_told_apart(void **state)
{
    (void) state;
    for (int stage = 0; stage < SPAWN_STAGE_COUNT; stage++) {
        assert_string_not_equal(spawn_stage_name((enum spawn_stage) stage), "unknown");
    }
    assert_string_equal(spawn_stage_name(SPAWN_STAGE_COUNT), "unknown");
    // clang-format off
    static const struct {
        struct spawn_fault fault;
        bool is_host;
    } cases[] = {
        {{SPAWN_STAGE_EXEC, EAGAIN},  true },
        {{SPAWN_STAGE_EXEC, ENOMEM},  true },
        {{SPAWN_STAGE_EXEC, ENFILE},  true },
        {{SPAWN_STAGE_EXEC, EIO},     true },
        {{SPAWN_STAGE_EXEC, E2BIG},   false},
        {{SPAWN_STAGE_EXEC, EPERM},   false},
        {{SPAWN_STAGE_UID, EPERM},    false},
        {{SPAWN_STAGE_UID, EAGAIN},   true },
        {{SPAWN_STAGE_STDIO, ENOENT}, true },
    };
    // clang-format on
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(spawn_fault_is_host(&cases[i].fault), cases[i].is_host);
    }
}

/* --- the host refuses ----------------------------------------------------------------------- */

static int try_spawn(struct spawned *ret, const struct creds *creds, struct err *err)
{
    char *const argv[] = {(char[]){"/bin/true"}, NULL};
    char *const envp[] = {NULL};
    struct spawn_request request = usual_request(argv, envp);
    request.output_fd = STDERR_FILENO;
    request.creds = creds;
    int rc = spawn(&request, ret, err);
    if (rc == 0) {
        spawn_release(ret->handshake_fd);
    }
    return rc;
}

static int check_true_runs(void)
{
    struct spawned child;
    struct spawn_fault fault;
    CHECK(try_spawn(&child, NULL, NULL) == 0);
    CHECK(await_handshake(child.handshake_fd, &fault) == SPAWN_STARTED);
    struct proc_exit ended = await_exit(child.pidfd);
    CHECK(ended.known && !ended.signaled && ended.code == 0);
    return 0;
}

/* arg: how many descriptors are free */
static int play_few_descriptors(const void *arg)
{
    int free_fds = *(const int *) arg;
    struct rlimit limit = {.rlim_cur = 64, .rlim_max = 64};
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    int last = -1;
    for (int fd = 0; (fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;) {
        last = fd;
    }
    for (int i = 0; i < free_fds; i++) {
        (void) close(last - i);
    }
    if (free_fds >= 3) {
        return check_true_runs();
    }
    struct spawned child;
    struct err err = {0};
    CHECK(try_spawn(&child, NULL, &err) < 0);
    CHECK(err.code == ERR_HOST);
    CHECK(strstr(err.msg, "Too many open files") != NULL);
    CHECK(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
    return 0;
}

static void a_full_descriptor_table_is_the_hosts_fault_and_three_suffice(void **state)
{
    (void) state;
    for (int free_fds = 0; free_fds <= 3; free_fds++) {
        assert_int_equal(run_scenario(play_few_descriptors, &free_fds), 0);
    }
}

static int play_few_descriptors_without_clone3(const void *arg)
{
    CHECK(deny_syscalls((const int[]){SYS_clone3, -1}, ENOSYS) == 0);
    return play_few_descriptors(arg);
}

static void three_descriptors_suffice_without_clone3(void **state)
{
    (void) state;
    int free_fds = 3;
    assert_int_equal(run_scenario(play_few_descriptors_without_clone3, &free_fds), 0);
}

static int play_no_pidfds(const void *arg)
{
    (void) arg;
    CHECK(deny_syscalls((const int[]){SYS_clone3, SYS_pidfd_open, -1}, EPERM) == 0);
    struct spawned child;
    struct err err = {0};
    CHECK(try_spawn(&child, NULL, &err) < 0);
    CHECK(err.code == ERR_HOST);
    CHECK(strstr(err.msg, "pidfd_open is refused") != NULL);
    CHECK(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
    return 0;
}

static void without_any_pidfd_it_says_so_and_leaves_no_child(void **state)
{
    (void) state;
    assert_int_equal(run_scenario(play_no_pidfds, NULL), 0);
}

static int play_process_limit(const void *arg)
{
    (void) arg;
    CLEANUP(creds) struct creds *creds = creds_lookup("nobody", NULL, NULL);
    CHECK(creds != NULL);
    /* Only who has processes already can have too many (flag_nproc_exceeded in the kernel). */
    pid_t first = fork();
    if (first == 0) {
        (void) syscall(SYS_setresuid, creds->uid, creds->uid, creds->uid);
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void) pause();
    }
    struct proc_stat seen;
    CHECK(EVENTUALLY(proc_read_stat(first, &seen, NULL) == 0 && seen.state == 'S'));
    struct rlimit none = {0, 0};
    CHECK(setrlimit(RLIMIT_NPROC, &none) == 0);
    struct spawned child;
    struct spawn_fault fault = {0};
    CHECK(try_spawn(&child, creds, NULL) == 0);
    enum spawn_outcome outcome = await_handshake(child.handshake_fd, &fault);
    CHECK(kill(first, SIGKILL) == 0);
    CHECK(outcome == SPAWN_FAULTED);
    CHECK(fault.error == EAGAIN);
    CHECK(spawn_fault_is_host(&fault));
    return 0;
}

static void a_users_process_limit_is_the_hosts_fault(void **state)
{
    (void) state;
    if (geteuid() != 0) {
        skip();
    }
    assert_int_equal(run_scenario(play_process_limit, NULL), 0);
}

static int play_no_privilege(const void *arg)
{
    (void) arg;
    if (geteuid() == 0) {
        CHECK(syscall(SYS_setresuid, 65534, 65534, 65534) == 0);
    }
    gid_t groups[] = {1};
    struct creds creds = {.uid = 1, .gid = 1, .groups = groups, .group_count = 1, .change = true};
    struct spawned child;
    struct spawn_fault fault = {0};
    CHECK(try_spawn(&child, &creds, NULL) == 0);
    CHECK(await_handshake(child.handshake_fd, &fault) == SPAWN_FAULTED);
    CHECK(fault.stage == SPAWN_STAGE_GROUPS && fault.error == EPERM);
    CHECK(!spawn_fault_is_host(&fault));
    return 0;
}

static void an_ordinary_user_cannot_change_users(void **state)
{
    (void) state;
    assert_int_equal(run_scenario(play_no_privilege, NULL), 0);
}

/* --- the rest ------------------------------------------------------------------------------- */

static void a_bare_name_is_looked_for_in_absolute_entries_alone(void **state)
{
    (void) state;
    static const struct {
        const char *argv0, *path, *expected;
    } cases[] = {
        {"sh",      "/bin:/usr/bin/", "/bin/sh /usr/bin/sh "},
        {"sh",      "::.:bin:/bin:",  "/bin/sh "            },
        {"sh",      "",               ""                    },
        {"sh",      NULL,             ""                    },
        {"",        "/bin",           ""                    },
        {"./sh",    "/bin",           "./sh "               },
        {"/bin/sh", "/usr",           "/bin/sh "            },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(strv) struct strv paths = {0};
        CLEANUP(buf) struct buf joined = {0};
        spawn_find_paths(cases[i].argv0, cases[i].path, &paths);
        for (size_t k = 0; k < paths.count; k++) {
            buf_printf(&joined, "%s ", paths.items[k]);
        }
        assert_string_equal(buf_str(&joined), cases[i].expected);
    }
}

static int play_raise_open_files(const void *arg)
{
    (void) arg;
    struct rlimit low = {.rlim_cur = 64, .rlim_max = 128};
    struct rlimit before;
    struct rlimit now;
    CHECK(setrlimit(RLIMIT_NOFILE, &low) == 0);
    CHECK(spawn_raise_open_files(&before, &now, NULL) == 0);
    CHECK(before.rlim_cur == 64 && before.rlim_max == 128);
    CHECK(now.rlim_cur == 128 && now.rlim_max == 128);
    CHECK(getrlimit(RLIMIT_NOFILE, &low) == 0 && low.rlim_cur == 128);
    return 0;
}

static void the_soft_limit_of_open_files_is_raised_and_remembered(void **state)
{
    (void) state;
    assert_int_equal(run_scenario(play_raise_open_files, NULL), 0);
}

static int play_subreaper(const void *arg)
{
    (void) arg;
    CHECK(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
    CHECK(spawn_become_subreaper(NULL) == 0);
    int is_subreaper = 0;
    CHECK(prctl(PR_GET_CHILD_SUBREAPER, &is_subreaper) == 0 && is_subreaper == 1);
    /* An ignored SIGCHLD would have the status lost. */
    return check_true_runs();
}

static void a_subreaper_gets_the_status_of_its_children(void **state)
{
    (void) state;
    assert_int_equal(run_scenario(play_subreaper, NULL), 0);
}

static void spawning_does_not_change_the_signal_mask(void **state)
{
    (void) state;
    sigset_t before;
    sigset_t after;
    assert_int_equal(sigprocmask(SIG_SETMASK, NULL, &before), 0);
    assert_int_equal(check_true_runs(), 0);
    assert_int_equal(sigprocmask(SIG_SETMASK, NULL, &after), 0);
    for (int sig = 1; sig < _NSIG; sig++) {
        assert_int_equal(sigismember(&before, sig), sigismember(&after, sig));
    }
}

int main(void)
{
    show_state_path = public_helper("show_state");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way_of_creating_does_without_the_heap_and_leaves_it_to_other_forks),
        cmocka_unit_test(a_child_inherits_nothing_of_a_hostile_parent),
        cmocka_unit_test(a_fault_in_the_child_comes_back_with_stage_and_errno),
        cmocka_unit_test(a_handshake_is_pending_until_something_comes),
        cmocka_unit_test(every_stage_has_a_name_and_host_faults_are_told_apart),
        cmocka_unit_test(a_full_descriptor_table_is_the_hosts_fault_and_three_suffice),
        cmocka_unit_test(three_descriptors_suffice_without_clone3),
        cmocka_unit_test(without_any_pidfd_it_says_so_and_leaves_no_child),
        cmocka_unit_test(a_users_process_limit_is_the_hosts_fault),
        cmocka_unit_test(an_ordinary_user_cannot_change_users),
        cmocka_unit_test(a_bare_name_is_looked_for_in_absolute_entries_alone),
        cmocka_unit_test(the_soft_limit_of_open_files_is_raised_and_remembered),
        cmocka_unit_test(a_subreaper_gets_the_status_of_its_children),
        cmocka_unit_test(spawning_does_not_change_the_signal_mask),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (show_state_path != NULL) {
        (void) unlink(show_state_path);
    }
    free(show_state_path);
    return failed;
}
