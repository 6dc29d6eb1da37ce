#include "spawn_child.h"

#include "raw_child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* 32-bit ARM and x86 have 16-bit ids under the plain names. */
#ifdef SYS_setresuid32
#define CHILD_SETRESUID SYS_setresuid32
#define CHILD_SETRESGID SYS_setresgid32
#define CHILD_SETGROUPS SYS_setgroups32
#else
#define CHILD_SETRESUID SYS_setresuid
#define CHILD_SETRESGID SYS_setresgid
#define CHILD_SETGROUPS SYS_setgroups
#endif

/* Where these are from the stdio stage on. */
#define HANDSHAKE_FD 3
#define EXEC_FD 4
#define SANDBOX_FD 5

/* The kernel's signal set: 8 bytes, 16 on MIPS. */
#define KERNEL_SIGNALS (_NSIG - 1)
#define KERNEL_SIGSET_BYTES ((size_t) KERNEL_SIGNALS / 8)

/* Without a cgroup the workload runs all the same: nothing but limits depends on it. */
static int join_cgroup(const struct child_plan *plan)
{
    if (!plan->join_cgroup) {
        return 0;
    }
    int fd = openat(plan->request->cgroup_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void) !write(fd, "0", 1);
        (void) close(fd);
    }
    return 0;
}

/*
 * By number: the C library refuses its own two signals (32, 33), and an ignored one would pass
 * through exec like any other. CLONE_CLEAR_SIGHAND leaves ignored signals ignored (clone(2)). All
 * zeroes is SIG_DFL with no flags in every architecture's struct sigaction.
 */
static int reset_signals(const struct child_plan *plan)
{
    (void) plan;
    static const unsigned long by_default[16];
    for (int sig = 1; sig <= KERNEL_SIGNALS; sig++) {
        if (sig != SIGKILL && sig != SIGSTOP &&
            syscall(SYS_rt_sigaction, sig, by_default, NULL, KERNEL_SIGSET_BYTES) < 0) {
            return errno;
        }
    }
    return 0;
}

/* Who has the agent's session keyring may read and change what is in it, whoever's it is. */
static int join_new_keyring(void)
{
    return syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 ? errno : 0;
}

static bool has_new_keyring; /* of this process: nothing is in it */

void spawn_leave_keyring(void)
{
    has_new_keyring = join_new_keyring() == 0;
}

/* Of keys, too. A kernel without keys, or a container that forbids them, has none to give away.
 * An ordinary user has about 200, and any process of that user can take them all, also before this
 * agent began: then only who is in a sandbox does not start, as keys of its user are new to it. */
static int start_session(const struct child_plan *plan)
{
    if (setsid() < 0) {
        return errno;
    }
    int rc = join_new_keyring();
    bool may_share = has_new_keyring || plan->request->sandbox_fd < 0;
    return rc == ENOSYS || rc == EPERM || (rc == EDQUOT && may_share) ? 0 : rc;
}

static int place_fd(int fd, int number)
{
    if (fd == number) {
        return fcntl(fd, F_SETFD, 0) < 0 ? errno : 0;
    }
    return dup2(fd, number) < 0 ? errno : 0;
}

static int keep_fd(int fd, int number)
{
    if (fd < 0) {
        (void) close(number);
        return 0;
    }
    return dup3(fd, number, O_CLOEXEC) < 0 ? errno : 0;
}

/* The order lets output_fd be any of 0, 1 and 2, and needs no free descriptor (EMFILE). */
static int set_stdio(const struct child_plan *plan)
{
    int output_fd = plan->request->output_fd;
    int rc = place_fd(output_fd, STDOUT_FILENO);
    if (rc == 0) {
        rc = place_fd(output_fd, STDERR_FILENO);
    }
    if (rc != 0) {
        return rc;
    }
    (void) close(STDIN_FILENO);
    int null_fd = open("/dev/null", O_RDONLY | O_NOCTTY);
    if (null_fd != STDIN_FILENO) {
        return null_fd < 0 ? errno : EBADF;
    }
    if (plan->handshake_fd != HANDSHAKE_FD &&
        dup3(plan->handshake_fd, HANDSHAKE_FD, O_CLOEXEC) < 0) {
        return errno;
    }
    rc = keep_fd(plan->request->exec_fd, EXEC_FD);
    if (rc == 0) {
        rc = keep_fd(plan->request->sandbox_fd, SANDBOX_FD);
    }
    /* Not marked close-on-exec: a child that hangs in chdir or exec on a dead file system would
     * else keep the agent's lock, socket and log pipes open, past the agent's own end. */
    raw_child_close(SPAWN_KEPT_FDS, ~0U, plan->close_upto);
    return rc;
}

