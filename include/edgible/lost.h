/*
 * lost: first processes of workloads that an earlier agent left, and that no record tells of: it
 * was removed, is damaged or cannot be read. Their environment says whose they are.
 */
#ifndef EDGIBLE_LOST_H
#define EDGIBLE_LOST_H

#include "edgible/mem.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct lost_process {
    char *application, *workload; /* owned */
    pid_t pid;
    uint64_t start_ticks;
    uid_t uid;
    uint64_t log_pipe; /* inode of the log pipe it prints to; 0: none */
};

struct lost {
    struct lost_process *items; /* owned */
    size_t count;
};

/* Looks at all processes now: some 50 µs a process. Those of agents that live are left out, and
 * those that this process has adopted are not. The caller frees. */
struct lost *lost_find(const char *device);
/* The oldest one of the workload, which runs as that user, that still lives; NULL: none. Anybody
 * can give a process such an environment, but not that user. list may be NULL. */
const struct lost_process *lost_of(const struct lost *list, const char *application,
                                   const char *workload, uid_t uid);
void lost_free(struct lost *list);
DEFINE_CLEANUP(lost, struct lost, lost_free)

#endif
