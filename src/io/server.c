#include "edgible/server.h"

#include "edgible/buf.h"
#include "edgible/fd.h"
#include "edgible/list.h"
#include "server_private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Connections that are only let in to be told that they are refused. */
#define REFUSED_MAX 64
#define REFUSED_TIMEOUT_MS 5000
#define CONNECTION_MEMORY (32UL * 1024)
#define STREAM_BLOCK (32UL * 1024)
#define IDLE_RUNS_MAX 1000
#define IDLE_PAUSE_MS 100

struct server_stream {
    struct list link; /* in dead_streams, or in sleepers */
    struct server *server;
    struct MHD_Connection *mhd;
    struct MHD_Response *response;
    int fd;
    struct server_stream_ops ops;
    void *arg;
    struct loop_io *gone_io; /* while it sleeps */
    bool sleeps, is_gone;
};

/* --- running libmicrohttpd -----------------------------------------------------------------------
 */

void server_run_soon(struct server *server)
{
    loop_timer_arm(server->run_timer, 0);
}

/* For one more answer. At its end there are no more turns. */
static bool has_time(struct server *server)
{
    return server->ends || loop_share_lasts(server->params.loop, &server->share);
}

/* Requests that did not fit into an earlier turn, in their order, as far as they fit into this. */
static void run_waiting(struct server *server)
{
    while (!list_is_empty(&server->waiting) && has_time(server)) {
        struct server_request *request =
            list_entry(server->waiting.next, struct server_request, link);
        list_remove(&request->link);
        request->is_due = true;
        MHD_resume_connection(request->mhd);
        (void) server_run_mhd(server);
    }
}

static void run(struct server *server)
{
    list_each (it, &server->dead_streams) {
        MHD_destroy_response(list_entry(it, struct server_stream, link)->response);
    }
    (void) loop_share_lasts(server->params.loop, &server->share); /* it begins */
    MHD_UNSIGNED_LONG_LONG wait_ms = 0;
    MHD_UNSIGNED_LONG_LONG most_ms = server_run_mhd(server) ? IDLE_PAUSE_MS : INT_MAX;
    run_waiting(server);
    if (!list_is_empty(&server->waiting)) {
        server_run_soon(server);
        return;
    }
    wait_ms = MHD_get_timeout(server->daemon, &wait_ms) == MHD_YES ? wait_ms : most_ms;
    /* It may ask to be called at once for ever, for a connection that it does not bring any
     * further: found by fuzzing, with 0.9.75. That must not take the CPU. */
    server->idle_runs = wait_ms == 0 ? server->idle_runs + 1 : 0;
    wait_ms = server->idle_runs > IDLE_RUNS_MAX ? IDLE_PAUSE_MS : wait_ms;
    loop_timer_arm(server->run_timer,
                   loop_now() + (mono_ms) (wait_ms < most_ms ? wait_ms : most_ms));
}

static bool on_daemon_readable(void *arg)
{
    run(arg);
    return true;
}

static void on_run_timer(void *arg)
{
    run(arg);
}

/* --- connections ---------------------------------------------------------------------------------
 */

/* Of those that libmicrohttpd has not spoken of yet. NULL: there is none. */
static struct connection *find_fresh(const struct server *server, int fd)
{
    list_each (it, &server->connections) {
        struct connection *c = list_entry(it, struct connection, link);
        if (c->fd == fd && !c->is_known) {
            return c;
        }
    }
    return NULL;
}

static void forget_connection(struct server *server, struct connection *c)
{
    if (c == NULL) {
        return;
    }
    list_remove(&c->link);
    server->accepted -= c->refusal == 0 ? 1 : 0;
    server->refused -= c->refusal != 0 ? 1 : 0;
    free(c);
    server_arm_deadline(server);
}

/* That one began is told from inside MHD_add_connection() by libmicrohttpd 0.9.75, and by 1.0
 * later, from inside MHD_run(). */
static void on_connection(void *cls, struct MHD_Connection *mhd, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct server *server = cls;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        forget_connection(server, *socket_context);
        return;
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct connection *c = find_fresh(server, info->connect_fd);
    assert(c != NULL);
    c->is_known = true;
    *socket_context = c;
}

static unsigned judge(const struct server *server, int fd, const struct server_peer *peer)
{
    unsigned refusal = server->params.judge(server->params.arg, fd, peer);
    size_t most = SERVER_MAX_CONNECTIONS + (peer->uid == 0 ? SERVER_ROOT_CONNECTIONS : 0);
    return refusal == 0 && server->accepted >= most ? 503 : refusal;
}

