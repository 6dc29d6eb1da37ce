/* How much of an answer is taken in one turn of the loop, and which codings of it. */
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
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define TURN_BYTES (128UL * 1024) /* HTTP_TURN_BYTES */
#define PIECE_BYTES (16UL * 1024) /* libcurl hands on no more at once */

/* --- a server of one connection ------------------------------------------------------------------
 */

struct server {
    int fd;
    in_port_t port;
    pthread_t thread;
    const char *head;
    struct buf body;
    char request[4096];
};

static void send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n <= 0) {
            return; /* who asked has gone */
        }
        data += n;
        len -= (size_t) n;
    }
}

static void *serve(void *arg)
{
    struct server *server = arg;
    CLEANUP(close_fd) int fd = accept(server->fd, NULL, NULL);
    size_t len = 0;
    while (len < sizeof(server->request) - 1 && strstr(server->request, "\r\n\r\n") == NULL) {
        ssize_t n = recv(fd, server->request + len, sizeof(server->request) - 1 - len, 0);
        if (n <= 0) {
            break;
        }
        len += (size_t) n;
    }
    send_all(fd, server->head, strlen(server->head));
    send_all(fd, buf_str(&server->body), server->body.len);
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
    if (err != NULL) {
        asked->err = *err;
    } else if (answer->body.len > 0) {
        buf_add(&asked->got, buf_str(&answer->body), answer->body.len);
    }
    loop_stop(asked->loop);
}

static void ask(struct server *server, struct asked *asked, bool is_stream)
{
    struct err err = {0};
    start_server(server);
    CLEANUP(loop) struct loop *loop = loop_new(&err);
    assert_non_null(loop);
    struct http_client *client = http_client_new(loop, &err);
    assert_non_null(client);
    CLEANUP(free) char *url = xasprintf("http://127.0.0.1:%d/", (int) server->port);
    struct http_request request = {
        .url = url, .method = "GET", .on_data = is_stream ? on_data : NULL, .arg = asked};
    asked->loop = loop;
    struct http_call *call = http_call_new(client, &request, on_done, asked, &err);
    assert_non_null(call);
    loop_run(loop);
    asked->turns = loop_turns(loop)->count;
    http_call_free(call);
    http_client_free(client);
    assert_int_equal(pthread_join(server->thread, NULL), 0);
    fd_close(&server->fd);
    buf_fini(&server->body);
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

static void a_stream_is_not_decoded(void **state)
{
    (void) state;
    struct server server = {.head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip, gzip\r\n"
                                    "Connection: close\r\n\r\n"};
    struct asked asked = {0};
    buf_add_str(&server.body, "this is no gzip");
    ask(&server, &asked, true);
    assert_int_equal(asked.err.code, 0);
    assert_string_equal(buf_str(&asked.got), "this is no gzip");
    assert_null(strstr(server.request, "Accept-Encoding"));
    buf_fini(&asked.got);
}

struct bits {
    struct buf *to;
    unsigned value, count;
};

static void put_bit(struct bits *bits, unsigned bit)
{
    bits->value |= bit << bits->count;
    if (++bits->count == 8) {
        buf_add_char(bits->to, (char) bits->value);
        *bits = (struct bits){.to = bits->to};
    }
}

/* The most significant bit of a code comes first. */
static void put_code(struct bits *bits, unsigned code, unsigned len)
{
    while (len-- > 0) {
        put_bit(bits, code >> len & 1U);
    }
}

/* A block of deflate (RFC 1951) with fixed codes: 'x', and so often 258 times the same. */
static void deflate(struct buf *to, size_t count)
{
    struct bits bits = {.to = to};
    put_bit(&bits, 1);      /* the last block */
    put_code(&bits, 02, 2); /* of fixed codes: 01, the least significant bit first */
    put_code(&bits, 0x30 + 'x', 8);
    for (size_t i = 0; i < count; i++) {
        put_code(&bits, 0xc5, 8); /* 285: a length of 258 */
        put_code(&bits, 0, 5);    /* a distance of 1 */
    }
    put_code(&bits, 0, 7); /* the end of the block */
    put_code(&bits, 0, 7); /* to the end of the byte, and nothing more */
}

static void what_decoding_makes_is_taken_in_turns(void **state)
{
    (void) state;
    struct server server = {.head = "HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\n"
                                    "Connection: close\r\n\r\n"};
    struct asked asked = {0};
    size_t count = 32UL << 10;
    size_t len = 258 * count + 1;
    deflate(&server.body, count);
    ask(&server, &asked, false);
    assert_int_equal(asked.err.code, 0);
    assert_int_equal(asked.got.len, len);
    assert_true(asked.turns >= len / (TURN_BYTES + PIECE_BYTES));
    assert_non_null(strstr(server.request, "Accept-Encoding: gzip, deflate\r\n"));
    buf_fini(&asked.got);
}

static void other_codings_are_refused(void **state)
{
    (void) state;
    static const char *const heads[] = {
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip, gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\ncontent-encoding:gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n\r\n",
        "HTTP/1.1 404 No\r\nContent-Encoding: zstd\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nContent-Encoding: gzip\r\n\r\n"
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    };
    for (size_t i = 0; i < 2 * ARRAY_LEN(heads); i++) {
        struct server server = {.head = heads[i / 2]};
        struct asked asked = {0};
        bool is_stream = i % 2 != 0;
        if (is_stream && strstr(server.head, "Transfer-Encoding") == NULL) {
            continue; /* it is not decoded */
        }
        ask(&server, &asked, is_stream);
        assert_int_equal(asked.err.code, ERR_REMOTE);
        assert_non_null(strstr(asked.err.msg, "-Encoding other than"));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_stream_is_handed_on_in_turns),
        cmocka_unit_test(a_stream_is_not_decoded),
        cmocka_unit_test(what_decoding_makes_is_taken_in_turns),
        cmocka_unit_test(other_codings_are_refused),
        cmocka_unit_test(headers_without_an_end_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
