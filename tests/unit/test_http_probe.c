/* What of an answer counts as its status, and how much of it is read. */
#include "edgible/buf.h"
#include "edgible/fd.h"
#include "edgible/http_probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* --- a server of one connection ------------------------------------------------------------------
 */

struct server {
    int fd;
    in_port_t port;
    pthread_t thread;
    const char *head; /* sent byte by byte where is_slow */
    const char *more; /* sent over and over, until who asked has gone; NULL: nothing */
    bool is_slow;
    char request[4096];
};

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
    while (len < sizeof(server->request) - 1 && strstr(server->request, "\r\n\r\n") == NULL) {
        ssize_t n = recv(fd, server->request + len, sizeof(server->request) - 1 - len, 0);
        if (n <= 0) {
            break;
        }
        len += (size_t) n;
    }
    size_t piece = server->is_slow ? 1 : strlen(server->head);
    for (const char *c = server->head; *c != '\0'; c += piece) {
        (void) send_all(fd, c, piece);
    }
    while (server->more != NULL && send_all(fd, server->more, strlen(server->more))) {
    }
    return NULL;
}

static void listen_at(struct server *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(server->fd >= 0);
    assert_int_equal(bind(server->fd, (struct sockaddr *) &address, sizeof(address)), 0);
    assert_int_equal(getsockname(server->fd, (struct sockaddr *) &address, &len), 0);
    server->port = ntohs(address.sin_port);
}

/* --- one request ---------------------------------------------------------------------------------
 */

struct asked {
    struct loop *loop;
    int status, times;
    struct err err;
};

static void on_done(void *arg, int status, const struct err *err)
{
    struct asked *asked = arg;
    asked->times++;
    asked->status = status;
    if (err != NULL) {
        asked->err = *err;
    }
    loop_stop(asked->loop);
}

static struct asked perform(in_port_t port, const char *path)
{
    struct asked asked = {0};
    struct err err = {0};
    CLEANUP(loop) struct loop *loop = loop_new(&err);
    assert_non_null(loop);
    asked.loop = loop;
    struct http_probe *probe = http_probe_new(loop, false, port, path, on_done, &asked, &err);
    assert_non_null(probe);
    assert_int_equal(asked.times, 0); /* it is told from the loop */
    loop_run(loop);
    http_probe_free(probe);
    assert_int_equal(asked.times, 1);
    return asked;
}

static struct asked ask(struct server *server, const char *path)
{
    listen_at(server);
    assert_int_equal(listen(server->fd, 1), 0);
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
    struct asked asked = perform(server->port, path);
    assert_int_equal(pthread_join(server->thread, NULL), 0);
    fd_close(&server->fd);
    return asked;
}

/* --- tests ---------------------------------------------------------------------------------------
 */

/* The status of an answer that has no end is all that a check needs. */
static void a_check_ends_with_the_status(void **state)
{
    (void) state;
    static const struct {
        const char *head;
        int status;
    } cases[] = {
        {"HTTP/1.1 404 No\r\n\r\n",                                            404},
        {"HTTP/1.0 200\n",                                                     200},
        {"HTTP/1.1 399 \r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n",     399},
        {"HTTP/1.1 503 No\r\nX: ",                                             503},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\n\r\n",               404},
        {"HTTP/1.1 103\nLink: a\n\nHTTP/1.1 103 E\r\nX:\r\n\r\nHTTP/1.1 204 ", 204},
    };
    for (size_t i = 0; i < 2 * ARRAY_LEN(cases); i++) {
        struct server server = {.head = cases[i / 2].head, .more = "body", .is_slow = i % 2 != 0};
        struct asked asked = ask(&server, "/");
        assert_int_equal(asked.err.code, 0);
        assert_int_equal(asked.status, cases[i / 2].status);
    }
}

/* What comes before the answer makes a workload unhealthy, and not the agent late. */
static void what_comes_before_the_status_has_an_end(void **state)
{
    (void) state;
    static const struct {
        const char *head, *more;
    } cases[] = {
        {"",                         "HTTP/1.1 103 Early Hints\r\n\r\n"},
        {"HTTP/1.1 103 Early\r\n",   "X:\r\n"                          },
        {"HTTP/1.1 103 Early\r\nX:", "x"                               },
        {"HTTP/1.1 100 ",            " "                               },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct server server = {.head = cases[i].head, .more = cases[i].more};
        struct asked asked = ask(&server, "/");
        assert_int_equal(asked.err.code, ERR_REMOTE);
        assert_non_null(strstr(asked.err.msg, "/' sends too many headers"));
    }
}

static void what_is_no_answer_is_refused(void **state)
{
    (void) state;
    static const char *const heads[] = {
        "SSH-2.0-OpenSSH_9.2\r\n", "hello\n",           "HTTP/2 200 \r\n\r\n", "HTTP/1.1 2000 No",
        "HTTP/1.1 20x No",         "HTTP/1.1 099 No\r", "HTTP/1.1\t200 No\r",  "\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        struct server server = {.head = heads[i], .is_slow = true};
        struct asked asked = ask(&server, "/");
        assert_int_equal(asked.err.code, ERR_REMOTE);
        assert_non_null(strstr(asked.err.msg, "sends no status of HTTP"));
    }
}

static void an_end_is_no_answer(void **state)
{
    (void) state;
    static const struct {
        const char *head, *text;
    } cases[] = {
        {"",                          "ended the connection"                            },
        {"HTTP/1.1 200",              "ended the connection in the middle of its answer"},
        {"HTTP/1.1 100 Continue\r\n", "ended the connection in the middle of its answer"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct server server = {.head = cases[i].head};
        struct asked asked = ask(&server, "/");
        assert_int_equal(asked.err.code, ECONNRESET);
        assert_non_null(strstr(asked.err.msg, cases[i].text));
    }
}

static void who_does_not_listen_refuses_the_connection(void **state)
{
    (void) state;
    struct server server = {0};
    listen_at(&server); /* so that nobody else does */
    struct asked asked = perform(server.port, "/x");
    assert_int_equal(asked.err.code, ECONNREFUSED);
    assert_non_null(strstr(asked.err.msg, "connect to 'http://127.0.0.1:"));
    fd_close(&server.fd);
}

static void the_request_is_a_get_of_the_path(void **state)
{
    (void) state;
    struct server server = {.head = "HTTP/1.1 200 OK\r\n\r\n"};
    struct asked asked = ask(&server, "/a?b=c");
    assert_int_equal(asked.status, 200);
    CLEANUP(free)
    char *wanted = xasprintf("GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
                             "User-Agent: edgible-agent/" EDGIBLE_VERSION "\r\nAccept: */*\r\n\r\n",
                             (int) server.port);
    assert_string_equal(server.request, wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_check_ends_with_the_status),
        cmocka_unit_test(what_comes_before_the_status_has_an_end),
        cmocka_unit_test(what_is_no_answer_is_refused),
        cmocka_unit_test(an_end_is_no_answer),
        cmocka_unit_test(who_does_not_listen_refuses_the_connection),
        cmocka_unit_test(the_request_is_a_get_of_the_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
