#include "edgible/spawn.h"

#include "edgible/fd.h"
#include "edgible/mem.h"
#include "edgible/proc.h"
#include "raw_child.h"
#include "spawn_block.h"
#include "spawn_child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *const stage_names[SPAWN_STAGE_COUNT] = {
    [SPAWN_STAGE_CGROUP] = "join the cgroup",
    [SPAWN_STAGE_SIGNALS] = "reset signals",
    [SPAWN_STAGE_SESSION] = "start a session",
    [SPAWN_STAGE_STDIO] = "set up stdin and output",
    [SPAWN_STAGE_LIMITS] = "restore limits",
    [SPAWN_STAGE_GROUPS] = "setgroups",
    [SPAWN_STAGE_GID] = "setgid",
    [SPAWN_STAGE_UID] = "setuid",
    [SPAWN_STAGE_CHDIR] = "chdir",
    [SPAWN_STAGE_RESTRICT] = "enter the sandbox",
    [SPAWN_STAGE_EXEC] = "exec",
};

const char *spawn_stage_name(enum spawn_stage stage)
{
    return (unsigned) stage < SPAWN_STAGE_COUNT ? stage_names[stage] : "unknown";
}

bool spawn_fault_is_host(const struct spawn_fault *fault)
{
    /* Nothing a specification says can make these stages fail. */
    if (fault->stage >= SPAWN_STAGE_CGROUP && fault->stage <= SPAWN_STAGE_LIMITS) {
        return true;
    }
    switch (fault->error) {
    case EAGAIN: /* RLIMIT_NPROC, pids.max */
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ETXTBSY: /* the program is being replaced just now */
    case EIO:
    case ESTALE:
    case ETIMEDOUT:
        return true;
    default:
        return false;
    }
}

static bool agent_is_oom_protected(void)
{
    CLEANUP(free) char *text = NULL;
    size_t len = 0;
    if (fd_read_file(AT_FDCWD, "/proc/self/oom_score_adj", 64, &text, &len, NULL) < 0) {
        return false;
    }
    return strtol(text, NULL, 10) < 0;
}

static bool agent_is_favoured(void)
{
    errno = 0;
    int nice_value = getpriority(PRIO_PROCESS, 0);
    return errno == 0 && nice_value < 0;
}

/* Both ways: the release to the child, its fault back. The child's end is not among 0 to 2, where
 * it puts other things. */
static int open_handshake(int *ret_agent, int *ret_child, struct err *err)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
        return err_set(err, ERR_HOST, "create the handshake: %m");
    }
    CLEANUP(close_fd) int agent_end = ends[0];
    CLEANUP(close_fd) int child_end = ends[1];
    if (child_end <= STDERR_FILENO) {
        int moved = fcntl(child_end, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        if (moved < 0) {
            return err_set(err, ERR_HOST, "move the handshake: %m");
        }
        (void) close(child_end);
        child_end = moved;
    }
    if (fd_set_nonblocking(agent_end, err) < 0) {
        return err_prefix(err, "handshake");
    }
    *ret_agent = steal_fd(&agent_end);
    *ret_child = steal_fd(&child_end);
    return 0;
}

/* Above the numbers where the child puts what it keeps. */
static int lift_fd(int fd, int *ret, struct err *err)
{
    *ret = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, SPAWN_KEPT_FDS) : -1;
    if (fd >= 0 && *ret < 0) {
        return err_set(err, ERR_HOST, "copy a descriptor for the new process: %m");
    }
    return 0;
}

void spawn_release(int handshake_fd)
{
    (void) send(handshake_fd, "", 1, MSG_NOSIGNAL);
}

/* Creates the child by one way: its pid in the parent, 0 in the child, -1 with errno. */
typedef pid_t create_way(int cgroup_fd, int *ret_pidfd);

/*
 * Neither CLONE_VM nor CLONE_VFORK: with them the thread of the loop would stand still until exec
 * is through, for ever where the program lies on a dead network file system.
 */
static pid_t create_by_clone3(int cgroup_fd, int *ret_pidfd)
{
    struct clone_args args = {
        .flags = CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
        .pidfd = (uint64_t) (uintptr_t) ret_pidfd,
        .exit_signal = SIGCHLD,
    };
    if (cgroup_fd >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (unsigned) cgroup_fd;
    }
    return (pid_t) syscall(SYS_clone3, &args, sizeof(args));
}