void server_take_connection(struct server *server, int take_fd)
{
    struct connection *c = xcalloc(1, sizeof(*c));
    struct sockaddr_un nobody = {.sun_family = AF_UNIX};
    c->server = server;
    list_init(&c->link);
    c->refusal =
        server_socket_read_peer(take_fd, &c->peer) < 0 ? 403 : judge(server, take_fd, &c->peer);
    if (c->refusal != 0 && server->refused >= REFUSED_MAX) {
        server_socket_refuse(take_fd, c->refusal, server_refusal_title(c->refusal),
                             server_refusal_detail(c->refusal));
        (void) close(take_fd);
        free(c);
        return;
    }
    struct MHD_Daemon *daemon = server_choose_mhd(server, &take_fd);
    c->fd = take_fd;
    /* One of that number was given up without a word. */
    forget_connection(server, find_fresh(server, take_fd));
    c->deadline =
        loop_now() + (c->refusal != 0 ? REFUSED_TIMEOUT_MS : server_request_timeout(server));
    server->accepted += c->refusal == 0 ? 1 : 0;
    server->refused += c->refusal != 0 ? 1 : 0;
    list_add_tail(&server->connections, &c->link);
    if (MHD_add_connection(daemon, take_fd, (const struct sockaddr *) &nobody,
                           sizeof(sa_family_t)) != MHD_YES) {
        /* The descriptor is closed by now; whether it told of the end depends on how far it got. */
        forget_connection(server, find_fresh(server, take_fd));
    }
    server_arm_deadline(server);
}

/* --- requests ------------------------------------------------------------------------------------
 */

/* The first call, when the headers are there. */
static void begin_request(struct server_request *request)
{
    const struct connection *c = request->connection;
    const char *length = server_request_header(request, MHD_HTTP_HEADER_CONTENT_LENGTH);
    bool has_body =
        length != NULL || server_request_header(request, MHD_HTTP_HEADER_TRANSFER_ENCODING) != NULL;
    c->server->idle_runs = 0;
    if (c->refusal != 0) {
        server_reply_problem(request, c->refusal, server_refusal_title(c->refusal),
                             server_refusal_detail(c->refusal));
    } else if (!has_body && server_request_header(request, MHD_HTTP_HEADER_EXPECT) != NULL) {
        /* libmicrohttpd 0.9.75 would neither go on nor end. */
        server_reply_problem(request, 400, "Bad Request", "an Expect header without a body");
    } else if (length != NULL && strtoull(length, NULL, 10) > SERVER_MAX_BODY_BYTES) {
        request->refusal = 413;
        server_refuse_body(request);
    }
}

/* Whether its turn is over, or others came first: then it is asked for again. */
static bool must_wait(struct server_request *request)
{
    struct server *server = request->connection->server;
    if (request->is_due || (list_is_empty(&server->waiting) && has_time(server))) {
        return false;
    }
    list_add_tail(&server->waiting, &request->link);
    MHD_suspend_connection(request->mhd);
    return true;
}

static void end_request(struct server_request *request)
{
    struct server *server = request->connection->server;
    request->connection->deadline = 0;
    server_arm_deadline(server);
    server->idle_runs = 0;
    if (request->refusal == 0 && must_wait(request)) {
        return;
    }
    if (request->refusal == 0 && server_is_full(request->connection, 0)) {
        request->refusal = 503;
    }
    if (request->refusal != 0) {
        server_refuse_body(request);
        return;
    }
    server->params.handle(server->params.arg, request);
    if (!request->is_answered && request->is_held) {
        server_suspend_held(request);
        return;
    }
    server_drop_body(request);
    if (!request->is_answered) {
        server_reply_problem(request, 500, "Internal Server Error", "there was no answer");
    }
}

/* The parameters are libmicrohttpd's. */
// NOLINTNEXTLINE(readability-function-size)
static enum MHD_Result on_access(void *cls, struct MHD_Connection *mhd, const char *url,
                                 const char *method, const char *version, const char *data,
                                 size_t *data_len, void **req_cls)
{
    (void) cls;
    (void) version;
    struct server_request *request = *req_cls;
    if (server_connection_of(mhd)->is_cut_off) {
        return MHD_NO;
    }
    if (request == NULL) {
        request = xcalloc(1, sizeof(*request));
        *req_cls = request;
        request->connection = server_connection_of(mhd);
        request->mhd = mhd;
        request->method = method;
        request->path = url;
        list_init(&request->link);
        begin_request(request);
        return MHD_YES;
    }
    if (*data_len > 0) {
        server_add_to_body(request, data, *data_len);
        *data_len = 0;
        return MHD_YES;
    }
    if (request->connection->server->ends) {
        return MHD_NO;
    }
    if (!request->is_answered) {
        request->method = method;
        request->path = url;
        end_request(request);
    } else {
        server_send_held(request);
    }
    return MHD_YES;
}

