/*
 * server: a second libmicrohttpd, which uses select() and is called ten times a second while it has
 * connections. It takes them while epoll has no room for their sockets, which any process of the
 * user can bring about, and which the first one would answer by closing them.
 */
#include "server_private.h"

#include <fcntl.h>
#include <sys/select.h>
#include <unistd.h>

struct MHD_Daemon *server_choose_mhd(struct server *server, int *fd)
{
    if (!loop_lacks_epoll()) {
        return server->daemon;
    }
    if (server->spare == NULL) {
        server->spare = server_start_mhd(server, 0);
    }
    int low = *fd < FD_SETSIZE ? -1 : fcntl(*fd, F_DUPFD_CLOEXEC, 0);
    if (low >= 0) {
        (void) close(*fd);
        *fd = low;
    }
    return server->spare != NULL ? server->spare : server->daemon;
}

bool server_run_mhd(struct server *server)
{
    (void) MHD_run(server->daemon);
    if (server->spare == NULL) {
        return false;
    }
    (void) MHD_run(server->spare);
    return MHD_get_daemon_info(server->spare, MHD_DAEMON_INFO_CURRENT_CONNECTIONS)
               ->num_connections > 0;
}

void server_stop_spare(struct server *server)
{
    if (server->spare != NULL) {
        MHD_stop_daemon(server->spare);
    }
}
