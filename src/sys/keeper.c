#include "edgible/keeper.h"

#include "edgible/fd.h"
#include "edgible/mem.h"
#include "edgible/proc.h"
#include "keeper_child.h"
#include "proc_priv.h"
#include "raw_child.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define END_WAIT_MS 50

/* --- this agent's --------------------------------------------------------------------------------
 */

/* Where the arguments of this process stand in its memory, which the child's `ps` shows;
 * proc_pid_stat(5): fields 48 and 49. */
static void find_arguments(struct keeper_plan *plan)
{
    CLEANUP(free) char *text = NULL;
    size_t len = 0;
    if (fd_read_file(AT_FDCWD, "/proc/self/stat", 4096, &text, &len, NULL) < 0) {
        return;
    }
    char *at = strrchr(text, ')');
    for (int field = 2; at != NULL && field < 48; field++) {
        at = strchr(at + 1, ' ');
    }
    if (at != NULL) {
        plan->arguments = (uintptr_t) strtoull(at, &at, 10);
        plan->arguments_end = (uintptr_t) strtoull(at, NULL, 10);
    }
}

/* Any kernel and filter has this system call. */
static pid_t create(void *arg)
{
    long pid = syscall(SYS_clone, (unsigned long) SIGCHLD, 0UL, NULL, 0UL, 0UL);
    if (pid == 0) {
        keeper_child_run(arg);
    }
    return (pid_t) pid;
}

/* The child has no heap: what it is told, and what it keeps, is in memory of its own. */
static int make_memory(const struct keeper_end *ends, size_t count, struct keeper_plan *plan,
                       struct err *err)
{
    size_t held_bytes = KEEPER_SLOTS * sizeof(*plan->held);
    plan->bytes = held_bytes + count * sizeof(*ends);
    void *mem = mmap(NULL, plan->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mem == MAP_FAILED) {
        return err_set(err, ERR_HOST, "memory for the keeper of log pipes: %m");
    }
    plan->held = mem;
    plan->ends = (struct keeper_end *) (plan->held + KEEPER_SLOTS);
    plan->count = count;
    if (count > 0) {
        memcpy(plan->ends, ends, count * sizeof(*ends));
    }
    return 0;
}

int keeper_start(const struct keeper_end *ends_held, size_t count, struct keeper *ret,
                 struct err *err)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
        return err_set(err, ERR_HOST, "make a socket for the keeper of log pipes: %m");
    }
    CLEANUP(close_fd) int own = ends[0];
    CLEANUP(close_fd) int its = ends[1];
    if (fd_set_nonblocking(own, err) < 0) {
        return -1;
    }
    struct keeper_plan plan = {.socket = its, .close_upto = raw_child_descriptors()};
    if (make_memory(ends_held, count, &plan, err) < 0) {
        return -1;
    }
    find_arguments(&plan);
    pid_t pid = raw_child_make(create, &plan, err);
    int error = errno;
    (void) munmap(plan.held, plan.bytes);
    errno = error;
    if (pid < 0) {
        return err_set(err, ERR_HOST, "make the keeper of log pipes: %m");
    }
    *ret = (struct keeper){.pid = pid,
                           .start_ticks = proc_read_start_ticks(pid),
                           .pidfd = proc_open_pidfd(pid, NULL),
                           .socket = steal_fd(&own)};
    return 0;
}