static void on_completed(void *cls, struct MHD_Connection *mhd, void **req_cls,
                         enum MHD_RequestTerminationCode code)
{
    (void) code;
    struct server *server = cls;
    struct server_request *request = *req_cls;
    struct connection *c = server_connection_of(mhd);
    if (request != NULL) {
        list_remove(&request->link);
        if (request->response != NULL) {
            MHD_destroy_response(request->response);
        }
        server_drop_body(request);
        free(request);
        *req_cls = NULL;
    }
    if (c != NULL) {
        c->deadline = loop_now() + server_request_timeout(server);
        server_arm_deadline(server);
    }
}

const char *server_request_method(const struct server_request *request)
{
    return request->method;
}

const char *server_request_path(const struct server_request *request)
{
    return request->path;
}

const char *server_request_query(const struct server_request *request, const char *name)
{
    const char *value = NULL;
    size_t len = 0;
    if (MHD_lookup_connection_value_n(request->mhd, MHD_GET_ARGUMENT_KIND, name, strlen(name),
                                      &value, &len) != MHD_YES) {
        return NULL;
    }
    return value != NULL ? value : "";
}

const char *server_request_header(const struct server_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->mhd, MHD_HEADER_KIND, name);
}

struct unknown_search {
    const char *const *known;
    const char *found;
};

static enum MHD_Result find_unknown(void *cls, enum MHD_ValueKind kind, const char *key,
                                    const char *value)
{
    (void) kind;
    (void) value;
    struct unknown_search *search = cls;
    for (size_t i = 0; search->known[i] != NULL; i++) {
        if (strcmp(key, search->known[i]) == 0) {
            return MHD_YES;
        }
    }
    search->found = key;
    return MHD_NO;
}

const char *server_request_unknown_query(const struct server_request *request,
                                         const char *const *known)
{
    struct unknown_search search = {.known = known};
    (void) MHD_get_connection_values(request->mhd, MHD_GET_ARGUMENT_KIND, find_unknown, &search);
    return search.found;
}

const char *server_request_body(const struct server_request *request, size_t *ret_len)
{
    *ret_len = request->body.len;
    return buf_str(&request->body);
}

const struct server_peer *server_request_peer(const struct server_request *request)
{
    return &request->connection->peer;
}

/* --- answers -------------------------------------------------------------------------------------
 */

static void add_headers(struct MHD_Response *response, const char *content_type,
                        const char *const *extra)
{
    (void) MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    (void) MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    for (size_t i = 0; extra != NULL && extra[i] != NULL; i += 2) {
        (void) MHD_add_response_header(response, extra[i], extra[i + 1]);
    }
}

/* Until all of it is sent, or its reader has left. */
struct answer {
    struct server *server;
    char *body;
    size_t len;
};

static void free_answer(void *cls)
{
    struct answer *answer = cls;
    answer->server->held -= answer->len;
    free(answer->body);
    free(answer);
}

void server_reply(struct server_request *request, unsigned status, const char *content_type,
                  const char *const *extra_headers, char *take_body, size_t len)
{
    struct answer *answer = xcalloc(1, sizeof(*answer));
    *answer = (struct answer){request->connection->server, take_body, len};
    answer->server->held += len;
    struct MHD_Response *response =
        MHD_create_response_from_buffer_with_free_callback_cls(len, take_body, free_answer, answer);
    request->is_answered = true;
    if (response == NULL) {
        free_answer(answer);
        return;
    }
    add_headers(response, content_type, extra_headers);
    server_respond(request, status, response);
}

/* Its reader has left; or it sends, which says nothing, and is not looked at any more. */
static bool on_stream_readable(void *arg)
{
    struct server_stream *stream = arg;
    struct pollfd state = {.fd = stream->fd};
    loop_io_free(steal_ptr(&stream->gone_io));
    if (poll(&state, 1, 0) > 0) {
        stream->is_gone = true;
        server_stream_wake(stream);
    }
    return true;
}

/* libmicrohttpd does not look at its socket while it sleeps. */
static void sleep_stream(struct server_stream *stream)
{
    stream->sleeps = true;
    list_add_tail(&stream->server->sleepers, &stream->link);
    stream->gone_io =
        loop_io_new(stream->server->params.loop, stream->fd, on_stream_readable, stream);
    MHD_suspend_connection(stream->mhd);
}

