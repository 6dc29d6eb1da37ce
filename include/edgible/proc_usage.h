/*
 * proc_usage: what processes use: memory, CPU time; and the same of this process, with its
 * descriptors.
 */
#ifndef EDGIBLE_PROC_USAGE_H
#define EDGIBLE_PROC_USAGE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct proc_usage {
    size_t processes;
    uint64_t memory_bytes; /* resident; memory that processes share counts once each */
    uint64_t cpu_ms;       /* user and system, of children they waited for too */
};

/* The sum over the processes that are still there. */
struct proc_usage proc_usage_read(const pid_t *pids, size_t count);

struct proc_self_usage {
    uint64_t memory_bytes; /* PSS where the kernel tells it, else resident */
    uint64_t cpu_ms;
    size_t open_files;
};

struct proc_self_usage proc_usage_read_self(void);

#endif
