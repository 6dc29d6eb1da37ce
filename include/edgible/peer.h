/*
 * peer: the process on the other side of a Unix socket: the one that called connect(), whoever
 * holds the socket by now.
 */
#ifndef EDGIBLE_PEER_H
#define EDGIBLE_PEER_H

#include "edgible/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct peer {
    pid_t pid; /* 0: it is of another PID namespace, and so no descendant of this process */
    uid_t uid;
    gid_t gid;
    int pidfd;            /* -1: this kernel has none */
    uint64_t start_ticks; /* where pidfd is -1 */
};

/*
 * Who connected, by SO_PEERPIDFD (Linux 6.5), else by its PID, whose process must have the
 * credentials of the socket. -1 with ESRCH where that process has ended, EPERM where the PID is
 * another's by now, EMFILE and the like where it cannot be told.
 */
int peer_read(int socket, struct peer *ret, struct err *err) MUST_CHECK;

/* Whether it has not ended. What was read about its PID before is then about it: the number cannot
 * have been another's meanwhile. */
bool peer_is_alive(const struct peer *peer);
void peer_fini(struct peer *peer);

/* 1 where the process, and all that it starts, can gain no rights by exec (no_new_privs): so is
 * every process in a sandbox, and nothing takes that back. 0 where not, -1 where it cannot be
 * told. */
int peer_read_no_new_privs(pid_t pid);

#endif
