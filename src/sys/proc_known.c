/* proc: a process that an earlier agent started: whether it is that one still, how it ended, and
 * the pipe it prints to. */
#include "edgible/fd.h"
#include "edgible/mem.h"
#include "edgible/proc.h"
#include "proc_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

/* <linux/magic.h> of Linux 6.9. Before, all pidfds share one inode. */
#define PIDFS_FS_MAGIC 0x50494446
/* include/linux/sched.h: "Forked but didn't exec". */
#define FORKED_NO_EXEC 0x40U
/* Descriptors of a process that are looked at. */
#define FDS_MAX 4096

uint64_t proc_read_pidfd_inode(int pidfd)
{
    struct statfs fs;
    struct stat st;
    if (fstatfs(pidfd, &fs) < 0 || (unsigned long) fs.f_type != PIDFS_FS_MAGIC ||
        fstat(pidfd, &st) < 0) {
        return 0;
    }
    return st.st_ino;
}

void proc_signal(int pidfd, pid_t pid, int signal)
{
    if (pidfd >= 0 && syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0U) == 0) {
        return;
    }
    /* 0 and below would be whole groups. */
    if (pid > 1 && (pidfd < 0 || errno == ENOSYS || errno == EPERM)) {
        (void) kill(pid, signal);
    }
}

bool proc_is_out_of_reach(pid_t pid)
{
    return pid > 1 && kill(pid, 0) < 0 && errno == EPERM;
}

int proc_open_known(pid_t pid, uint64_t start_ticks, uint64_t pidfd_inode, struct err *err)
{
    /* First the pidfd, then the looks: what they see is what it stands for, or gone. */
    CLEANUP(close_fd) int pidfd = proc_open_pidfd(pid, err);
    if (pidfd < 0) {
        /* The number of a thread: pidfd_open(2). */
        bool is_thread = errno == EINVAL || errno == ENOENT;
        return is_thread ? err_set(err, ESRCH, "process %d is a thread by now", (int) pid) : -1;
    }
    struct proc_stat stat;
    uint64_t inode = proc_read_pidfd_inode(pidfd);
    if (proc_read_stat(pid, &stat, err) < 0) {
        return -1;
    }
    bool is_other_inode = pidfd_inode != 0 && inode != 0 && inode != pidfd_inode;
    bool is_gone = syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0U) < 0 && errno == ESRCH;
    if (stat.start_ticks != start_ticks || is_other_inode || is_gone) {
        return err_set(err, ESRCH, "process %d is another one by now", (int) pid);
    }
    return steal_fd(&pidfd);
}

static bool may_see_status(pid_t pid)
{
    char path[32];
    struct stat st;
    (void) snprintf(path, sizeof(path), "/proc/%d", (int) pid);
    return geteuid() == 0 || (stat(path, &st) == 0 && st.st_uid == geteuid());
}

struct proc_exit proc_read_zombie_exit(pid_t pid)
{
    /* proc_pid_stat(5): exit_code is field 52, the last one, as waitpid(2) gives it. */
    struct proc_exit unknown = {.known = false};
    char path[32];
    (void) snprintf(path, sizeof(path), "/proc/%d/stat", (int) pid);
    CLEANUP(free) char *text = NULL;
    size_t len = 0;
    struct proc_stat stat;
    /* Who may not know is shown a 0. */
    if (!may_see_status(pid) || proc_read_stat(pid, &stat, NULL) < 0 || stat.state != 'Z' ||
        fd_read_file(AT_FDCWD, path, 4096, &text, &len, NULL) < 0) {
        return unknown;
    }
    const char *last = strrchr(text, ' ');
    if (last == NULL) {
        return unknown;
    }
    int status = (int) strtol(last + 1, NULL, 10);
    return (struct proc_exit){
        .known = true,
        .signaled = WIFSIGNALED(status),
        .code = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
        .core_dumped = WIFSIGNALED(status) && WCOREDUMP(status),
    };
}

bool proc_has_execed(pid_t pid)
{
    struct proc_stat stat;
    return proc_read_stat(pid, &stat, NULL) == 0 && (stat.flags & FORKED_NO_EXEC) == 0;
}

uint64_t proc_link_to_pipe(int dirfd, const char *name)
{
    static const char start[] = "pipe:[";
    char text[64];
    ssize_t n = readlinkat(dirfd, name, text, sizeof(text) - 1);
    text[n > 0 ? n : 0] = '\0';
    return strncmp(text, start, sizeof(start) - 1) == 0
               ? strtoull(text + sizeof(start) - 1, NULL, 10)
               : 0;
}

/* The pipe, or -1 with ENOENT where that descriptor is something else. What is looked at is what is
 * opened, and the process may exchange its descriptors all the time: to open a device, a terminal
 * or a FIFO has effects. */
static int try_fd(int fds_dir, const char *name, uint64_t inode)
{
    char path[32];
    if (proc_link_to_pipe(fds_dir, name) != inode) {
        errno = ENOENT;
        return -1;
    }
    CLEANUP(close_fd) int found = openat(fds_dir, name, O_PATH | O_CLOEXEC);
    (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", found);
    if (found >= 0 && proc_link_to_pipe(AT_FDCWD, path) != inode) {
        errno = ENOENT;
        return -1;
    }
    return found >= 0 ? open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) : -1;
}

int proc_reopen_pipe(pid_t pid, uint64_t inode, struct err *err)
{
    char path[32];
    (void) snprintf(path, sizeof(path), "/proc/%d/fd", (int) pid);
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return err_set(err, errno, "look at the descriptors of process %d", (int) pid);
    }
    int fd = try_fd(dirfd(dir), "1", inode);
    fd = fd >= 0 ? fd : try_fd(dirfd(dir), "2", inode);
    const struct dirent *entry = NULL;
    for (int i = 0; fd < 0 && i < FDS_MAX && (entry = readdir(dir)) != NULL; i++) {
        if (entry->d_name[0] != '.') {
            fd = try_fd(dirfd(dir), entry->d_name, inode);
        }
    }
    (void) closedir(dir);
    if (fd < 0) {
        return err_set(err, ENOENT, "process %d does not have its log pipe any more", (int) pid);
    }
    return fd;
}