int keeper_hold(const struct keeper *keeper, unsigned slot, int fd, struct err *err)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec data = {.iov_base = &slot, .iov_len = sizeof(slot)};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof(control);
        control.header = (struct cmsghdr){
            .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
    }
    ssize_t n = 0;
    do {
        n = sendmsg(keeper->socket, &message, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? err_set(err, errno, "tell the keeper of log pipes") : 0;
}

void keeper_end(struct keeper *keeper)
{
    if (keeper->pid > 0) {
        proc_signal(keeper->pidfd, keeper->pid, SIGKILL);
        /* To close a pipe takes its lock as well, so it need not end: then it is left behind. */
        struct pollfd end = {.fd = keeper->pidfd, .events = POLLIN};
        (void) poll(&end, 1, END_WAIT_MS);
        (void) proc_reap(keeper->pid);
    }
    keeper_leave(keeper);
}

void keeper_leave(struct keeper *keeper)
{
    if (keeper->pid > 0) {
        fd_close(&keeper->socket);
        fd_close(&keeper->pidfd);
    }
    keeper->pid = 0;
}

/* --- an earlier agent's --------------------------------------------------------------------------
 */

static int compare_pipes(const void *a, const void *b)
{
    const struct keeper_pipe *x = a, *y = b;
    return x->inode < y->inode ? -1 : x->inode > y->inode;
}

/* One that has another name is another process, whatever a record says. */
static bool is_keeper(pid_t pid)
{
    char path[32];
    (void) snprintf(path, sizeof(path), "/proc/%d/comm", (int) pid);
    CLEANUP(free) char *name = NULL;
    size_t len = 0;
    return fd_read_file(AT_FDCWD, path, 64, &name, &len, NULL) == 0 &&
           strcmp(name, KEEPER_NAME "\n") == 0;
}

static int list_pipes(pid_t pid, struct keeper_pipes *ret, struct err *err)
{
    char path[32];
    (void) snprintf(path, sizeof(path), "/proc/%d/fd", (int) pid);
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return err_set(err, errno, "look at the log pipes that process %d holds", (int) pid);
    }
    *ret = (struct keeper_pipes){.pid = pid};
    const struct dirent *entry = NULL;
    size_t size = 0;
    while (ret->count < KEEPER_SLOTS && (entry = readdir(dir)) != NULL) {
        uint64_t inode = proc_link_to_pipe(dirfd(dir), entry->d_name);
        if (inode == 0) {
            continue;
        }
        if (ret->count == size) {
            size = size * 2 + 16;
            ret->items = xrealloc(ret->items, size, sizeof(*ret->items));
        }
        int number = (int) strtol(entry->d_name, NULL, 10);
        ret->items[ret->count++] = (struct keeper_pipe){inode, number};
    }
    (void) closedir(dir);
    if (ret->count > 0) {
        qsort(ret->items, ret->count, sizeof(*ret->items), compare_pipes);
    }
    return 0;
}

int keeper_look(pid_t pid, uint64_t start_ticks, struct keeper_pipes *ret, struct err *err)
{
    CLEANUP(close_fd) int pidfd = proc_open_known(pid, start_ticks, 0, err);
    if (pidfd < 0) {
        return -1;
    }
    if (!is_keeper(pid)) {
        return err_set(err, ESRCH, "process %d is no keeper of log pipes", (int) pid);
    }
    int rc = list_pipes(pid, ret, err);
    if (rc < 0 && proc_is_dead(pid)) { /* what a zombie had open cannot be looked at */
        return err_set(err, ESRCH, "process %d has ended", (int) pid);
    }
    ret->start_ticks = start_ticks;
    return rc;
}

int keeper_look_at_own(struct keeper_pipes *ret, struct err *err)
{
    return list_pipes(getpid(), ret, err);
}

/* Not opened anew: to open a pipe takes its lock, which a process that writes to it can hold for
 * ever. Before Linux 5.6 there is no other way. */
static int copy_fd(const struct keeper_pipes *pipes, int number)
{
    char path[48];
    CLEANUP(close_fd) int pidfd = proc_open_known(pipes->pid, pipes->start_ticks, 0, NULL);
    int fd = pidfd >= 0 ? (int) syscall(SYS_pidfd_getfd, pidfd, number, 0U) : -1;
    if (fd < 0 && pidfd >= 0 && (errno == ENOSYS || errno == EPERM)) {
        (void) snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int) pipes->pid, number);
        fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    }
    return fd;
}

int keeper_find_number(const struct keeper_pipes *pipes, uint64_t inode)
{
    const struct keeper_pipe key = {.inode = inode};
    const struct keeper_pipe *found =
        pipes->count > 0 ? bsearch(&key, pipes->items, pipes->count, sizeof(key), compare_pipes)
                         : NULL;
    return found != NULL ? found->number : -1;
}

int keeper_copy_pipe(const struct keeper_pipes *pipes, uint64_t inode)
{
    struct stat st;
    int number = keeper_find_number(pipes, inode);
    CLEANUP(close_fd) int fd = number >= 0 ? copy_fd(pipes, number) : -1;
    bool is_it = fd >= 0 && fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) && st.st_ino == inode;
    return is_it ? steal_fd(&fd) : -1;
}

void keeper_end_earlier(const struct keeper_pipes *pipes)
{
    CLEANUP(close_fd) int pidfd = proc_open_known(pipes->pid, pipes->start_ticks, 0, NULL);
    if (pidfd >= 0) {
        proc_signal(pidfd, pipes->pid, SIGKILL);
    }
}

void keeper_pipes_fini(struct keeper_pipes *pipes)
{
    free(steal_ptr(&pipes->items));
    pipes->count = 0;
}
