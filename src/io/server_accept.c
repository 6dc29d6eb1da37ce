/* Accepting: a bounded number of connections a turn, and a pause where descriptors are used up. */
#include "server_private.h"

#include <errno.h>
#include <sys/socket.h>

#define ACCEPTS_A_TURN 32
#define ACCEPT_PAUSE_MS 100

static bool on_listen_readable(void *arg)
{
    struct server *server = arg;
    bool any = false;
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            server_take_connection(server, fd);
            any = true;
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            loop_io_free(steal_ptr(&server->listen_io));
            loop_timer_arm(server->accept_timer, loop_now() + ACCEPT_PAUSE_MS);
            break;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            break;
        }
    }
    if (any) {
        server_run_soon(server);
    }
    return any;
}

void server_accept(void *arg)
{
    struct server *server = arg;
    server->listen_io =
        loop_io_new(server->params.loop, server->listen_fd, on_listen_readable, server);
}
