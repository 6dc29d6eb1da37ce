#include "edgible/http_client.h"

#include "edgible/fd.h"
#include "http_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#define MAX_EVENTS 16
/* libcurl closes the oldest ones above. */
#define MAX_IDLE_CONNECTIONS 4L
/* An answer that began, and a body that is sent, go on at least so fast. */
#define STALL_WINDOW_MS 30000
#define STALL_MIN_BYTES 1024
/* Where HTTP_TURN_BYTES or HTTP_TURN_MS are taken of an answer, the rest waits so long: others have
 * their turn, and a server that sends without an end takes no more than a fifth of a core. So does
 * the whole client after HTTP_TURN_MS: libcurl tells of no bytes that are not of a body. */
#define REST_MS 20

struct http_client {
    const struct http_curl *lib;
    struct loop *loop;
    CURLM *multi;
    int epoll_fd;             /* holds libcurl's sockets, for reading and writing */
    struct loop_io *io;       /* NULL: it rests */
    struct loop_timer *timer; /* libcurl's */
    struct loop_timer *rest;  /* armed while it rests */
    mono_ms rest_until;
    int64_t worked_ns; /* since the last rest */
};

struct http_call {
    struct http_client *client;
    struct http_transfer transfer;
    struct http_answer answer;
    struct loop_timer *patience;
    struct loop_timer *rest; /* armed while libcurl pauses */
    mono_ms wait_ms;
    bool is_endless;
    bool is_added;          /* libcurl has it */
    curl_off_t moved_bytes; /* when patience last looked */
    http_done_fn *done;
    void *arg;
};

/* --- a call's end --------------------------------------------------------------------------------
 */

static void detach(struct http_call *call)
{
    if (call->is_added) {
        call->is_added = false;
        (void) call->client->lib->multi_remove_handle(call->client->multi, call->transfer.curl);
    }
    loop_timer_disarm(call->patience);
    loop_timer_disarm(call->rest);
}

static void fail(struct http_call *call, const struct err *err)
{
    detach(call);
    call->done(call->arg, &call->answer, err);
}

static curl_off_t count_moved(const struct http_call *call)
{
    const struct http_transfer *t = &call->transfer;
    curl_off_t down = 0;
    curl_off_t up = 0;
    (void) t->lib->easy_getinfo(t->curl, CURLINFO_SIZE_DOWNLOAD_T, &down);
    (void) t->lib->easy_getinfo(t->curl, CURLINFO_SIZE_UPLOAD_T, &up);
    return down + up;
}

static void be_patient(void *arg)
{
    struct http_call *call = arg;
    mono_ms ms = call->transfer.has_begun ? STALL_WINDOW_MS : call->wait_ms;
    bool has_end = call->transfer.has_begun ? !call->is_endless : ms > 0;
    call->moved_bytes = count_moved(call);
    if (has_end) {
        loop_timer_arm(call->patience, loop_now() + ms);
    } else {
        loop_timer_disarm(call->patience);
    }
}

static void on_patience_over(void *arg)
{
    struct http_call *call = arg;
    struct err err = {0};
    if (count_moved(call) - call->moved_bytes >= STALL_MIN_BYTES) {
        be_patient(call);
        return;
    }
    (void) err_set(&err, ETIMEDOUT, "%s '%s'",
                   call->transfer.has_begun ? "an answer that stands still, from"
                                            : "no answer from",
                   call->transfer.target);
    fail(call, &err);
}

static int add(struct http_call *call)
{
    call->is_added =
        call->client->lib->multi_add_handle(call->client->multi, call->transfer.curl) == CURLM_OK;
    return call->is_added ? 0 : -1;
}

static void end(struct http_call *call, CURLcode code)
{
    struct err err = {0};
    detach(call);
    switch (http_transfer_end(&call->transfer, code, &err)) {
    case HTTP_END_DONE:
        call->done(call->arg, &call->answer, NULL);
        return;
    case HTTP_END_REDIRECT:
        call->transfer.has_begun = false;
        if (add(call) == 0) {
            be_patient(call);
            return;
        }
        (void) err_set(&err, ERR_HOST, "libcurl cannot be set up");
        break;
    case HTTP_END_FAILED:
        break;
    }
    call->done(call->arg, &call->answer, &err);
}

