/*
 * The inside of the server, shared by server.c (requests and answers, on libmicrohttpd),
 * server_accept.c (accepting), server_body.c (bodies, refusals), server_hold.c (answers that come
 * later), server_socket.c (the socket, and who connects) and server_deadline.c (requests that are
 * cut off: they take too long, or libmicrohttpd would not answer them).
 */
#ifndef EDGIBLE_SERVER_PRIVATE_H
#define EDGIBLE_SERVER_PRIVATE_H

#include "edgible/buf.h"
#include "edgible/list.h"
#include "edgible/server.h"

#include <microhttpd.h>

struct server {
    struct server_params params;
    char *socket;
    ino_t inode; /* of the socket's path */
    int listen_fd;
    bool keeps_socket;
    struct MHD_Daemon *daemon;
    struct MHD_Daemon *spare; /* takes connections while epoll has no room; NULL: not yet */
    struct loop_io *listen_io, *daemon_io;
    struct loop_timer *run_timer;    /* when libmicrohttpd wants to be called */
    struct loop_timer *accept_timer; /* after a pause for want of descriptors */
    struct loop_timer *deadline_timer;
    struct list connections;
    struct list dead_streams; /* answers that could not be queued */
    struct list sleepers;     /* streams */
    struct list waiting;      /* requests for a later turn, in their order */
    struct list later;        /* requests that are suspended until they are answered */
    struct loop_share share;  /* for answers */
    size_t held;              /* bytes of request bodies and of answers that are not sent yet */
    bool ends;                /* nothing is answered any more */
    size_t accepted, refused; /* connections of each kind */
    unsigned idle_runs; /* of libmicrohttpd in a row, at its own wish and without any progress */
};

struct connection {
    struct list link;
    struct server *server;
    struct server_peer peer;
    int fd;
    bool is_known;    /* libmicrohttpd has said that it began */
    bool is_cut_off;  /* it was answered past libmicrohttpd, which is to end it */
    unsigned refusal; /* HTTP status that it is told; 0: it is served */
    mono_ms deadline; /* for its request to be there; 0: there is none under way */
};

/* Kept until its answer is complete. */
struct server_request {
    struct list link; /* in waiting, then in later */
    struct connection *connection;
    struct MHD_Connection *mhd;
    const char *method, *path;
    struct buf body;
    size_t taken;     /* bytes of a body that the handler has taken over */
    unsigned refusal; /* HTTP status, for the size of the body; 0: none */
    bool is_due;      /* it has waited for its turn */
    bool is_answered;
    bool is_held;                  /* its answer comes after the handler's call */
    unsigned status;               /* of the response */
    struct MHD_Response *response; /* of a held one, for the next turn; NULL: none */
};

/* A new socket that listens at path; mode and group are as they are to be before it does. */
int server_socket_open(const char *path, gid_t group, struct err *err) MUST_CHECK;
/* Opens the server's socket, or takes over the one that it was given; and closes it. */
int server_socket_begin(struct server *server, struct err *err) MUST_CHECK;
void server_socket_end(struct server *server);
/* -1 where it cannot be told who that is. */
int server_socket_read_peer(int fd, struct server_peer *ret);
/* A whole answer that refuses, as far as the socket takes it without waiting. */
void server_socket_refuse(int fd, unsigned status, const char *title, const char *detail);
/* What who is refused with this status is told. */
const char *server_refusal_title(unsigned status);
const char *server_refusal_detail(unsigned status);
/* The problem document of such an answer; the caller frees. */
char *server_problem_text(unsigned status, const char *title, const char *detail);

/* server_spare.c */
/* Who takes this connection; its descriptor may become another one. */
struct MHD_Daemon *server_choose_mhd(struct server *server, int *fd);
/* Runs both; whether there are connections that must be looked at without being told. */
bool server_run_mhd(struct server *server);
void server_stop_spare(struct server *server);

/* server_accept.c */
/* Accepts connections from here on; a timer's function, too. */
void server_accept(void *server);

/* server_body.c */
/* Whether requests and answers hold so much memory that `more` bytes are too much. */
bool server_is_full(const struct connection *c, size_t more);
/* Adds to the body; where that becomes too large, it is dropped and the refusal set. */
void server_add_to_body(struct server_request *request, const char *data, size_t len);
void server_drop_body(struct server_request *request);
/* Answers by the refusal. */
void server_refuse_body(struct server_request *request);
void server_reply_problem(struct server_request *request, unsigned status, const char *title,
                          const char *detail);

/* server_hold.c */
/* Sends the response now, or, where the request is suspended, with the next turn. Takes it over. */
void server_respond(struct server_request *request, unsigned status,
                    struct MHD_Response *take_response);
/* After the handler's call, where there is no answer yet. */
void server_suspend_held(struct server_request *request);
/* libmicrohttpd asks for the answer again. */
void server_send_held(struct server_request *request);
/* Before the server ends. */
void server_resume_all_held(struct server *server);

/* server_deadline.c */
mono_ms server_request_timeout(const struct server *server);
/* After any connection's deadline has changed. */
void server_arm_deadline(struct server *server);
void server_on_deadline(void *arg);
/* libmicrohttpd's callback for the URI of a request, before it takes the URI apart. */
void *server_on_uri(void *cls, const char *uri, struct MHD_Connection *mhd);
struct connection *server_connection_of(struct MHD_Connection *mhd);

/* server.c */
/* With these flags and ours; NULL: it cannot be started. */
struct MHD_Daemon *server_start_mhd(struct server *server, unsigned flags);
/* libmicrohttpd is called with the loop's next turn. */
void server_run_soon(struct server *server);
/* Judges who connected, and serves or refuses it. */
void server_take_connection(struct server *server, int take_fd);

#endif
