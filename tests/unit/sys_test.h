/*
 * sys_test: what the tests of src/sys share: scenarios in a process of their own, real children,
 * seccomp filters, conditions with a deadline.
 */
#ifndef EDGIBLE_TESTS_SYS_TEST_H
#define EDGIBLE_TESTS_SYS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the four above. */
#include "edgible/fd.h"
#include "edgible/mem.h"
#include "edgible/proc.h"
#include "edgible/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* For scenarios, which run in a forked process where cmocka's asserts cannot jump. */
#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            (void) fprintf(stderr, "%s:%d: %s does not hold (%m)\n", __FILE__, __LINE__, #cond);   \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

typedef int scenario(const void *arg);

/* Runs the scenario in a process of its own and kills what it leaves in its group. */
static inline int run_scenario(scenario *play, const void *arg)
{
    (void) fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        _exit(play(arg));
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static inline long now_ms(void)
{
    struct timespec ts;
    (void) clock_gettime(CLOCK_MONOTONIC, &ts);
    return (long) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Waits for cond, ten seconds at most; false where it did not come. */
#define EVENTUALLY(cond)                                                                           \
    ({                                                                                             \
        long until_ = now_ms() + 10000;                                                            \
        bool holds_ = false;                                                                       \
        while (!(holds_ = (cond)) && now_ms() < until_) {                                          \
            (void) usleep(2000);                                                                   \
        }                                                                                          \
        holds_;                                                                                    \
    })

/* Denies the system calls (-1 ends the list) with `error`. */
static inline int deny_syscalls(const int *numbers, int error)
{
    struct sock_filter filter[32];
    unsigned short len = 0;
    filter[len++] = (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                                  (unsigned) offsetof(struct seccomp_data, nr));
    for (; *numbers >= 0 && len < 29; numbers++) {
        filter[len++] =
            (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned) *numbers, 0, 1);
        filter[len++] = (struct sock_filter) BPF_STMT(
            BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ((unsigned) error & SECCOMP_RET_DATA));
    }
    filter[len++] = (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {.len = len, .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) < 0) {
        return -1;
    }
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* Denies the system call where its argument has one of the bits of mask. */
static inline int deny_argument(int number, int argument, unsigned mask, int error)
{
    /* The lower half of the argument comes first on what these tests run on. */
    size_t at = offsetof(struct seccomp_data, args) + (size_t) argument * sizeof(uint64_t);
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned) offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned) number, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned) at),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, mask, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ((unsigned) error & SECCOMP_RET_DATA)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) < 0) {
        return -1;
    }
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* The outcome of a spawn, waited for. */
static inline enum spawn_outcome await_handshake(int handshake_fd, struct spawn_fault *ret_fault)
{
    struct pollfd pollfd = {.fd = handshake_fd, .events = POLLIN};
    while (poll(&pollfd, 1, 10000) < 0 && errno == EINTR) {
    }
    return spawn_read_handshake(handshake_fd, ret_fault);
}

/* Waits for the end and reaps. */
static inline struct proc_exit await_exit(int pidfd)
{
    struct proc_exit ended = {0};
    struct pollfd pollfd = {.fd = pidfd, .events = POLLIN};
    while (poll(&pollfd, 1, 20000) < 0 && errno == EINTR) {
    }
    if (proc_wait_pidfd(pidfd, true, &ended, NULL) != 1) {
        ended.known = false;
    }
    return ended;
}

/* A request for argv[0] that writes to /dev/null; the caller changes what it wants otherwise. */
static inline struct spawn_request usual_request(char *const *argv, char *const *envp)
{
    struct spawn_request request = {.exec_fd = -1,
                                    .sandbox_fd = -1,
                                    .argv = argv,
                                    .envp = envp,
                                    .paths = argv,
                                    .output_fd = -1,
                                    .cgroup_fd = -1};
    (void) getrlimit(RLIMIT_NOFILE, &request.open_files);
    return request;
}

/* The helper program, copied to where every user can run it; caller frees. */
static inline char *public_helper(const char *name)
{
    CLEANUP(free) char *from = xasprintf("%s/%s", HELPERS_DIR, name);
    CLEANUP(free) char *data = NULL;
    size_t len = 0;
    struct err err;
    if (fd_read_file(AT_FDCWD, from, (size_t) 64 * 1024 * 1024, &data, &len, &err) < 0) {
        (void) fprintf(stderr, "%s\n", err.msg);
        return NULL;
    }
    char *to = xasprintf("/tmp/edgible-test-%d-%s", (int) getpid(), name);
    CLEANUP(close_fd) int fd = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
    if (fd < 0 || fd_write_all(fd, data, len, &err) < 0 || fchmod(fd, 0755) < 0) {
        free(to);
        return NULL;
    }
    return to;
}

/* rm -rf */
static inline int remove_tree(const char *path)
{
    pid_t pid = fork();
    if (pid == 0) {
        (void) execl("/bin/rm", "rm", "-rf", path, (char *) NULL);
        _exit(127);
    }
    int status = 1;
    return waitpid(pid, &status, 0) == pid && status == 0 ? 0 : -1;
}

#endif
