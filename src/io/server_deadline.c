/* Requests that are cut off: they take too long to arrive, or libmicrohttpd would not answer. */
#include "server_private.h"

#include <string.h>
#include <sys/socket.h>

/* Each takes some 60 bytes of what libmicrohttpd has for a request. Where that is used up, 0.9.75
 * neither answers nor ends. No request of the API needs ten. */
#define ARGUMENTS_MAX 100

struct connection *server_connection_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info->socket_context;
}

/* Nothing of an answer is under way: it may be written past libmicrohttpd, which then sees the end.
 */
static void cut_off(struct connection *c, unsigned status, const char *title, const char *detail)
{
    c->deadline = 0;
    c->is_cut_off = true;
    server_socket_refuse(c->fd, status, title, detail);
    (void) shutdown(c->fd, SHUT_RDWR);
}

void *server_on_uri(void *cls, const char *uri, struct MHD_Connection *mhd)
{
    (void) cls;
    size_t count = 0;
    for (; (uri = strchr(uri, '&')) != NULL; uri++) {
        count++;
    }
    if (count >= ARGUMENTS_MAX) {
        cut_off(server_connection_of(mhd), 414, "URI Too Long",
                "a query may have 100 parameters at most");
    }
    return NULL;
}

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
            cut_off(c, 408, "Request Timeout", "the request did not arrive in time");
        }
    }
    server_arm_deadline(server);
    server_run_soon(server);
}
