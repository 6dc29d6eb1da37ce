/* How much of an answer is taken in one turn of the loop, and which codings of it. */
#include "../../src/io/http_private.h"
#include "edgible/buf.h"
#include "edgible/fd.h"
#include "edgible/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define TURN_BYTES (128UL * 1024) /* HTTP_TURN_BYTES */
#define PIECE_BYTES (16UL * 1024) /* libcurl hands on no more at once */
#define TLS_HANDSHAKE 22          /* the first byte of a TLS client */

/* --- a server of one connection ------------------------------------------------------------------
 */

struct server {
    int fd;
    in_port_t port;
    pthread_t thread;
    const char *head;
    struct buf body;
    size_t times, sent; /* the body, which is sent once where times is 0; whole ones that were */
    char request[4096];
};

/* false: who asked has gone. */
static bool send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n <= 0) {
            return false;
        }
        data += n;
        len -= (size_t) n;
    }
    return true;
}

static void *serve(void *arg)
{
    struct server *server = arg;
    CLEANUP(close_fd) int fd = accept(server->fd, NULL, NULL);
    size_t len = 0;
    while (len < sizeof(server->request) - 1 && strstr(server->request, "\r\n\r\n") == NULL &&
           server->request[0] != TLS_HANDSHAKE) {
        ssize_t n = recv(fd, server->request + len, sizeof(server->request) - 1 - len, 0);
        if (n <= 0) {
            break;
        }
        len += (size_t) n;
    }
    bool is_there = send_all(fd, server->head, strlen(server->head));
    do {
        is_there = is_there && send_all(fd, buf_str(&server->body), server->body.len);
        server->sent += is_there ? 1 : 0;
    } while (is_there && server->sent < server->times);
    return NULL;
}

