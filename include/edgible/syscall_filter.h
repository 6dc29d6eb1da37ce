/*
 * syscall_filter: what Landlock does not hold of a sandbox, by seccomp. Kills nothing: what is
 * refused is answered EPERM.
 *
 * clone3 is answered ENOSYS, as by kernels before Linux 5.3, and C libraries then use clone. With
 * CLONE_INTO_CGROUP it makes a child in the cgroup of another workload, which an O_PATH descriptor
 * may name; Landlock does not limit either.
 *
 * Refused are changes to the limits, the priority and the processors of other processes, and with
 * limit_connect the ways to open a TCP connection that pass Landlock by: multipath TCP, SMC, TCP
 * fast open, and io_uring. A process may name itself as 0, and the first process of a workload also
 * by its PID. Calls of an architecture that the filter does not know are refused, all of them.
 */
#ifndef EDGIBLE_SYSCALL_FILTER_H
#define EDGIBLE_SYSCALL_FILTER_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>

#define SYSCALL_FILTER_MAX 160

struct syscall_filter {
    struct sock_filter code[SYSCALL_FILTER_MAX];
    size_t start;   /* the program goes from here to the end of code */
    size_t own_pid; /* the instruction that compares with the first process's PID */
};

/* Whether this kernel has such filters, for an architecture that they know. */
bool syscall_filter_is_available(void);

void syscall_filter_make(struct syscall_filter *ret, bool limit_connect);

/* In the child, which must have no_new_privs: puts its PID in, and enters. System calls only. 0, or
 * an errno value. */
int syscall_filter_enter(struct syscall_filter *filter);

#endif
