#include "edgible/proc.h"

#include "edgible/fd.h"
#include "edgible/mem.h"
#include "proc_priv.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* A /proc/TID/children file of 100,000 children is less. */
#define CHILDREN_MAX ((size_t) 1024 * 1024)
/* A process can be in 65,536 groups, of up to 11 characters each. */
#define STATUS_MAX ((size_t) 1024 * 1024)

/* Since Linux 5.4; the C library's name for it is an enum member that older ones lack. */
#define WAIT_BY_PIDFD ((idtype_t) 3)

/* From Linux 6.15's <linux/pidfd.h>; the first published size, which later kernels accept. */
struct pidfd_info_v0 {
    uint64_t mask;
    uint64_t cgroup_id;
    uint32_t pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
    int32_t exit_code;
};
#define PIDFD_GET_INFO_V0 _IOWR(0xFF, 11, struct pidfd_info_v0)
#define PIDFD_INFO_EXIT_BIT (UINT64_C(1) << 3)

uid_t proc_read_uid(pid_t pid)
{
    static const char name[] = "\nUid:\t";
    CLEANUP(free) char *text = NULL;
    size_t len = 0;
    char path[32];
    (void) snprintf(path, sizeof(path), "/proc/%d/status", (int) pid);
    if (fd_read_file(AT_FDCWD, path, STATUS_MAX, &text, &len, NULL) < 0) {
        return 0;
    }
    const char *line = strstr(text, name);
    return line != NULL ? (uid_t) strtoul(line + sizeof(name) - 1, NULL, 10) : 0;
}

pid_t proc_parse_pid(const char *text)
{
    if (!isdigit((unsigned char) text[0])) {
        return 0;
    }
    char *end = NULL;
    long pid = strtol(text, &end, 10);
    return *end == '\0' && pid > 0 && pid <= INT_MAX ? (pid_t) pid : 0;
}

/* While a process executes another program from a thread that is not its first, the kernel may
 * tell of the first one, which is gone: state X, no parent, and -1 for group and session. */
#define STAT_READS_MAX 100

/*
 * proc_pid_stat(5): "pid (comm) state ppid pgrp session …"; the start time is field 22. comm is
 * what the process likes, parentheses, blanks and line feeds included, so the rest is counted from
 * the last parenthesis.
 */
static int parse_stat(char *text, struct proc_stat *ret)
{
    enum { PPID = 1, PGID = 2, SID = 3, FLAGS = 6, THREADS = 17, START = 19 };
    char *comm_end = strrchr(text, ')');
    if (comm_end == NULL || comm_end[1] != ' ') {
        return -1;
    }
    char *at = comm_end + 2;
    ret->state = *at;
    unsigned long long values[START + 1] = {0};
    for (int field = PPID; field <= START; field++) {
        at = strchr(at, ' ');
        if (at == NULL) {
            return -1;
        }
        at++;
        values[field] = strtoull(at, NULL, 10);
    }
    ret->ppid = (pid_t) values[PPID];
    ret->pgid = (pid_t) values[PGID];
    ret->sid = (pid_t) values[SID];
    ret->flags = (unsigned) values[FLAGS];
    ret->threads = (unsigned) values[THREADS];
    ret->start_ticks = values[START];
    return 0;
}

static int read_stat_once(int proc_fd, pid_t pid, struct proc_stat *ret)
{
    char path[32];
    (void) snprintf(path, sizeof(path), "%d/stat", (int) pid);
    CLEANUP(close_fd) int fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        if (errno == ENOENT) {
            errno = ESRCH;
        }
        return -1;
    }
    char text[2048];
    ssize_t n = read(fd, text, sizeof(text) - 1);
    if (n <= 0) {
        /* The process went between open and read: ESRCH, or nothing to read. */
        errno = n == 0 ? ESRCH : errno;
        return -1;
    }
    text[n] = '\0';
    struct proc_stat stat = {.pid = pid};
    if (parse_stat(text, &stat) < 0) {
        errno = EPROTO;
        return -1;
    }
    *ret = stat;
    return 0;
}

