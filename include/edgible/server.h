/*
 * server: HTTP/1.1 on a Unix socket, driven by the loop. libmicrohttpd's home.
 *
 * A request is handed to the handler when all of it is there, its body included; the handler
 * answers each exactly once: inside the call, with server_reply() or server_reply_stream(), or,
 * after server_hold(), later. Who may connect, and the bounds (SERVER_MAX_…), are enforced here;
 * what breaks them is answered with an application/problem+json document.
 */
#ifndef EDGIBLE_SERVER_H
#define EDGIBLE_SERVER_H

#include "edgible/err.h"
#include "edgible/loop.h"
#include "edgible/mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define SERVER_MAX_BODY_BYTES (2UL * 1024 * 1024)
#define SERVER_MAX_CONNECTIONS 64
#define SERVER_ROOT_CONNECTIONS 8       /* more, for root: nobody else locks it out */
#define SERVER_REQUEST_TIMEOUT_MS 30000 /* for a request to arrive */
#define SERVER_STALL_TIMEOUT_MS 300000  /* for a reader of an answer to take any of it */

#define SERVER_MAX_GROUPS 256

struct server;
struct server_request; /* valid during the handler's call; after server_hold() until its answer */
struct server_stream;  /* an answer that goes on until it ends or its reader leaves */

/* Who is on the other side of the socket, as the kernel says. */
struct server_peer {
    pid_t pid; /* 0: of another PID namespace */
    uid_t uid;
    gid_t gid;
    gid_t groups[SERVER_MAX_GROUPS]; /* its further ones (SO_PEERGROUPS) */
    size_t group_count;
};

struct server_params {
    struct loop *loop;  /* borrowed */
    const char *socket; /* path; copied */
    gid_t group;   /* who else may connect: mode 0660 and this group; (gid_t) -1: nobody, 0600 */
    int listen_fd; /* taken over where >= 0: a socket that listens at that path already */
    mono_ms request_timeout_ms; /* 0: SERVER_REQUEST_TIMEOUT_MS */
    /* Whether the peer of the socket `fd` may use it at all; called once a connection. 0: it may;
     * 403: it may not, or it cannot be told; 503: not for now. */
    unsigned (*judge)(void *arg, int fd, const struct server_peer *peer);
    void (*handle)(void *arg, struct server_request *request);
    void *arg;
};

/*
 * Makes the socket with mode and group as they are to be from its first moment on (it is bound
 * under another name in the same folder and renamed over what an earlier agent left), and listens.
 */
struct server *server_new(const struct server_params *params, struct err *err);
/* Ends all streams, closes all connections, removes the socket (unless server_keep_socket()). */
void server_free(struct server *server);
DEFINE_CLEANUP(server, struct server, server_free)
/* The listening socket, for an exec in this process: inheritable where keep, and server_free()
 * leaves the path alone. */
int server_listen_fd(const struct server *server);
void server_keep_socket(struct server *server, bool keep);
size_t server_connection_count(const struct server *server);
/* Of the bodies of requests, and of answers that are not sent yet. */
size_t server_held_bytes(const struct server *server);

/* "GET", the path decoded and without the query, the value of a query parameter decoded (NULL:
 * absent; "" where it has no value), a header's value (NULL: absent). */
const char *server_request_method(const struct server_request *request);
const char *server_request_path(const struct server_request *request);
const char *server_request_query(const struct server_request *request, const char *name);
const char *server_request_header(const struct server_request *request, const char *name);
/* The name of a query parameter that is in none of `known` (NULL-terminated); NULL: there is none.
 */
const char *server_request_unknown_query(const struct server_request *request,
                                         const char *const *known);
/* NUL-terminated, len without that; never NULL. */
const char *server_request_body(const struct server_request *request, size_t *ret_len);
/* The same, taken over by the caller, who frees it. It counts among the bodies until the request is
 * answered. */
char *server_request_take_body(struct server_request *request, size_t *ret_len);
const struct server_peer *server_request_peer(const struct server_request *request);

/* The answer comes after the handler's call, by server_reply() from the loop, unless server_free()
 * is called before. Nobody tells whether the peer still waits for it. */
void server_hold(struct server_request *request);

/* Takes over body (from malloc). extra_headers: NULL, or name, value, …, NULL. */
void server_reply(struct server_request *request, unsigned status, const char *content_type,
                  const char *const *extra_headers, char *take_body, size_t len);

/*
 * An answer of unknown length. fill() is called from the loop whenever the connection can take
 * more: it writes at most max bytes to data and returns how many; 0: none now, it sleeps until
 * server_stream_wake(); -1: that was all. close() is called exactly once, when the answer has ended
 * or its reader has left (noticed also while it sleeps), before server_free() returns at the
 * latest; the stream is not to be used after that.
 */
struct server_stream_ops {
    ssize_t (*fill)(void *arg, char *data, size_t max);
    void (*close)(void *arg);
};
struct server_stream *server_reply_stream(struct server_request *request, const char *content_type,
                                          const struct server_stream_ops *ops, void *arg);
/* On the loop's thread, from anywhere but inside fill() of the same stream; cheap where it does
 * not sleep. */
void server_stream_wake(struct server_stream *stream);

#endif
