/* Any bytes as requests to the API's server: each connection ends, and nothing breaks. */
#include "edgible/fd.h"
#include "edgible/loop.h"
#include "edgible/server.h"
#include "fuzz.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct {
    struct loop *loop;
    struct server *server;
    char path[64];
} stage;

static unsigned judge(void *arg, int fd, const struct server_peer *peer)
{
    (void) arg;
    (void) fd;
    return peer->uid == geteuid() ? 0 : 403;
}

/* --- a stream that sleeps between its pieces --- */

struct stream {
    struct server_stream *stream;
    struct loop_timer *timer;
    int left;
    bool is_due;
};

static ssize_t fill(void *arg, char *data, size_t max)
{
    struct stream *s = arg;
    if (s->left == 0) {
        return -1;
    }
    if (!s->is_due) {
        loop_timer_arm(s->timer, 0);
        return 0;
    }
    s->is_due = false;
    s->left--;
    memset(data, 'x', max < 100 ? max : 100);
    return (ssize_t) (max < 100 ? max : 100);
}

static void on_due(void *arg)
{
    struct stream *s = arg;
    s->is_due = true;
    server_stream_wake(s->stream);
}

static void on_close(void *arg)
{
    struct stream *s = arg;
    loop_timer_free(s->timer);
    free(s);
}

/* Everything that a handler may ask of a request. */
static void handle(void *arg, struct server_request *request)
{
    static const struct server_stream_ops ops = {.fill = fill, .close = on_close};
    static const char *const known[] = {"a", "follow", NULL};
    (void) arg;
    size_t len = 0;
    const char *body = server_request_body(request, &len);
    assert(body[len] == '\0' && len <= SERVER_MAX_BODY_BYTES);
    const char *follow = server_request_query(request, "follow");
    const char *unknown = server_request_unknown_query(request, known);
    const char *header = server_request_header(request, "Last-Event-ID");
    if (follow != NULL) {
        struct stream *s = xcalloc(1, sizeof(*s));
        s->left = 3;
        s->timer = loop_timer_new(stage.loop, on_due, s);
        s->stream = server_reply_stream(request, "text/plain", &ops, s);
        return;
    }
    char *text =
        xasprintf("%s %s %zu %s %s", server_request_method(request), server_request_path(request),
                  len, unknown != NULL ? unknown : "", header != NULL ? header : "");
    server_reply(request, 200, "text/plain", NULL, text, strlen(text));
}

static void strike(void)
{
    server_free(stage.server);
    loop_free(stage.loop);
}

static void set_up(void)
{
    (void) signal(SIGPIPE, SIG_IGN);
    (void) snprintf(stage.path, sizeof(stage.path), "/tmp/edgible-fuzz.%d.sock", (int) getpid());
    stage.loop = loop_new(NULL);
    struct server_params params = {
        .loop = stage.loop,
        .socket = stage.path,
        .group = (gid_t) -1,
        .listen_fd = -1,
        /* libmicrohttpd does not see every half-close; what it misses ends here. */
        .request_timeout_ms = 20,
        .judge = judge,
        .handle = handle,
    };
    stage.server = server_new(&params, NULL);
    assert(stage.server != NULL);
    (void) atexit(strike);
}

/* --- the client --- */

struct client {
    int fd;
    const uint8_t *data;
    size_t left;
    struct loop_timer *timer;
};

static bool on_readable(void *arg)
{
    const struct client *client = arg;
    char scratch[4096];
    ssize_t n = recv(client->fd, scratch, sizeof(scratch), MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        loop_stop(stage.loop);
    }
    return true;
}

static void on_send(void *arg)
{
    struct client *client = arg;
    ssize_t n = send(client->fd, client->data, client->left, MSG_DONTWAIT | MSG_NOSIGNAL);
    client->data += n > 0 ? n : 0;
    client->left -= n > 0 ? (size_t) n : 0;
    if (client->left == 0 || (n < 0 && errno != EAGAIN)) {
        (void) shutdown(client->fd, SHUT_WR);
    } else {
        loop_timer_arm(client->timer, loop_now() + 1);
    }
}

static void on_stuck(void *arg)
{
    (void) arg;
    abort(); /* a connection does not end */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (stage.loop == NULL) {
        set_up();
    }
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s", stage.path);
    struct client client = {.data = data, .left = size};
    client.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert(connect(client.fd, (const struct sockaddr *) &address, sizeof(address)) == 0);
    struct loop_io *io = loop_io_new(stage.loop, client.fd, on_readable, &client);
    struct loop_timer *stuck = loop_timer_new(stage.loop, on_stuck, NULL);
    client.timer = loop_timer_new(stage.loop, on_send, &client);
    loop_timer_arm(client.timer, 0);
    loop_timer_arm(stuck, loop_now() + 4000);
    loop_run(stage.loop);
    loop_timer_free(client.timer);
    loop_timer_free(stuck);
    loop_io_free(io);
    (void) close(client.fd);
    return 0;
}