static void on_full(void *arg)
{
    const struct http_call *call = arg;
    loop_timer_arm(call->rest, loop_now() + REST_MS);
}

static void on_rest_over(void *arg)
{
    struct http_call *call = arg;
    CURLcode code = http_transfer_resume(&call->transfer);
    if (code != CURLE_OK) {
        end(call, code);
    }
}

/* What is read of libcurl's list is gone from it, so that callbacks may add and remove others. */
static void end_what_is_done(struct http_client *client)
{
    int left = 0;
    for (CURLMsg *msg = client->lib->multi_info_read(client->multi, &left); msg != NULL;
         msg = client->lib->multi_info_read(client->multi, &left)) {
        char *private = NULL;
        (void) client->lib->easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &private);
        if (msg->msg == CURLMSG_DONE && private != NULL) {
            struct http_transfer *transfer = (void *) private;
            end(transfer->owner, msg->data.result);
        }
    }
}

/* --- libcurl and the loop ------------------------------------------------------------------------
 */

static int64_t cpu_ns(void)
{
    struct timespec ts = {0};
    (void) clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (int64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Ends what began at that time. */
static void end_work(struct http_client *client, int64_t began_ns)
{
    end_what_is_done(client);
    client->worked_ns += cpu_ns() - began_ns;
    if (client->worked_ns >= HTTP_TURN_NS) {
        client->worked_ns = 0;
        client->rest_until = loop_now() + REST_MS;
        loop_io_free(steal_ptr(&client->io));
        loop_timer_arm(client->rest, client->rest_until);
    }
}

/* One after the other, so that those that were not reached are the first in the next turn. */
static bool on_epoll(void *arg)
{
    struct http_client *client = arg;
    struct epoll_event event;
    int64_t began_ns = cpu_ns();
    int running = 0;
    int count = 0;
    while (count < MAX_EVENTS && cpu_ns() - began_ns < HTTP_TURN_NS &&
           epoll_wait(client->epoll_fd, &event, 1, 0) > 0) {
        unsigned flags = event.events;
        int what = ((flags & EPOLLIN) != 0 ? CURL_CSELECT_IN : 0) |
                   ((flags & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0) |
                   ((flags & (EPOLLERR | EPOLLHUP)) != 0 ? CURL_CSELECT_ERR : 0);
        (void) client->lib->multi_socket_action(client->multi, event.data.fd, what, &running);
        count++;
    }
    end_work(client, began_ns);
    return count > 0;
}

static void on_timer(void *arg)
{
    struct http_client *client = arg;
    int64_t began_ns = cpu_ns();
    int running = 0;
    if (client->io == NULL) {
        loop_timer_arm(client->timer, client->rest_until);
        return;
    }
    (void) client->lib->multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    end_work(client, began_ns);
}

static void on_client_rested(void *arg)
{
    struct http_client *client = arg;
    client->io = loop_io_new(client->loop, client->epoll_fd, on_epoll, client);
}

/* The parameters' types are libcurl's. */
static int on_socket(CURL *curl, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    (void) curl;
    (void) socket_arg;
    const struct http_client *client = arg;
    struct epoll_event event = {
        .events = ((what & CURL_POLL_IN) != 0 ? (unsigned) EPOLLIN : 0U) |
                  ((what & CURL_POLL_OUT) != 0 ? (unsigned) EPOLLOUT : 0U),
        .data.fd = fd,
    };
    if (what == CURL_POLL_REMOVE) {
        (void) epoll_ctl(client->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
    } else if (epoll_ctl(client->epoll_fd, EPOLL_CTL_MOD, fd, &event) < 0) {
        (void) epoll_ctl(client->epoll_fd, EPOLL_CTL_ADD, fd, &event);
    }
    return 0;
}

static int on_timeout(CURLM *multi, long ms, void *arg)
{
    (void) multi;
    struct http_client *client = arg;
    if (ms < 0) {
        loop_timer_disarm(client->timer);
    } else {
        loop_timer_arm(client->timer, loop_now() + ms);
    }
    return 0;
}

/* --- life ----------------------------------------------------------------------------------------
 */

static int set_up(struct http_client *client, struct err *err)
{
    const struct http_curl *lib = client->lib;
    client->multi = lib->multi_init();
    int bad = client->multi == NULL;
    if (!bad) {
        CURLM *multi = client->multi;
        bad |= lib->multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket) != CURLM_OK;
        bad |= lib->multi_setopt(multi, CURLMOPT_SOCKETDATA, client) != CURLM_OK;
        bad |= lib->multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timeout) != CURLM_OK;
        bad |= lib->multi_setopt(multi, CURLMOPT_TIMERDATA, client) != CURLM_OK;
        bad |= lib->multi_setopt(multi, CURLMOPT_MAXCONNECTS, MAX_IDLE_CONNECTIONS) != CURLM_OK;
    }
    return bad ? err_set(err, ERR_HOST, "libcurl cannot be set up") : 0;
}

struct http_client *http_client_new(struct loop *loop, struct err *err)
{
    const struct http_curl *lib = http_curl_load(err);
    if (lib == NULL) {
        return NULL;
    }
    if (lib->global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        (void) err_set(err, ERR_HOST, "libcurl cannot be set up");
        return NULL;
    }
    CLEANUP(http_client) struct http_client *client = xcalloc(1, sizeof(*client));
    client->lib = lib;
    client->loop = loop;
    client->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (client->epoll_fd < 0) {
        (void) err_set(err, errno, "make an epoll");
        return NULL;
    }
    client->io = loop_io_new(loop, client->epoll_fd, on_epoll, client);
    client->timer = loop_timer_new(loop, on_timer, client);
    client->rest = loop_timer_new(loop, on_client_rested, client);
    return set_up(client, err) == 0 ? steal_ptr(&client) : NULL;
}

void http_client_free(struct http_client *client)
{
    if (client == NULL) {
        return;
    }
    if (client->multi != NULL) {
        (void) client->lib->multi_cleanup(client->multi);
    }
    client->lib->global_cleanup();
    loop_io_free(client->io);
    loop_timer_free(client->timer);
    loop_timer_free(client->rest);
    fd_close(&client->epoll_fd);
    free(client);
}

struct http_call *http_call_new(struct http_client *client, const struct http_request *request,
                                http_done_fn *done, void *arg, struct err *err)
{
    CLEANUP(http_call) struct http_call *call = xcalloc(1, sizeof(*call));
    call->client = client;
    call->done = done;
    call->arg = arg;
    call->wait_ms = request->wait_ms;
    call->is_endless = request->is_endless;
    call->transfer.owner = call;
    call->transfer.on_begin = be_patient;
    call->transfer.on_full = on_full;
    call->patience = loop_timer_new(client->loop, on_patience_over, call);
    call->rest = loop_timer_new(client->loop, on_rest_over, call);
    if (http_transfer_init(&call->transfer, client->lib, request, &call->answer, err) < 0) {
        return NULL;
    }
    if (add(call) < 0) {
        (void) err_set(err, ERR_HOST, "libcurl cannot be set up");
        return NULL;
    }
    be_patient(call);
    return steal_ptr(&call);
}

struct buf http_call_take_body(struct http_call *call)
{
    struct buf body = call->answer.body;
    call->answer.body = (struct buf){0};
    return body;
}

void http_call_free(struct http_call *call)
{
    if (call != NULL) {
        detach(call);
        http_transfer_fini(&call->transfer);
        http_answer_fini(&call->answer);
        loop_timer_free(call->patience);
        loop_timer_free(call->rest);
        free(call);
    }
}
