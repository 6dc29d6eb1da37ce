/* What the server's requests and answers may take of a turn of the loop, and of memory. */
#include "edgible/server.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define MS 1000000
#define CLIENTS 40
#define BURN_MS 10
#define BIG ((size_t) 1024 * 1024)

struct kit {
    char folder[32], socket[64];
    struct loop *loop;
    struct server *server;
    struct loop_timer *timer;
    int clients[CLIENTS];
    unsigned handled, wanted; /* requests */
    unsigned order[CLIENTS];
    size_t answer_len;
    bool holds; /* answers come later */
    struct server_request *held;
};

static int64_t cpu_ns(void)
{
    struct timespec ts = {0};
    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts), 0);
    return (int64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static unsigned let_in(void *arg, int fd, const struct server_peer *peer)
{
    (void) arg;
    (void) fd;
    (void) peer;
    return 0;
}

static void answer(void *arg, struct server_request *request)
{
    struct kit *kit = arg;
    if (kit->holds) {
        kit->held = request;
        kit->handled++;
        server_hold(request);
        return;
    }
    int64_t end = cpu_ns() + (int64_t) BURN_MS * MS;
    while (kit->answer_len == 0 && cpu_ns() < end) {
    }
    assert_true(kit->handled < CLIENTS);
    kit->order[kit->handled] =
        (unsigned) strtoul(server_request_path(request) + 1, NULL, 10); /* "/7" */
    kit->handled++;
    if (kit->handled == kit->wanted) {
        loop_timer_arm(kit->timer, 0); /* so that this one is sent, too */
    }
    char *body = calloc(1, kit->answer_len + 1);
    assert_non_null(body);
    server_reply(request, 200, "text/plain", NULL, body, kit->answer_len);
}

static void stop(void *arg)
{
    struct kit *kit = arg;
    loop_stop(kit->loop);
}

static void begin(struct kit *kit)
{
    *kit = (struct kit){.folder = "/tmp/edgible-server-XXXXXX"};
    assert_non_null(mkdtemp(kit->folder));
    (void) snprintf(kit->socket, sizeof(kit->socket), "%s/socket", kit->folder);
    kit->loop = loop_new(NULL);
    struct server_params params = {
        .loop = kit->loop,
        .socket = kit->socket,
        .group = (gid_t) -1,
        .listen_fd = -1,
        .judge = let_in,
        .handle = answer,
        .arg = kit,
    };
    kit->server = server_new(&params, NULL);
    assert_non_null(kit->server);
    kit->timer = loop_timer_new(kit->loop, stop, kit);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s", kit->socket);
    for (size_t i = 0; i < CLIENTS; i++) {
        kit->clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        assert_int_equal(
            connect(kit->clients[i], (const struct sockaddr *) &address, sizeof(address)), 0);
    }
}

static void end(struct kit *kit)
{
    for (size_t i = 0; i < CLIENTS; i++) {
        (void) close(kit->clients[i]);
    }
    server_free(kit->server);
    loop_timer_free(kit->timer);
    loop_free(kit->loop);
    assert_int_equal(rmdir(kit->folder), 0);
}

static void ask(const struct kit *kit, size_t i)
{
    char text[64];
    int len = snprintf(text, sizeof(text), "GET /%zu HTTP/1.1\r\nHost: x\r\n\r\n", i);
    assert_int_equal(send(kit->clients[i], text, (size_t) len, MSG_NOSIGNAL), len);
}

static void run_for(struct kit *kit, mono_ms time)
{
    loop_timer_arm(kit->timer, loop_now() + time);
    loop_run(kit->loop);
}

/* 0: there is no answer. */
static int status_of(struct kit *kit, size_t i)
{
    char text[16] = "";
    for (int n = 0; n < 1000; n++) {
        if (recv(kit->clients[i], text, sizeof(text) - 1, MSG_PEEK) > 9) {
            return (int) strtol(text + 9, NULL, 10);
        }
        run_for(kit, 10);
    }
    return 0;
}

static void requests_that_come_at_once_are_answered_in_several_turns(void **state)
{
    (void) state;
    struct kit kit;
    begin(&kit);
    for (size_t i = 0; i < CLIENTS; i++) {
        ask(&kit, i);
    }
    kit.wanted = CLIENTS;
    loop_run(kit.loop);
    assert_int_equal(kit.handled, CLIENTS);
    /* In one turn they would take 400 ms. */
    assert_true(loop_turns(kit.loop)->longest_cpu_ns < (int64_t) CLIENTS * BURN_MS * MS / 2);
    bool seen[CLIENTS] = {false};
    for (size_t i = 0; i < CLIENTS; i++) {
        assert_int_equal(status_of(&kit, i), 200);
        assert_false(seen[kit.order[i]]);
        seen[kit.order[i]] = true;
    }
    end(&kit);
}

static void a_server_ends_while_requests_wait(void **state)
{
    (void) state;
    struct kit kit;
    begin(&kit);
    for (size_t i = 0; i < CLIENTS; i++) {
        ask(&kit, i);
    }
    kit.wanted = 1;
    loop_run(kit.loop);
    assert_in_range(kit.handled, 1, CLIENTS - 1);
    end(&kit);
}

static void answers_that_nobody_reads_are_bounded(void **state)
{
    (void) state;
    struct kit kit;
    begin(&kit);
    kit.answer_len = BIG;
    size_t refused = 0;
    for (size_t i = 0; i < CLIENTS; i++) {
        ask(&kit, i);
        int status = status_of(&kit, i);
        assert_true(status == 200 || status == 503);
        refused += status == 503 ? 1 : 0;
    }
    assert_true(kit.handled >= 8 && kit.handled <= 18);
    assert_int_equal(refused, CLIENTS - kit.handled);
    /* Whoever reads makes room. */
    static char all[BIG + 4096];
    size_t got = 0;
    for (int n = 0; n < 1000 && got < BIG; n++) {
        ssize_t len = recv(kit.clients[0], all, sizeof(all), 0);
        got += len > 0 ? (size_t) len : 0;
        run_for(&kit, 1);
    }
    (void) close(kit.clients[1]);
    (void) close(kit.clients[2]);
    kit.clients[1] = -1;
    kit.clients[2] = -1;
    run_for(&kit, 10);
    unsigned before = kit.handled;
    ask(&kit, 0);
    assert_int_equal(status_of(&kit, 0), 200);
    assert_int_equal(kit.handled, before + 1);
    end(&kit);
}

static void bodies_are_bounded_together(void **state)
{
    (void) state;
    static char part[64 * 1024];
    static const char head[] = "PUT /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n";
    struct kit kit;
    begin(&kit);
    kit.answer_len = 1;
    for (size_t i = 0; i < CLIENTS; i++) {
        assert_int_equal(send(kit.clients[i], head, sizeof(head) - 1, MSG_NOSIGNAL),
                         sizeof(head) - 1);
        /* All but the last byte. */
        size_t left = BIG - 1;
        for (int n = 0; n < 10000 && left > 0; n++) {
            size_t want = left < sizeof(part) ? left : sizeof(part);
            ssize_t len = send(kit.clients[i], part, want, MSG_NOSIGNAL);
            left -= len > 0 ? (size_t) len : 0;
            run_for(&kit, len > 0 ? 0 : 1);
        }
        assert_int_equal(left, 0);
    }
    size_t refused = 0;
    for (size_t i = 0; i < CLIENTS; i++) {
        assert_int_equal(send(kit.clients[i], "x", 1, MSG_NOSIGNAL), 1);
        int status = status_of(&kit, i);
        assert_true(status == 200 || status == 503);
        refused += status == 503 ? 1 : 0;
    }
    assert_in_range(refused, CLIENTS / 2, CLIENTS - 7);
    end(&kit);
}

static void hold_one(struct kit *kit)
{
    static const char text[] = "PUT /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
    begin(kit);
    kit->holds = true;
    assert_int_equal(send(kit->clients[0], text, sizeof(text) - 1, MSG_NOSIGNAL), sizeof(text) - 1);
    for (int n = 0; n < 1000 && kit->handled == 0; n++) {
        run_for(kit, 10);
    }
    assert_int_equal(kit->handled, 1);
}

static void answer_held(struct kit *kit)
{
    char *body = strdup("later");
    assert_non_null(body);
    server_reply(kit->held, 202, "text/plain", NULL, body, 5);
}

static void an_answer_can_come_later(void **state)
{
    (void) state;
    struct kit kit;
    size_t len = 0;
    hold_one(&kit);
    char *body = server_request_take_body(kit.held, &len);
    assert_string_equal(body, "hello");
    assert_int_equal(len, 5);
    free(body);
    /* Others are served meanwhile. */
    kit.holds = false;
    ask(&kit, 1);
    assert_int_equal(status_of(&kit, 1), 200);
    char text[512] = "";
    assert_true(recv(kit.clients[0], text, sizeof(text) - 1, 0) < 0 && errno == EAGAIN);
    answer_held(&kit);
    assert_int_equal(status_of(&kit, 0), 202);
    assert_true(recv(kit.clients[0], text, sizeof(text) - 1, 0) > 0);
    assert_non_null(strstr(text, "\r\n\r\nlater"));
    /* The connection goes on. */
    ask(&kit, 0);
    assert_int_equal(status_of(&kit, 0), 200);
    end(&kit);
}

static void an_answer_comes_too_late_for_who_left(void **state)
{
    (void) state;
    struct kit kit;
    hold_one(&kit);
    (void) close(kit.clients[0]);
    kit.clients[0] = -1;
    run_for(&kit, 10);
    answer_held(&kit);
    for (int n = 0; n < 1000 && server_connection_count(kit.server) == CLIENTS; n++) {
        run_for(&kit, 10);
    }
    assert_int_equal(server_connection_count(kit.server), CLIENTS - 1);
    end(&kit);
}

static void a_server_ends_before_an_answer(void **state)
{
    (void) state;
    struct kit kit;
    hold_one(&kit);
    end(&kit);
    hold_one(&kit);
    answer_held(&kit); /* in the turn in which it ends */
    end(&kit);
}

/* The text goes `count` times between before and after. */
static int status_of_long(const char *before, const char *text, size_t count, const char *after)
{
    static char all[64 * 1024];
    size_t len = (size_t) snprintf(all, sizeof(all), "%s", before);
    for (size_t i = 0; i < count; i++) {
        len += (size_t) snprintf(all + len, sizeof(all) - len, "%s", text);
    }
    len += (size_t) snprintf(all + len, sizeof(all) - len, "%s", after);
    assert_true(len < sizeof(all));
    struct kit kit;
    begin(&kit);
    assert_int_equal(send(kit.clients[0], all, len, MSG_NOSIGNAL), len);
    int status = status_of(&kit, 0);
    assert_int_equal(kit.handled, status == 200 ? 1 : 0);
    end(&kit);
    return status;
}

static void a_request_that_takes_too_much_room_is_answered_at_once(void **state)
{
    (void) state;
    static const char rest[] = " HTTP/1.1\r\nHost: x\r\n\r\n";
    static const char line[] = "GET /0 HTTP/1.1\r\nHost: x\r\n";
    assert_int_equal(status_of_long("GET /0?", "a&", 99, rest), 200);
    assert_int_equal(status_of_long("GET /0?", "a&", 100, rest), 414);
    assert_int_equal(status_of_long("GET /0?", "a&", 600, rest), 414);
    assert_int_equal(status_of_long("GET /0?", "&", 30000, rest), 414);
    assert_int_equal(status_of_long("GET /0?", "a", 40000, rest), 414);
    assert_int_equal(status_of_long(line, "a: b\r\n", 3000, "\r\n"), 431);
    assert_int_equal(status_of_long(line, "Cookie: a=b; c=d\r\n", 2000, "\r\n"), 431);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_that_come_at_once_are_answered_in_several_turns),
        cmocka_unit_test(a_server_ends_while_requests_wait),
        cmocka_unit_test(answers_that_nobody_reads_are_bounded),
        cmocka_unit_test(bodies_are_bounded_together),
        cmocka_unit_test(an_answer_can_come_later),
        cmocka_unit_test(an_answer_comes_too_late_for_who_left),
        cmocka_unit_test(a_server_ends_before_an_answer),
        cmocka_unit_test(a_request_that_takes_too_much_room_is_answered_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
