/*
 * proc: single processes: identity, exit status, what /proc says.
 */
#ifndef EDGIBLE_PROC_H
#define EDGIBLE_PROC_H

#include "edgible/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct proc_stat {
    pid_t pid, ppid, pgid, sid;
    char state;           /* R S D T Z X … */
    unsigned flags;       /* PF_ bits of the kernel's include/linux/sched.h */
    unsigned threads;     /* Z with more than one: only the main thread has ended */
    uint64_t start_ticks; /* since boot, in clock ticks: with pid and boot id, the identity */
};

/* Reads /proc/PID/stat. -1 with ESRCH where there is no such process. */
int proc_read_stat(pid_t pid, struct proc_stat *ret, struct err *err) MUST_CHECK;

/* The start time alone; 0 where there is no such process. */
uint64_t proc_read_start_ticks(pid_t pid);

/* The real uid; 0 where there is no such process. */
uid_t proc_read_uid(pid_t pid);

/* How a process ended. */
struct proc_exit {
    bool known; /* false: it is gone, its status is not to be had */
    bool signaled;
    int code; /* exit code, or signal number where signaled */
    bool core_dumped;
    bool oom_killed; /* by the kernel, as memory ran out; who asks the kernel sets it */
};

/* -1 with errno where the kernel has no pidfds or there is no such process. */
int proc_open_pidfd(pid_t pid, struct err *err) MUST_CHECK;

/*
 * Looks at a child's exit through its pidfd. With reap false the zombie stays (it pins its pid
 * and process group). Returns 1 and *ret where it has exited, 0 where it still runs, -1 on error
 * (ECHILD: not our child).
 */
int proc_wait_pidfd(int pidfd, bool reap, struct proc_exit *ret, struct err *err) MUST_CHECK;

/*
 * The exit status of a process that is not our child, kept by the kernel in its pidfd once its
 * parent has reaped it (PIDFD_GET_INFO with PIDFD_INFO_EXIT, Linux 6.15). Returns 1 and *ret, 0
 * where it still runs or is not reaped yet (ask again shortly), -1 where the kernel cannot say
 * (EOPNOTSUPP).
 */
int proc_read_pidfd_exit(int pidfd, struct proc_exit *ret, struct err *err) MUST_CHECK;

/* Sends a signal to the process that a pidfd stands for, which may have ended. By its number where
 * there is no pidfd (-1) or a filter lets no signal through one. */
void proc_signal(int pidfd, pid_t pid, int signal);
/* Whether the kernel forbids to signal the process: it became another user's (set-user-ID). */
bool proc_is_out_of_reach(pid_t pid);

/* A number that no other process of this boot has or will have; 0 where the kernel has none (before
 * Linux 6.9). */
uint64_t proc_read_pidfd_inode(int pidfd);

/*
 * A pidfd of the process with that pid that began at start_ticks and, where pidfd_inode is not 0,
 * has that one; zombies are found too. -1 with ESRCH where there is none: the pid is free, or
 * another's by now.
 */
int proc_open_known(pid_t pid, uint64_t start_ticks, uint64_t pidfd_inode,
                    struct err *err) MUST_CHECK;

/* How a process that waits to be reaped ended; known is false where it is none, or cannot be asked
 * (another user's). */
struct proc_exit proc_read_zombie_exit(pid_t pid);

/* True where it has executed a program since it was forked. */
bool proc_has_execed(pid_t pid);

/*
 * Opens the pipe of that inode, which the process has as one of its descriptors, for reading,
 * non-blocking. -1 with ENOENT where it has it no longer.
 */
int proc_reopen_pipe(pid_t pid, uint64_t inode, struct err *err) MUST_CHECK;

/* Reaps a child that is no workload's leader; 1 if it was reaped, else 0. */
int proc_reap(pid_t pid);

/* Reaps the ended threads of a child that made this process their tracer (PTRACE_TRACEME): until
 * then the child does not end, whatever signal it gets. */
void proc_reap_threads(pid_t pid);

/* This process's children, zombies included: at most max pids written, the count of them returned.
 * From /proc/self/task/TID/children, or a walk of /proc where the kernel lacks that. */
size_t proc_list_children(pid_t *pids, size_t max);

/* True where pid is gone, or a zombie with no thread left. */
bool proc_is_dead(pid_t pid);

/* The kernel function a process sleeps in (/proc/PID/wchan), "" where not known. */
void proc_read_wchan(pid_t pid, char *buf, size_t size);

/* This boot (/proc/sys/kernel/random/boot_id), NUL-terminated; buf holds at least 40 bytes. */
int proc_read_boot_id(char *buf, size_t size, struct err *err) MUST_CHECK;

#endif
