/*
 * log_owner: with whose rights the files of a log are opened, made, renamed, removed and read back.
 *
 * A log outside the agent's log folder lies where its workload's user may change every name, so the
 * agent acts there with that user's identity and without capabilities: a link, a hard link or a
 * swapped folder gives nobody more than that user has. The identity is the effective one and not
 * that of the file system alone, since /proc/sys asks for the former. Below the agent's log folder
 * all folders are the agent's own, and no workload can change a name.
 *
 * What has been opened is written to with the agent's identity: on a file system that holds data
 * only the opening is judged, and a change of identity for each batch would cost about as much as
 * the write itself. Files of the kernel, which may judge each write, are never opened as logs
 * (logfile_check_storage() in src/io).
 */
#ifndef EDGIBLE_LOG_OWNER_H
#define EDGIBLE_LOG_OWNER_H

#include "edgible/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LOG_OWNER_GROUPS 64

/* A value without pointers, so that it can lie in a mapped file. */
struct log_owner {
    bool is_user;     /* act as this user; otherwise as the agent */
    bool is_confined; /* the workload is in a sandbox, and follows no link that it can have made */
    bool is_judged;   /* content that no agent wrote is refused, whatever the path may be */
    uid_t uid;        /* the workload's; (uid_t) -1: the agent's own */
    gid_t gid;        /* the workload's: a file in the agent's folder can be read by this group */
    uint32_t group_count;
    gid_t groups[LOG_OWNER_GROUPS];
    /* This many bytes of the path, in which there is no link, are the agent's log folder; 0: the
     * log is outside of it. */
    uint32_t own_len;
};

/* What log_owner_leave() needs to put back. The thread's own; borrowed by nobody. */
struct log_owner_before {
    bool is_changed;
    uid_t uid; /* effective */
    gid_t gid;
    gid_t *groups;
    size_t group_count;
    uint32_t effective[2]; /* capabilities */
};

bool log_owner_equals(const struct log_owner *a, const struct log_owner *b);
/* The calling thread alone becomes the owner for its file operations. Does not nest. */
int log_owner_enter(const struct log_owner *owner, struct log_owner_before *ret_before,
                    struct err *err) MUST_CHECK;
/* Back again. It cannot fail: a thread that is left with another identity aborts the agent, which
 * workloads survive. */
void log_owner_leave(struct log_owner_before *before);

#endif