/* For Linux 5.3 and 5.4, and for a group that refuses us. */
static pid_t create_by_plain_clone3(int cgroup_fd, int *ret_pidfd)
{
    (void) cgroup_fd;
    struct clone_args args = {
        .flags = CLONE_PIDFD,
        .pidfd = (uint64_t) (uintptr_t) ret_pidfd,
        .exit_signal = SIGCHLD,
    };
    return (pid_t) syscall(SYS_clone3, &args, (size_t) CLONE_ARGS_SIZE_VER0);
}

/*
 * For seccomp filters that know no clone3 (Docker's answers ENOSYS). The system call itself, since
 * fork(3) of glibc writes to the heap in the child, which has none. CLONE_PIDFD came with
 * Linux 5.2; without it the pidfd is opened afterwards.
 */
static pid_t create_by_clone(int cgroup_fd, int *ret_pidfd)
{
    (void) cgroup_fd;
    *ret_pidfd = -1;
    /* The place of the pidfd is the third argument on every architecture. */
    long pid = syscall(SYS_clone, (unsigned long) CLONE_PIDFD | SIGCHLD, 0UL, ret_pidfd, 0UL, 0UL);
    if (pid < 0 && errno == EINVAL) {
        pid = syscall(SYS_clone, (unsigned long) SIGCHLD, 0UL, NULL, 0UL, 0UL);
    }
    return (pid_t) pid;
}

static create_way *const create_ways[] = {
    create_by_clone3,
    create_by_plain_clone3,
    create_by_clone,
};

/* Whether another way may work: seccomp filters answer EPERM or ENOSYS, old kernels E2BIG and
 * EINVAL, the rest is what CLONE_INTO_CGROUP adds (clone(2); EOPNOTSUPP, ENODEV and EACCES are in
 * the kernel's cgroup_css_set_fork). */
static bool is_worth_another_way(int error)
{
    switch (error) {
    case ENOSYS:
    case EPERM:
    case EINVAL:
    case E2BIG:
    case EACCES:
    case EBADF:
    case EBUSY:
    case ENODEV:
    case EOPNOTSUPP:
        return true;
    default:
        return false;
    }
}

/* Asked before clone: afterwards there would be a child to get rid of. */
static int check_pidfds(struct err *err)
{
    CLEANUP(close_fd) int fd = proc_open_pidfd(getpid(), NULL);
    if (fd >= 0) {
        return 0;
    }
    if (errno == ENOSYS || errno == EPERM || errno == EACCES) {
        return err_set(err, ERR_HOST,
                       "pidfd_open is refused (%m): workloads need Linux 5.3 or newer, and a "
                       "seccomp filter that lets it through");
    }
    return err_set(err, ERR_HOST, "pidfd_open: %m");
}

/* The pid, or -1. Does not return in the child. */
static pid_t create_child(struct child_plan *plan, int *ret_pidfd, struct err *err)
{
    int cgroup_fd = plan->request->cgroup_fd;
    bool joins = plan->request->joins_cgroup;
    for (size_t i = 0; i < ARRAY_LEN(create_ways); i++) {
        plan->join_cgroup = cgroup_fd >= 0 && (i > 0 || joins);
        if (create_ways[i] == create_by_clone && check_pidfds(err) < 0) {
            return -1;
        }
        pid_t pid = create_ways[i](joins ? -1 : cgroup_fd, ret_pidfd);
        if (pid == 0) {
            spawn_child_run(plan);
        }
        if (pid > 0) {
            return pid;
        }
        if (!is_worth_another_way(errno)) {
            break;
        }
    }
    return (pid_t) err_set(err, ERR_HOST, "create a process: %m");
}

struct creation {
    struct child_plan *plan;
    int *ret_pidfd;
    struct err *err;
};

static pid_t create(void *arg)
{
    const struct creation *creation = arg;
    return create_child(creation->plan, creation->ret_pidfd, creation->err);
}

