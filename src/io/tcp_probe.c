#include "edgible/tcp_probe.h"

#include "edgible/fd.h"
#include "edgible/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

struct tcp_probe {
    struct loop *loop;
    struct loop_io *io;
    struct loop_timer
        *later; /* an answer that was there at once is told from the loop all the same */
    uint16_t port;
    int fd;
    int error;
    bool is_v6;
    tcp_probe_fn *done;
    void *arg;
};

static void tell(void *arg)
{
    struct tcp_probe *probe = arg;
    probe->done(probe->arg, probe->error);
}

int tcp_probe_connect(bool is_v6, uint16_t port, int *fd)
{
    struct sockaddr_in v4 = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    const struct sockaddr *address =
        is_v6 ? (const struct sockaddr *) &v6 : (const struct sockaddr *) &v4;
    fd_close(fd);
    *fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    if (*fd < 0) {
        return errno;
    }
    return connect(*fd, address, is_v6 ? sizeof(v6) : sizeof(v4)) < 0 ? errno : 0;
}

static bool on_connected(void *arg);

static void try_address(struct tcp_probe *probe)
{
    int error = tcp_probe_connect(probe->is_v6, probe->port, &probe->fd);
    if (error == EINPROGRESS) {
        probe->io = loop_io_new_for_writing(probe->loop, probe->fd, on_connected, probe);
        return;
    }
    if (error == ECONNREFUSED && !probe->is_v6) {
        probe->is_v6 = true;
        try_address(probe);
        return;
    }
    /* That there is no IPv6 says nothing of the port. */
    bool has_no_v6 = error == EAFNOSUPPORT || error == EADDRNOTAVAIL || error == ENETUNREACH;
    probe->error = probe->is_v6 && has_no_v6 ? ECONNREFUSED : error;
    loop_timer_arm(probe->later, 0);
}

static bool on_connected(void *arg)
{
    struct tcp_probe *probe = arg;
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(probe->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0) {
        error = errno;
    }
    loop_io_free(steal_ptr(&probe->io));
    if (error == ECONNREFUSED && !probe->is_v6) {
        probe->is_v6 = true;
        try_address(probe);
    } else {
        probe->error = error;
        loop_timer_arm(probe->later, 0);
    }
    return true;
}

struct tcp_probe *tcp_probe_new(struct loop *loop, uint16_t port, tcp_probe_fn *done, void *arg,
                                struct err *err)
{
    struct tcp_probe *probe = xcalloc(1, sizeof(*probe));
    *probe = (struct tcp_probe){.loop = loop, .port = port, .fd = -1, .done = done, .arg = arg};
    probe->later = loop_timer_new(loop, tell, probe);
    try_address(probe);
    if (probe->fd < 0 && !probe->is_v6) {
        (void) err_set(err, ERR_HOST, "make a socket: %m");
        tcp_probe_free(probe);
        return NULL;
    }
    return probe;
}

void tcp_probe_free(struct tcp_probe *probe)
{
    if (probe != NULL) {
        loop_io_free(probe->io);
        loop_timer_free(probe->later);
        fd_close(&probe->fd);
        free(probe);
    }
}