char *proc_read_head(int dirfd, const char *path, size_t max, size_t *ret_len)
{
    CLEANUP(close_fd) int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return NULL;
    }
    CLEANUP(free) char *data = xmalloc(max + 1);
    size_t len = 0;
    ssize_t n = 0;
    while (len < max && (n = read(fd, data + len, max - len)) > 0) {
        len += (size_t) n;
    }
    data[len] = '\0';
    *ret_len = len;
    return n < 0 ? NULL : steal_ptr(&data);
}

int proc_stat_at(int proc_fd, pid_t pid, struct proc_stat *ret)
{
    for (int i = 0; i < STAT_READS_MAX; i++) {
        if (read_stat_once(proc_fd, pid, ret) < 0) {
            return -1;
        }
        if (ret->pgid >= 0) {
            return 0;
        }
    }
    errno = ESRCH;
    return -1;
}

int proc_read_stat(pid_t pid, struct proc_stat *ret, struct err *err)
{
    CLEANUP(close_fd) int proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (proc_fd < 0) {
        return err_set(err, errno, "open '/proc'");
    }
    if (proc_stat_at(proc_fd, pid, ret) < 0) {
        return err_set(err, errno, "read '/proc/%d/stat'", (int) pid);
    }
    return 0;
}

uint64_t proc_read_start_ticks(pid_t pid)
{
    struct proc_stat stat = {0};
    (void) !proc_read_stat(pid, &stat, NULL);
    return stat.start_ticks;
}

int proc_open_pidfd(pid_t pid, struct err *err)
{
    /* The descriptor is close-on-exec by itself: pidfd_open(2). */
    int fd = (int) syscall(SYS_pidfd_open, pid, 0U);
    if (fd < 0) {
        return err_set(err, errno, "pidfd_open of process %d", (int) pid);
    }
    return fd;
}

/* 1 where the child has ended. Of one that made this process its tracer (PTRACE_TRACEME) waitid(2)
 * also tells that it has stopped, which is no end. */
static int wait_end(idtype_t type, id_t id, int flags, siginfo_t *ret)
{
    int rc = 0;
    do {
        ret->si_pid = 0;
        rc = waitid(type, id, ret, WEXITED | WNOHANG | flags);
    } while (rc < 0 && errno == EINTR);
    return rc < 0 ? -1 : ret->si_pid != 0 && ret->si_code <= CLD_DUMPED;
}

int proc_wait_pidfd(int pidfd, bool reap, struct proc_exit *ret, struct err *err)
{
    siginfo_t info = {0};
    int rc = wait_end(WAIT_BY_PIDFD, (id_t) pidfd, reap ? 0 : WNOWAIT, &info);
    if (rc < 0) {
        return err_set(err, errno, "waitid on a pidfd");
    }
    if (rc == 0) {
        return 0;
    }
    *ret = (struct proc_exit){
        .known = true,
        .signaled = info.si_code != CLD_EXITED,
        .code = info.si_status,
        .core_dumped = info.si_code == CLD_DUMPED,
    };
    return 1;
}

int proc_read_pidfd_exit(int pidfd, struct proc_exit *ret, struct err *err)
{
    struct pidfd_info_v0 info = {.mask = PIDFD_INFO_EXIT_BIT};
    if (ioctl(pidfd, PIDFD_GET_INFO_V0, &info) < 0) {
        /* Before 6.15: EINVAL (no such ioctl), or ESRCH from a kernel that knows the call but
         * keeps no status; a filter may say ENOTTY or EPERM. */
        return err_set(err, EOPNOTSUPP, "the kernel keeps no exit status of other processes (%m)");
    }
    if ((info.mask & PIDFD_INFO_EXIT_BIT) == 0) {
        return 0;
    }
    int status = info.exit_code;
    *ret = (struct proc_exit){
        .known = true,
        .signaled = WIFSIGNALED(status),
        .code = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
        .core_dumped = WIFSIGNALED(status) && WCOREDUMP(status),
    };
    return 1;
}

int proc_reap(pid_t pid)
{
    siginfo_t info = {0};
    return wait_end(P_PID, (id_t) pid, 0, &info) > 0 ? 1 : 0;
}

