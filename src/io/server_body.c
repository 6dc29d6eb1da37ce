/* The bodies of requests, and the answers to those that are refused. */
#include "server_private.h"

#include <string.h>

/* Request bodies and answers that are not sent yet, of all connections together; root's requests
 * are let in up to twice as much. */
#define HELD_MAX (8UL * 1024 * 1024)

void server_reply_problem(struct server_request *request, unsigned status, const char *title,
                          const char *detail)
{
    const char *const headers[] = {"Connection", "close", status == 503 ? "Retry-After" : NULL, "1",
                                   NULL};
    char *text = server_problem_text(status, title, detail);
    server_reply(request, status, "application/problem+json", headers, text, strlen(text));
}

size_t server_held_bytes(const struct server *server)
{
    return server->held;
}

bool server_is_full(const struct connection *c, size_t more)
{
    return c->server->held + more > HELD_MAX * (c->peer.uid == 0 ? 2 : 1);
}

void server_refuse_body(struct server_request *request)
{
    if (request->refusal == 413) {
        server_reply_problem(request, 413, "Content Too Large", "a body may have 2 MiB at most");
    } else {
        server_reply_problem(
            request, 503, "Service Unavailable",
            "requests and answers that nobody reads take all the memory that the agent "
            "has for them; try again");
    }
}

void server_drop_body(struct server_request *request)
{
    request->connection->server->held -= request->body.len + request->taken;
    request->taken = 0;
    buf_fini(&request->body);
}

char *server_request_take_body(struct server_request *request, size_t *ret_len)
{
    *ret_len = request->body.len;
    request->taken = request->body.len;
    return buf_steal(&request->body);
}

/* Ignored where it is refused: the answer is read after it. */
void server_add_to_body(struct server_request *request, const char *data, size_t len)
{
    struct connection *c = request->connection;
    c->server->idle_runs = 0;
    if (request->refusal == 0 && request->body.len + len > SERVER_MAX_BODY_BYTES) {
        request->refusal = 413;
    } else if (request->refusal == 0 && server_is_full(c, len)) {
        request->refusal = 503;
    }
    if (request->refusal != 0) {
        server_drop_body(request);
    } else {
        buf_add(&request->body, data, len);
        c->server->held += len;
    }
}
