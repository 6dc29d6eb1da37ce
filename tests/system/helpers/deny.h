/* What the helpers share that execute their arguments under a filter of system calls. */
#ifndef EDGIBLE_TEST_DENY_H
#define EDGIBLE_TEST_DENY_H

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOAD_CALL BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))
#define DENY(error) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (error))
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

/* Returns only where that fails. */
static int execute_under(struct sock_filter *code, size_t len, int argc, char **argv)
{
    const struct sock_fprog program = {.len = (unsigned short) len, .filter = code};
    if (argc >= 2 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0) {
        (void) execv(argv[1], argv + 1);
    }
    return 1;
}

#endif