int spawn(const struct spawn_request *request, struct spawned *ret, struct err *err)
{
    CLEANUP(close_fd) int agent_end = -1;
    CLEANUP(close_fd) int child_end = -1;
    if (open_handshake(&agent_end, &child_end, err) < 0) {
        return -1;
    }
    CLEANUP(spawn_block) struct spawn_block block;
    if (spawn_block_init(&block, request, err) < 0) {
        return -1;
    }
    CLEANUP(close_fd) int exec_fd = -1;
    CLEANUP(close_fd) int sandbox_fd = -1;
    if (lift_fd(request->exec_fd, &exec_fd, err) < 0 ||
        lift_fd(request->sandbox_fd, &sandbox_fd, err) < 0) {
        return -1;
    }
    block.request.exec_fd = exec_fd;
    block.request.sandbox_fd = sandbox_fd;
    struct child_plan plan = {
        .request = &block.request,
        .filter = request->filter != NULL ? &block.filter : NULL,
        .handshake_fd = child_end,
        .agent_fd = agent_end,
        .reset_oom = agent_is_oom_protected(),
        .reset_nice = agent_is_favoured(),
        .close_upto = raw_child_descriptors(),
    };
    CLEANUP(close_fd) int pidfd = -1;
    struct creation creation = {&plan, &pidfd, err};
    pid_t pid = raw_child_make(create, &creation, err);
    if (pid < 0) {
        return -1;
    }
    /* Closed before pidfd_open, so that there is room for that descriptor. */
    fd_close(&child_end);
    if (pidfd < 0) {
        pidfd = proc_open_pidfd(pid, NULL);
    }
    if (pidfd < 0) {
        int cause = errno;
        (void) kill(pid, SIGKILL);
        /* Where it is not dead yet, the agent's usual reaping of children gets it. */
        (void) proc_reap(pid);
        errno = cause;
        return err_set(err, ERR_HOST, "pidfd_open of the new process: %m");
    }
    *ret = (struct spawned){
        .pid = pid, .pidfd = steal_fd(&pidfd), .handshake_fd = steal_fd(&agent_end)};
    return 0;
}

enum spawn_outcome spawn_read_handshake(int handshake_fd, struct spawn_fault *ret_fault)
{
    struct spawn_fault fault;
    ssize_t n = read(handshake_fd, &fault, sizeof(fault));
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return SPAWN_PENDING;
    }
    if (n != (ssize_t) sizeof(fault)) {
        /* End of file: exec closed the other end, or the child died; its pidfd tells that. */
        return SPAWN_STARTED;
    }
    *ret_fault = fault;
    return SPAWN_FAULTED;
}

void spawn_find_paths(const char *argv0, const char *path, struct strv *ret_paths)
{
    if (strchr(argv0, '/') != NULL) {
        strv_add(ret_paths, argv0);
        return;
    }
    if (argv0[0] == '\0' || path == NULL) {
        return;
    }
    for (const char *at = path; *at != '\0';) {
        size_t len = strcspn(at, ":");
        if (len > 0 && at[0] == '/') {
            const char *slash = at[len - 1] == '/' ? "" : "/";
            strv_add_take(ret_paths, xasprintf("%.*s%s%s", (int) len, at, slash, argv0));
        }
        at += len;
        at += *at == ':' ? 1 : 0;
    }
}

int spawn_become_subreaper(struct err *err)
{
    /* Were SIGCHLD ignored, as some parents pass it on, the kernel would reap our children itself
     * and their status would be lost (waitid(2)). */
    if (signal(SIGCHLD, SIG_DFL) == SIG_ERR) {
        return err_set(err, errno, "reset SIGCHLD");
    }
    if (prctl(PR_SET_CHILD_SUBREAPER, 1UL, 0UL, 0UL, 0UL) < 0) {
        return err_set(err, errno, "become a child subreaper");
    }
    return 0;
}

int spawn_raise_open_files(struct rlimit *ret_before, struct rlimit *ret_now, struct err *err)
{
    struct rlimit before;
    if (getrlimit(RLIMIT_NOFILE, &before) < 0) {
        return err_set(err, errno, "read the limit of open files");
    }
    struct rlimit now = {.rlim_cur = before.rlim_max, .rlim_max = before.rlim_max};
    if (now.rlim_cur != before.rlim_cur && setrlimit(RLIMIT_NOFILE, &now) < 0) {
        return err_set(err, errno, "raise the limit of open files");
    }
    *ret_before = before;
    *ret_now = now;
    return 0;
}
