#include "edgible/http.h"

#include "edgible/fd.h"
#include "edgible/loop.h"
#include "edgible/mem.h"
#include "http_private.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define ROOM_MS 1000
#define ROOM_ALL_MS 10000 /* after that a command says what it waits for */

static int perform(const struct http_curl *lib, const struct http_request *request,
                   struct http_answer *answer, struct err *err)
{
    struct http_transfer transfer = {0};
    enum http_end end = HTTP_END_FAILED;
    if (http_transfer_init(&transfer, lib, request, answer, err) == 0) {
        do {
            end = http_transfer_end(&transfer, lib->easy_perform(transfer.curl), err);
        } while (end == HTTP_END_REDIRECT);
    }
    http_transfer_fini(&transfer);
    return end == HTTP_END_DONE ? 0 : -1;
}

/* 0 once a connection to the Unix socket is made, else why there is none; EAGAIN: its queue has
 * been full for all that time. The kernel lets those who wait in one after the other. */
static int wait_for_room(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct timeval patience = {.tv_sec = ROOM_MS / 1000, .tv_usec = ROOM_MS % 1000 * 1000L};
    CLEANUP(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memcpy(address.sun_path, path, strlen(path)); /* it has been found to fit */
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
        connect(fd, (const struct sockaddr *) &address, sizeof(address)) < 0) {
        return errno;
    }
    return 0;
}

/* libcurl takes a full queue for a connection that is refused. */
static int perform_local(const struct http_curl *lib, const struct http_request *request,
                         struct http_answer *answer, struct err *err)
{
    int rc = perform(lib, request, answer, err);
    mono_ms until = loop_now() + ROOM_ALL_MS;
    while (rc < 0 && err->code == ECONNREFUSED) {
        int cause = wait_for_room(request->socket_path);
        if (cause != 0 && cause != EAGAIN) {
            return rc;
        }
        if (loop_now() >= until) {
            err->code = EAGAIN;
            return rc;
        }
        if (cause == 0) { /* others may still be faster */
            http_answer_fini(answer);
            rc = perform(lib, request, answer, err);
        }
    }
    return rc;
}

int http_perform(const struct http_request *request, struct http_answer *answer, struct err *err)
{
    *answer = (struct http_answer){0};
    const struct http_curl *lib = http_curl_load(err);
    if (lib == NULL) {
        return -1;
    }
    /* In pairs, so that nothing of libcurl is left between requests; TLS costs 10 ms, and a socket
     * of this machine needs none. */
    long what = request->socket_path != NULL ? CURL_GLOBAL_NOTHING : CURL_GLOBAL_DEFAULT;
    if (lib->global_init(what) != CURLE_OK) {
        return err_set(err, ERR_HOST, "libcurl cannot be set up");
    }
    int rc = request->socket_path != NULL ? perform_local(lib, request, answer, err)
                                          : perform(lib, request, answer, err);
    lib->global_cleanup();
    return rc;
}

void http_add_escaped(struct buf *out, const char *s)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                "0123456789-._~";
    for (; *s != '\0'; s++) {
        if (strchr(plain, *s) != NULL) {
            buf_add_char(out, *s);
        } else {
            buf_printf(out, "%%%02X", (unsigned int) (unsigned char) *s);
        }
    }
}