/* Upwards needs no privilege. A read-only /proc is no reason not to run the workload. */
static void reset_oom_score(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void) !write(fd, "0", 1);
        (void) close(fd);
    }
}

static int reset_limits(const struct child_plan *plan)
{
    if (plan->reset_oom) {
        reset_oom_score();
    }
    if (plan->reset_nice && setpriority(PRIO_PROCESS, 0, 0) < 0) {
        return errno;
    }
    (void) umask(022);
    const struct spawn_request *request = plan->request;
    for (size_t i = 0; i < request->rlimit_count; i++) {
        if (setrlimit((__rlimit_resource_t) request->rlimits[i].resource,
                      &request->rlimits[i].limit) < 0) {
            return errno;
        }
    }
    return setrlimit(RLIMIT_NOFILE, &request->open_files) < 0 ? errno : 0;
}

static bool changes_creds(const struct child_plan *plan)
{
    return plan->request->creds != NULL && plan->request->creds->change;
}

/* In a user namespace or a container the kernel may refuse setgroups(2) whatever the groups are.
 * With the agent's own user and group no change of identity is asked for: the workload has the
 * agent's groups, too, which are all that could be given there. */
static bool keeps_identity(const struct creds *creds)
{
    return creds->uid == geteuid() && creds->gid == getegid();
}

static int set_groups(const struct child_plan *plan)
{
    const struct creds *creds = plan->request->creds;
    if (!changes_creds(plan)) {
        return 0;
    }
    if (syscall(CHILD_SETGROUPS, creds->group_count, creds->groups) < 0) {
        return errno == EPERM && keeps_identity(creds) ? 0 : errno;
    }
    int count = getgroups(0, NULL);
    return count < 0 || (size_t) count != creds->group_count ? EPERM : 0;
}

static int set_gid(const struct child_plan *plan)
{
    if (!changes_creds(plan)) {
        return 0;
    }
    gid_t gid = plan->request->creds->gid;
    if (syscall(CHILD_SETRESGID, gid, gid, gid) < 0) {
        return errno;
    }
    gid_t real = 0;
    gid_t effective = 0;
    gid_t saved = 0;
    if (getresgid(&real, &effective, &saved) < 0) {
        return errno;
    }
    return real == gid && effective == gid && saved == gid ? 0 : EPERM;
}

static int set_uid(const struct child_plan *plan)
{
    if (!changes_creds(plan)) {
        return 0;
    }
    uid_t uid = plan->request->creds->uid;
    if (syscall(CHILD_SETRESUID, uid, uid, uid) < 0) {
        return errno;
    }
    uid_t real = 0;
    uid_t effective = 0;
    uid_t saved = 0;
    if (getresuid(&real, &effective, &saved) < 0) {
        return errno;
    }
    return real == uid && effective == uid && saved == uid ? 0 : EPERM;
}

/* No path of a document leads through a link of /proc. Everything else that it leads through is
 * bounded by the rights that the child has by now. -1 with errno; ENOSYS where the kernel cannot
 * say (before Linux 5.6, or a filter). */
static int open_path(const char *path, unsigned flags)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC | flags, .resolve = RESOLVE_NO_MAGICLINKS};
    long fd = syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
    if (fd < 0 && errno == EPERM) {
        errno = ENOSYS;
    }
    return (int) fd;
}

static int enter_dir(const char *path)
{
    int fd = open_path(path, O_DIRECTORY);
    if (fd < 0) {
        return errno == ENOSYS ? chdir(path) : -1;
    }
    int rc = fchdir(fd);
    int error = errno;
    (void) close(fd);
    errno = error;
    return rc;
}

static int change_dir(const struct child_plan *plan)
{
    const struct spawn_request *request = plan->request;
    struct stat st;
    if (enter_dir(request->working_dir != NULL ? request->working_dir : "/") < 0) {
        return errno;
    }
    if (!request->is_dir_known) {
        return 0;
    }
    if (stat(".", &st) < 0) {
        return errno;
    }
    return st.st_dev == request->dir_dev && st.st_ino == request->dir_ino ? 0 : ESTALE;
}

/* Else what the agent was given as ambient or inheritable capabilities would pass through exec to
 * each program that it runs as its own user. Lowering the one lowers the other (capabilities(7)).
 */
static int drop_inheritable(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    if (syscall(SYS_capget, &header, data) < 0) {
        return errno;
    }
    data[0].inheritable = 0;
    data[1].inheritable = 0;
    return syscall(SYS_capset, &header, data) < 0 ? errno : 0;
}

