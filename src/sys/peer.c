#include "edgible/peer.h"

#include "edgible/fd.h"
#include "edgible/mem.h"
#include "edgible/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Linux 6.5; Debian 12's headers are older. */
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* A process can be in 65,536 groups, of up to 11 characters each. */
#define STATUS_MAX_BYTES ((size_t) 1024 * 1024)

/* /proc/PID/status; NULL where it cannot be read. */
static char *read_status(pid_t pid)
{
    char *text = NULL;
    size_t len = 0;
    char path[48];
    (void) snprintf(path, sizeof(path), "/proc/%d/status", (int) pid);
    return fd_read_file(AT_FDCWD, path, STATUS_MAX_BYTES, &text, &len, NULL) == 0 ? text : NULL;
}

int peer_read_no_new_privs(pid_t pid)
{
    static const char name[] = "\nNoNewPrivs:\t";
    CLEANUP(free) char *text = read_status(pid);
    /* The kernel writes a line feed in the process's name as \n. */
    const char *line = text != NULL ? strstr(text, name) : NULL;
    if (line == NULL) {
        return -1;
    }
    char value = line[sizeof(name) - 1];
    return value == '0' ? 0 : value == '1' ? 1 : -1;
}

/* The effective one of the four numbers of that line is `id`. */
static bool has_id(const char *status, const char *name, unsigned id)
{
    const char *line = strstr(status, name);
    char *rest = NULL;
    if (line == NULL) {
        return false;
    }
    (void) strtoul(line + strlen(name), &rest, 10);
    return *rest == '\t' && strtoul(rest, NULL, 10) == id;
}

/* Before Linux 6.5: whether the process with its PID can be it. */
static int read_by_pid(struct peer *peer, struct err *err)
{
    if (peer->pid <= 0) {
        return err_set(err, ESRCH, "the peer is of another PID namespace");
    }
    CLEANUP(close_fd) int pidfd = proc_open_pidfd(peer->pid, err);
    if (pidfd < 0 && errno != ENOSYS && errno != EPERM) {
        return -1;
    }
    peer->start_ticks = proc_read_start_ticks(peer->pid);
    CLEANUP(free) char *status = read_status(peer->pid);
    if (status == NULL || peer->start_ticks == 0) {
        return err_set(err, ESRCH, "process %d cannot be looked at", (int) peer->pid);
    }
    if (!has_id(status, "\nUid:\t", peer->uid) || !has_id(status, "\nGid:\t", peer->gid)) {
        return err_set(err, EPERM, "process %d has not the credentials of its socket",
                       (int) peer->pid);
    }
    peer->pidfd = steal_fd(&pidfd);
    return 0;
}

int peer_read(int socket, struct peer *ret, struct err *err)
{
    struct ucred cred = {0};
    socklen_t len = sizeof(cred);
    *ret = (struct peer){.pidfd = -1};
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0) {
        return err_set(err, errno, "SO_PEERCRED");
    }
    struct peer peer = {.pid = cred.pid, .uid = cred.uid, .gid = cred.gid, .pidfd = -1};
    int pidfd = -1;
    len = sizeof(pidfd);
    if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len) == 0) {
        peer.pidfd = pidfd;
    } else if (errno != ENOPROTOOPT) {
        /* EINVAL, ENODATA or ESRCH, as the kernel's version has it, of one that was reaped. */
        bool is_dead = errno == EINVAL || errno == ENODATA;
        return err_set(err, is_dead ? ESRCH : errno, "SO_PEERPIDFD");
    } else if (read_by_pid(&peer, err) < 0) {
        return -1;
    }
    if (!peer_is_alive(&peer)) {
        peer_fini(&peer);
        return err_set(err, ESRCH, "process %d has ended", (int) cred.pid);
    }
    *ret = peer;
    return 0;
}

bool peer_is_alive(const struct peer *peer)
{
    if (peer->pidfd < 0) {
        return peer->start_ticks != 0 && proc_read_start_ticks(peer->pid) == peer->start_ticks &&
               !proc_is_dead(peer->pid);
    }
    /* Readable once all of its threads have ended, reaped or not. */
    struct pollfd at = {.fd = peer->pidfd, .events = POLLIN};
    int rc = 0;
    do {
        rc = poll(&at, 1, 0);
    } while (rc < 0 && errno == EINTR);
    return rc == 0;
}

void peer_fini(struct peer *peer)
{
    fd_close(&peer->pidfd);
}