static void start_server(struct server *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(server->fd >= 0);
    assert_int_equal(bind(server->fd, (struct sockaddr *) &address, sizeof(address)), 0);
    assert_int_equal(listen(server->fd, 1), 0);
    assert_int_equal(getsockname(server->fd, (struct sockaddr *) &address, &len), 0);
    server->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

/* --- one request ---------------------------------------------------------------------------------
 */

struct asked {
    struct loop *loop;
    struct buf got; /* of on_data, or of the answer */
    uint64_t turn;
    size_t in_turn, most_in_turn;
    uint64_t turns; /* that all of it took */
    long status;
    bool is_delimited;
    char *etag; /* NULL: none */
    struct err err;
};

static int on_data(void *arg, const char *data, size_t len)
{
    struct asked *asked = arg;
    uint64_t turn = loop_turns(asked->loop)->count;
    asked->in_turn = turn == asked->turn ? asked->in_turn + len : len;
    asked->turn = turn;
    asked->most_in_turn =
        asked->in_turn > asked->most_in_turn ? asked->in_turn : asked->most_in_turn;
    buf_add(&asked->got, data, len);
    return 0;
}

static void on_done(void *arg, const struct http_answer *answer, const struct err *err)
{
    struct asked *asked = arg;
    asked->status = answer->status;
    asked->is_delimited = answer->is_delimited;
    asked->etag = xstrdup_or_null(answer->etag);
    if (err != NULL) {
        asked->err = *err;
    } else if (answer->body.len > 0) {
        buf_add(&asked->got, buf_str(&answer->body), answer->body.len);
    }
    loop_stop(asked->loop);
}

/* The server has been started; it is ended here. */
static void perform(struct server *server, struct asked *asked, const struct http_request *request)
{
    struct err err = {0};
    CLEANUP(loop) struct loop *loop = loop_new(&err);
    assert_non_null(loop);
    struct http_client *client = http_client_new(loop, &err);
    assert_non_null(client);
    asked->loop = loop;
    struct http_call *call = http_call_new(client, request, on_done, asked, &err);
    assert_non_null(call);
    loop_run(loop);
    asked->turns = loop_turns(loop)->count;
    http_call_free(call);
    http_client_free(client);
    assert_int_equal(pthread_join(server->thread, NULL), 0);
    fd_close(&server->fd);
    buf_fini(&server->body);
}

static void ask(struct server *server, struct asked *asked, bool is_stream)
{
    start_server(server);
    CLEANUP(free) char *url = xasprintf("http://127.0.0.1:%d/", (int) server->port);
    struct http_request request = {
        .url = url, .method = "GET", .on_data = is_stream ? on_data : NULL, .arg = asked};
    perform(server, asked, &request);
}

/* --- tests ---------------------------------------------------------------------------------------
 */

static void fill(struct buf *body, size_t len)
{
    char block[4096];
    memset(block, 'x', sizeof(block));
    while (body->len < len) {
        buf_add(body, block, sizeof(block));
    }
}

static void a_long_stream_is_handed_on_in_turns(void **state)
{
    (void) state;
    struct server server = {.head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"};
    struct asked asked = {0};
    size_t len = 4UL << 20;
    fill(&server.body, len);
    ask(&server, &asked, true);
    assert_int_equal(asked.err.code, 0);
    assert_int_equal(asked.got.len, len);
    assert_true(asked.most_in_turn < TURN_BYTES + PIECE_BYTES);
    buf_fini(&asked.got);
}

static void a_long_answer_is_kept_in_turns(void **state)
{
    (void) state;
    struct server server = {.head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"};
    struct asked asked = {0};
    size_t len = 4UL << 20;
    fill(&server.body, len);
    ask(&server, &asked, false);
    assert_int_equal(asked.err.code, 0);
    assert_int_equal(asked.got.len, len);
    assert_true(asked.turns >= len / (TURN_BYTES + PIECE_BYTES));
    buf_fini(&asked.got);
}

static void codings_are_refused(void **state)
{
    (void) state;
    static const char *const heads[] = {
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Encoding: identity, gzip\r\n\r\n",
        "HTTP/1.1 404 No\r\ncontent-encoding:br\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nContent-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    };
    for (size_t i = 0; i < 2 * ARRAY_LEN(heads); i++) {
        struct server server = {.head = heads[i / 2]};
        struct asked asked = {0};
        ask(&server, &asked, i % 2 != 0);
        assert_int_equal(asked.err.code, ERR_REMOTE);
        assert_non_null(strstr(asked.err.msg, "-Encoding"));
        assert_null(strstr(server.request, "Accept-Encoding"));
        buf_fini(&asked.got);
    }
}

static void a_length_that_overflows_is_none(void **state)
{
    (void) state;
    static const struct {
        const char *head;
        bool is_delimited;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n",                       true },
        {"HTTP/1.1 200 OK\r\n\r\n",                                            false},
        {"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct server server = {.head = cases[i].head};
        struct asked asked = {0};
        buf_add_str(&server.body, "text");
        ask(&server, &asked, false);
        assert_int_equal(asked.err.code, 0);
        assert_string_equal(buf_str(&asked.got), "text");
        assert_int_equal(asked.is_delimited, cases[i].is_delimited);
        buf_fini(&asked.got);
    }
}

static void headers_without_an_end_are_refused(void **state)
{
    (void) state;
    struct server server = {.head = ""};
    struct asked asked = {0};
    while (server.body.len < 1UL << 20) {
        buf_add_str(&server.body, "HTTP/1.1 103 Early Hints\r\nLink: none\r\n\r\n");
    }
    buf_add_str(&server.body, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    ask(&server, &asked, false);
    assert_int_equal(asked.err.code, ERR_REMOTE);
    assert_non_null(strstr(asked.err.msg, "too many headers"));
    buf_fini(&asked.got);
}

/* The server is the proxy of a request that it carries no answer to. */
static void ask_through_proxy(struct server *server, struct asked *asked)
{
    start_server(server);
    CLEANUP(free) char *proxy = xasprintf("http://127.0.0.1:%d", (int) server->port);
    struct http_request request = {.url = "https://192.0.2.1/", .method = "GET", .arg = asked};
    assert_int_equal(setenv("https_proxy", proxy, 1), 0);
    assert_int_equal(unsetenv("no_proxy"), 0);
    assert_int_equal(unsetenv("NO_PROXY"), 0);
    perform(server, asked, &request);
    assert_int_equal(unsetenv("https_proxy"), 0);
    assert_int_equal(asked->err.code, ERR_REMOTE);
}

static void a_proxy_that_answers_without_an_end_is_refused(void **state)
{
    (void) state;
    static const char *const heads[] = {
        "HTTP/1.1 407 No\r\nContent-Length: 9999999999\r\n\r\n",
        "HTTP/1.1 407 No\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n",
        "HTTP/1.1 407 No\r\nX: ",
    };
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        struct server server = {.head = heads[i]};
        struct asked asked = {0};
        fill(&server.body, 64UL * 1024);
        ask_through_proxy(&server, &asked);
        assert_non_null(strstr(asked.err.msg, "the proxy answers with status 407 and too much"));
    }
}

static void a_proxys_answer_is_not_the_servers(void **state)
{
    (void) state;
    struct server server = {.head = "HTTP/1.1 200 OK\r\nETag: \"x\"\r\n\r\n"};
    struct asked asked = {0};
    ask_through_proxy(&server, &asked);
    CLEANUP(free) char *etag = asked.etag;
    assert_null(etag);
    assert_int_equal(asked.status, 0);
}

static const char *const proxy_variables[] = {"https_proxy", "HTTPS_PROXY", "all_proxy",
                                              "ALL_PROXY"};

/* Whatever variable names it, it is told of nothing, not even of TLS. */
static void a_proxy_that_is_reached_by_tls_is_refused(void **state)
{
    (void) state;
    for (size_t i = 0; i < ARRAY_LEN(proxy_variables); i++) {
        struct server server = {.head = ""};
        struct asked asked = {0};
        start_server(&server);
        CLEANUP(free)
        char *proxy = xasprintf("%s://user:secret@127.0.0.1:%d/x", i == 0 ? "HTTPS" : "https",
                                (int) server.port);
        CLEANUP(free)
        char *named = xasprintf("'https://127.0.0.1:%d' of the environment (%s)", (int) server.port,
                                proxy_variables[i]);
        struct http_request request = {.url = "https://192.0.2.1/", .method = "GET"};
        assert_int_equal(unsetenv("no_proxy"), 0);
        assert_int_equal(unsetenv("NO_PROXY"), 0);
        assert_int_equal(setenv(proxy_variables[i], proxy, 1), 0);
        perform(&server, &asked, &request);
        assert_int_equal(unsetenv(proxy_variables[i]), 0);
        assert_int_equal(asked.err.code, ERR_REMOTE);
        assert_non_null(strstr(asked.err.msg, named));
        assert_non_null(strstr(asked.err.msg, "a proxy must be reached by http://"));
        assert_null(strstr(asked.err.msg, "secret"));
        assert_string_equal(server.request, "");
    }
}

/* The host may answer or not: it is not asked through the proxy. */
static void a_tls_proxy_that_does_not_count_refuses_nothing(void **state)
{
    (void) state;
    struct err err = {0};
    struct http_answer answer;
    struct http_request request = {.url = "https://192.0.2.1/", .method = "GET", .timeout_ms = 100};
    assert_int_equal(setenv("https_proxy", "https://127.0.0.1:1", 1), 0);
    assert_int_equal(setenv("no_proxy", "192.0.2.1", 1), 0);
    assert_int_equal(http_perform(&request, &answer, &err), -1);
    http_answer_fini(&answer);
    assert_null(strstr(err.msg, "proxy"));
    assert_int_equal(unsetenv("https_proxy"), 0);
    assert_int_equal(unsetenv("no_proxy"), 0);
}

/* Plain records full of HelloRequest, which OpenSSL skips in a handshake. */
static void a_handshake_without_an_end_is_refused(void **state)
{
    (void) state;
    static const char header[] = {TLS_HANDSHAKE, 3, 3, 0x40, 0};
    static const char messages[0x4000];
    /* The second connection may have the first one's address in memory. */
    for (int i = 0; i < 2; i++) {
        struct server server = {.head = "", .times = 8192}; /* 128 MiB */
        struct asked asked = {0};
        buf_add(&server.body, header, sizeof(header));
        buf_add(&server.body, messages, sizeof(messages));
        start_server(&server);
        CLEANUP(free) char *url = xasprintf("https://127.0.0.1:%d/", (int) server.port);
        struct http_request request = {.url = url, .method = "GET", .arg = &asked};
        perform(&server, &asked, &request);
        assert_int_equal(asked.err.code, ERR_REMOTE);
        assert_non_null(strstr(asked.err.msg, "a TLS handshake without an end"));
        /* What is in the buffers of both sockets is not read. */
        assert_in_range(server.sent, 0, server.times / 4);
    }
}

/* --- what libcurl costs, also where it hands on nothing ------------------------------------------
 */

#define COSTS_MS 6 /* above HTTP_TURN_MS */
#define REST_MS 20 /* of http_client.c */

static CURLMcode (*socket_action)(CURLM *multi, curl_socket_t fd, int events, int *running);
static mono_ms acted_at;
static mono_ms shortest_rest;

static int64_t cpu_ms(void)
{
    struct timespec ts = {0};
    (void) clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static CURLMcode costly_action(CURLM *multi, curl_socket_t fd, int events, int *running)
{
    int64_t until = cpu_ms() + COSTS_MS;
    mono_ms rest = loop_now() - acted_at;
    shortest_rest = rest < shortest_rest ? rest : shortest_rest;
    CURLMcode code = socket_action(multi, fd, events, running);
    while (cpu_ms() < until) {
    }
    acted_at = loop_now();
    return code;
}

/* The extension of a chunk, as an example. */
static void bytes_that_are_no_body_are_taken_in_turns(void **state)
{
    (void) state;
    struct server server = {.head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;"};
    struct asked asked = {0};
    fill(&server.body, 1UL << 20);
    buf_add_str(&server.body, "\r\ntext\r\n0\r\n\r\n");
    const struct http_curl *loaded = http_curl_load(NULL);
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the table itself is not constant
    struct http_curl *lib = (struct http_curl *) (uintptr_t) loaded;
    assert_non_null(lib);
    socket_action = lib->multi_socket_action;
    lib->multi_socket_action = costly_action;
    shortest_rest = INT64_MAX;
    ask(&server, &asked, true);
    lib->multi_socket_action = socket_action;
    assert_int_equal(asked.err.code, 0);
    assert_string_equal(buf_str(&asked.got), "text");
    assert_in_range(shortest_rest, REST_MS / 2, INT64_MAX);
    buf_fini(&asked.got);
}

/* What a server says may become a header of the next request. */
static void no_header_is_more_than_a_line(void **state)
{
    (void) state;
    static const struct {
        const char *head, *etag;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nETag: \"a b\"\r\nContent-Length: 0\r\n\r\n",          "\"a b\""},
        {"HTTP/1.1 200 OK\r\nETag: \"a\rX-Evil: 1\"\r\nContent-Length: 0\r\n\r\n", NULL     },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct server server = {.head = cases[i].head};
        struct asked asked = {0};
        ask(&server, &asked, false);
        CLEANUP(free) char *etag = asked.etag;
        assert_int_equal(asked.err.code, 0);
        assert_int_equal(etag == NULL, cases[i].etag == NULL);
        assert_true(etag == NULL || strcmp(etag, cases[i].etag) == 0);
    }
    struct err err = {0};
    CLEANUP(loop) struct loop *loop = loop_new(&err);
    CLEANUP(http_client) struct http_client *client = http_client_new(loop, &err);
    const char *headers[] = {"Authorization: tok\r\nX-Evil: 1", NULL};
    struct http_request request = {
        .url = "http://127.0.0.1:1/", .method = "GET", .headers = headers};
    assert_null(http_call_new(client, &request, on_done, NULL, &err));
    headers[0] = "Authorization: tok\nX-Evil: 1";
    assert_null(http_call_new(client, &request, on_done, NULL, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_stream_is_handed_on_in_turns),
        cmocka_unit_test(a_long_answer_is_kept_in_turns),
        cmocka_unit_test(codings_are_refused),
        cmocka_unit_test(a_length_that_overflows_is_none),
        cmocka_unit_test(headers_without_an_end_are_refused),
        cmocka_unit_test(a_proxy_that_answers_without_an_end_is_refused),
        cmocka_unit_test(a_proxys_answer_is_not_the_servers),
        cmocka_unit_test(a_proxy_that_is_reached_by_tls_is_refused),
        cmocka_unit_test(a_tls_proxy_that_does_not_count_refuses_nothing),
        cmocka_unit_test(a_handshake_without_an_end_is_refused),
        cmocka_unit_test(bytes_that_are_no_body_are_taken_in_turns),
        cmocka_unit_test(no_header_is_more_than_a_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