static int restrict_self(const struct child_plan *plan)
{
    int rc = drop_inheritable();
    if (rc != 0) {
        return rc;
    }
    const struct spawn_request *request = plan->request;
    bool has_sandbox = request->sandbox_fd >= 0;
    if ((request->no_new_privs || has_sandbox) &&
        prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) < 0) {
        return errno;
    }
    if (has_sandbox && syscall(SYS_landlock_restrict_self, SANDBOX_FD, 0) < 0) {
        return errno;
    }
    return has_sandbox && plan->filter != NULL ? syscall_filter_enter(plan->filter) : 0;
}

/* 0, or the errno value for which the user cannot open it. */
static int try_open(const char *path)
{
    int fd = open_path(path, 0);
    if (fd < 0) {
        return errno;
    }
    (void) close(fd);
    return 0;
}

/* What was opened is what runs. A script's interpreter is given its name as /dev/fd/4, which is
 * there only while the descriptor outlives exec. */
static int execute_fd(const struct spawn_request *request)
{
    /* The agent opened it with its own rights: a user who cannot enter its folder cannot run it. */
    if (try_open(request->paths[0]) == EACCES) {
        return EACCES;
    }
    (void) syscall(SYS_execveat, EXEC_FD, "", request->argv, request->envp, AT_EMPTY_PATH);
    if (errno == ENOENT && fcntl(EXEC_FD, F_SETFD, 0) == 0) {
        (void) syscall(SYS_execveat, EXEC_FD, "", request->argv, request->envp, AT_EMPTY_PATH);
    }
    return errno == ENOENT ? ELIBACC : errno;
}

/* An errno value; ELIBACC: the file is there, but not what it names. */
static int execute_path(const struct spawn_request *request, const char *path)
{
    int opened = try_open(path);
    if (opened == ELOOP) {
        return ELOOP;
    }
    (void) execve(path, request->argv, request->envp);
    return errno == ENOENT && opened == 0 ? ELIBACC : errno;
}

/* As execvp(3), but that ENOEXEC is final: no shell is tried on what is no program. */
static int execute(const struct child_plan *plan)
{
    static const unsigned long no_signals[16];
    const struct spawn_request *request = plan->request;
    (void) prctl(PR_SET_PDEATHSIG, 0UL, 0UL, 0UL, 0UL);
    if (syscall(SYS_rt_sigprocmask, SIG_SETMASK, no_signals, NULL, KERNEL_SIGSET_BYTES) < 0) {
        return errno;
    }
    if (request->exec_fd >= 0) {
        return execute_fd(request);
    }
    bool forbidden = false;
    int last = ENOENT;
    for (char *const *path = request->paths; *path != NULL; path++) {
        last = execute_path(request, *path);
        if (last == EACCES) {
            forbidden = true;
        } else if (last != ENOENT && last != ENOTDIR && last != ELIBACC) {
            return last;
        }
    }
    return forbidden ? EACCES : last;
}

typedef int child_step(const struct child_plan *plan);

/* In the order of the enum; each returns 0 or an errno value. */
static child_step *const steps[SPAWN_STAGE_COUNT] = {
    [SPAWN_STAGE_CGROUP] = join_cgroup,    [SPAWN_STAGE_SIGNALS] = reset_signals,
    [SPAWN_STAGE_SESSION] = start_session, [SPAWN_STAGE_STDIO] = set_stdio,
    [SPAWN_STAGE_LIMITS] = reset_limits,   [SPAWN_STAGE_GROUPS] = set_groups,
    [SPAWN_STAGE_GID] = set_gid,           [SPAWN_STAGE_UID] = set_uid,
    [SPAWN_STAGE_CHDIR] = change_dir,      [SPAWN_STAGE_RESTRICT] = restrict_self,
    [SPAWN_STAGE_EXEC] = execute,
};

_Noreturn static void end(void)
{
    for (;;) {
        (void) syscall(SYS_exit_group, 127);
    }
}

/* Until the agent has written down who we are. Its own end of the handshake must not be held open
 * here: that it is closed is how its death is seen. */
static void wait_for_release(const struct child_plan *plan)
{
    char go = 0;
    ssize_t n = 0;
    (void) close(plan->agent_fd);
    do {
        n = read(plan->handshake_fd, &go, 1);
    } while (n < 0 && errno == EINTR);
    if (n != 1) {
        end();
    }
}

void spawn_child_run(const struct child_plan *plan)
{
    struct spawn_fault fault = {0};
    int handshake_fd = plan->handshake_fd;
    wait_for_release(plan);
    for (int stage = 0; stage < SPAWN_STAGE_COUNT && fault.error == 0; stage++) {
        fault = (struct spawn_fault){(enum spawn_stage) stage, steps[stage](plan)};
        if (stage == SPAWN_STAGE_STDIO && fault.error == 0) {
            handshake_fd = HANDSHAKE_FD;
        }
    }
    (void) send(handshake_fd, &fault, sizeof(fault), MSG_NOSIGNAL);
    end();
}