void proc_reap_threads(pid_t pid)
{
    char path[32];
    (void) snprintf(path, sizeof(path), "/proc/%d/task", (int) pid);
    DIR *dir = opendir(path);
    const struct dirent *entry = NULL;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        siginfo_t info;
        pid_t thread = proc_parse_pid(entry->d_name);
        if (thread > 0 && thread != pid) {
            (void) wait_end(P_PID, (id_t) thread, __WALL, &info);
        }
    }
    if (dir != NULL) {
        (void) closedir(dir);
    }
}

/* Adds the numbers of a children file to pids; the new count. */
static size_t add_listed_pids(char *text, pid_t *pids, size_t count, size_t max)
{
    char *rest = text;
    char *word = NULL;
    while (count < max && (word = strsep(&rest, " \n")) != NULL) {
        pid_t pid = proc_parse_pid(word);
        if (pid > 0) {
            pids[count++] = pid;
        }
    }
    return count;
}

/* False where the kernel has no children files (CONFIG_PROC_CHILDREN). Children are listed with the
 * thread that made them, so all threads are asked. */
static bool list_children_of_tasks(pid_t *pids, size_t max, size_t *ret_count)
{
    DIR *dir = opendir("/proc/self/task");
    if (dir == NULL) {
        return false;
    }
    bool seen = false;
    size_t count = 0;
    const struct dirent *entry = NULL;
    while ((entry = readdir(dir)) != NULL) {
        if (proc_parse_pid(entry->d_name) == 0) {
            continue;
        }
        char path[NAME_MAX + 16];
        (void) snprintf(path, sizeof(path), "%s/children", entry->d_name);
        CLEANUP(free) char *text = NULL;
        size_t len = 0;
        if (fd_read_file(dirfd(dir), path, CHILDREN_MAX, &text, &len, NULL) == 0) {
            seen = true;
            count = add_listed_pids(text, pids, count, max);
        }
    }
    (void) closedir(dir);
    *ret_count = count;
    return seen;
}

static size_t list_children_by_walk(pid_t *pids, size_t max)
{
    DIR *dir = opendir("/proc");
    if (dir == NULL) {
        return 0;
    }
    size_t count = 0;
    const struct dirent *entry = NULL;
    while (count < max && (entry = readdir(dir)) != NULL) {
        struct proc_stat stat;
        pid_t pid = proc_parse_pid(entry->d_name);
        if (pid > 0 && proc_stat_at(dirfd(dir), pid, &stat) == 0 && stat.ppid == getpid()) {
            pids[count++] = pid;
        }
    }
    (void) closedir(dir);
    return count;
}

size_t proc_list_children(pid_t *pids, size_t max)
{
    size_t count = 0;
    if (list_children_of_tasks(pids, max, &count)) {
        return count;
    }
    return list_children_by_walk(pids, max);
}

bool proc_is_dead(pid_t pid)
{
    struct proc_stat stat = {0};
    struct err err = {0};
    if (proc_read_stat(pid, &stat, &err) < 0) {
        /* EMFILE or a missing /proc say nothing about the process. */
        return err.code == ESRCH;
    }
    return proc_stat_is_dead(&stat);
}

void proc_read_wchan(pid_t pid, char *buf, size_t size)
{
    if (size == 0) {
        return;
    }
    buf[0] = '\0';
    char path[32];
    (void) snprintf(path, sizeof(path), "/proc/%d/wchan", (int) pid);
    CLEANUP(free) char *text = NULL;
    size_t len = 0;
    if (fd_read_file(AT_FDCWD, path, 256, &text, &len, NULL) < 0) {
        return;
    }
    /* "0": it runs, or we may not know. */
    if (len > 0 && strcmp(text, "0") != 0) {
        (void) snprintf(buf, size, "%s", text);
    }
}

int proc_read_boot_id(char *buf, size_t size, struct err *err)
{
    CLEANUP(free) char *text = NULL;
    size_t len = 0;
    if (fd_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 256, &text, &len, err) < 0) {
        return -1;
    }
    text[strcspn(text, "\n")] = '\0';
    int n = snprintf(buf, size, "%s", text);
    if (n <= 0 || (size_t) n >= size) {
        return err_set(err, EPROTO, "the boot id '%s' is none", text);
    }
    return 0;
}