static ssize_t read_stream(void *cls, uint64_t pos, char *data, size_t max)
{
    (void) pos;
    struct server_stream *stream = cls;
    stream->server->idle_runs = 0;
    if (stream->is_gone) {
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    ssize_t n = stream->ops.fill(stream->arg, data, max);
    if (n == 0) {
        sleep_stream(stream);
    }
    return n >= 0 ? n : MHD_CONTENT_READER_END_OF_STREAM;
}

static void free_stream(void *cls)
{
    struct server_stream *stream = cls;
    list_remove(&stream->link);
    loop_io_free(stream->gone_io);
    stream->ops.close(stream->arg);
    free(stream);
}

void server_stream_wake(struct server_stream *stream)
{
    if (stream->sleeps) {
        stream->sleeps = false;
        list_remove(&stream->link);
        loop_io_free(steal_ptr(&stream->gone_io));
        MHD_resume_connection(stream->mhd);
        server_run_soon(stream->server);
    }
}

struct server_stream *server_reply_stream(struct server_request *request, const char *content_type,
                                          const struct server_stream_ops *ops, void *arg)
{
    struct server *server = request->connection->server;
    struct server_stream *stream = xcalloc(1, sizeof(*stream));
    list_init(&stream->link);
    stream->server = server;
    stream->mhd = request->mhd;
    stream->fd = request->connection->fd;
    stream->ops = *ops;
    stream->arg = arg;
    request->is_answered = true;
    stream->response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK,
                                                         read_stream, stream, free_stream);
    assert(stream->response != NULL); /* a few hundred bytes: as with other small allocations */
    add_headers(stream->response, content_type, NULL);
    if (MHD_queue_response(request->mhd, 200, stream->response) == MHD_YES) {
        MHD_destroy_response(stream->response);
    } else {
        /* The caller is to have it until the next turn. */
        list_add_tail(&server->dead_streams, &stream->link);
        server_run_soon(server);
    }
    return stream;
}

/* --- life ----------------------------------------------------------------------------------------
 */

struct MHD_Daemon *server_start_mhd(struct server *server, unsigned flags)
{
    return MHD_start_daemon(
        flags | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_access,
        server, MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, server, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned) (SERVER_MAX_CONNECTIONS + SERVER_ROOT_CONNECTIONS + REFUSED_MAX + 8),
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY, MHD_OPTION_URI_LOG_CALLBACK,
        server_on_uri, NULL, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned) (SERVER_STALL_TIMEOUT_MS / 1000), MHD_OPTION_END);
}

static int start_daemon(struct server *server, struct err *err)
{
    server->daemon = server_start_mhd(server, MHD_USE_EPOLL);
    if (server->daemon == NULL) {
        return err_set(err, ERR_HOST, "libmicrohttpd cannot be started");
    }
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    server->daemon_io =
        loop_io_new(server->params.loop, info->epoll_fd, on_daemon_readable, server);
    return 0;
}

struct server *server_new(const struct server_params *params, struct err *err)
{
    CLEANUP(server) struct server *server = xcalloc(1, sizeof(*server));
    server->params = *params;
    server->socket = xstrdup(params->socket);
    server->listen_fd = params->listen_fd;
    list_init(&server->connections);
    list_init(&server->dead_streams);
    list_init(&server->sleepers);
    list_init(&server->waiting);
    list_init(&server->later);
    server->run_timer = loop_timer_new(params->loop, on_run_timer, server);
    server->accept_timer = loop_timer_new(params->loop, server_accept, server);
    server->deadline_timer = loop_timer_new(params->loop, server_on_deadline, server);
    if (server_socket_begin(server, err) < 0 || start_daemon(server, err) < 0) {
        return NULL;
    }
    server_accept(server);
    return steal_ptr(&server);
}

/* Those that sleep, too: libmicrohttpd does not end while one does. */
static void end_all(struct server *server)
{
    list_each (it, &server->dead_streams) {
        MHD_destroy_response(list_entry(it, struct server_stream, link)->response);
    }
    list_each (it, &server->connections) {
        const struct connection *c = list_entry(it, struct connection, link);
        (void) shutdown(c->fd, SHUT_RDWR);
    }
    list_each (it, &server->sleepers) {
        struct server_stream *stream = list_entry(it, struct server_stream, link);
        stream->is_gone = true;
        server_stream_wake(stream);
    }
    server->ends = true;
    run_waiting(server);
    server_resume_all_held(server);
    (void) server_run_mhd(server);
    MHD_stop_daemon(server->daemon);
    server_stop_spare(server);
}

void server_free(struct server *server)
{
    if (server == NULL) {
        return;
    }
    loop_io_free(server->listen_io);
    loop_io_free(server->daemon_io);
    if (server->daemon != NULL) {
        end_all(server);
    }
    loop_timer_free(server->run_timer);
    loop_timer_free(server->accept_timer);
    loop_timer_free(server->deadline_timer);
    server_socket_end(server);
    free(server->socket);
    free(server);
}

size_t server_connection_count(const struct server *server)
{
    return server->accepted + server->refused;
}
