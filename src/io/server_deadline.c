/* Requests that take too long to arrive. */
#include "server_private.h"

#include <sys/socket.h>

mono_ms server_request_timeout(const struct server *server)
{
    return server->params.request_timeout_ms > 0 ? server->params.request_timeout_ms
                                                 : SERVER_REQUEST_TIMEOUT_MS;
}

void server_arm_deadline(struct server *server)
{
    mono_ms earliest = 0;
    list_each (it, &server->connections) {
        const struct connection *c = list_entry(it, struct connection, link);
        if (c->deadline != 0 && (earliest == 0 || c->deadline < earliest)) {
            earliest = c->deadline;
        }
    }
    if (earliest != 0) {
        loop_timer_arm(server->deadline_timer, earliest);
    } else {
        loop_timer_disarm(server->deadline_timer);
    }
}

void server_on_deadline(void *arg)
{
    struct server *server = arg;
    mono_ms now = loop_now();
    list_each (it, &server->connections) {
        struct connection *c = list_entry(it, struct connection, link);
        if (c->deadline != 0 && c->deadline <= now) {
            /* Nothing of an answer is under way: it may be written past libmicrohttpd, which then
             * sees the end. */
            c->deadline = 0;
            server_socket_refuse(c->fd, 408, "Request Timeout",
                                 "the request did not arrive in time");
            (void) shutdown(c->fd, SHUT_RDWR);
        }
    }
    server_arm_deadline(server);
    server_run_soon(server);
}
