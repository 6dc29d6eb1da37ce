#include "edgible/http_probe.h"

#include "edgible/fd.h"
#include "edgible/mem.h"
#include "edgible/tcp_probe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define PIECE_BYTES 512
#define ANSWER_BYTES 4096
/* "HTTP/1.1 200 ": what follows says nothing more. */
#define STATUS_CHARS 13

struct http_probe {
    struct loop *loop;
    struct loop_io *io;
    struct loop_timer *later; /* a connection that fails at once is told from the loop, too */
    int fd;
    int error; /* for later */
    char *url; /* for messages */
    char *request;
    size_t request_len, sent;
    size_t taken;              /* of all that came */
    char status[STATUS_CHARS]; /* the beginning of the status line */
    size_t status_len;         /* of it */
    bool is_in_headers;        /* of an answer before the answer */
    size_t line_len;           /* of the header line so far */
    http_probe_fn *done;
    void *arg;
};

/* --- the end -------------------------------------------------------------------------------------
 */

static void tell(struct http_probe *probe, int status, const struct err *err)
{
    loop_io_free(steal_ptr(&probe->io));
    probe->done(probe->arg, status, err);
}

static void fail_connect(void *arg)
{
    struct http_probe *probe = arg;
    struct err err = {0};
    (void) err_set(&err, probe->error, "connect to '%s'", probe->url);
    tell(probe, 0, &err);
}

static void fail_ended(struct http_probe *probe)
{
    struct err err = {0};
    (void) err_set(&err, ECONNRESET, "'%s' ended the connection%s", probe->url,
                   probe->taken > 0 ? " in the middle of its answer" : "");
    tell(probe, 0, &err);
}

static void refuse(struct http_probe *probe, const char *what)
{
    struct err err = {0};
    (void) err_set(&err, ERR_REMOTE, "'%s' sends %s", probe->url, what);
    tell(probe, 0, &err);
}

/* --- the answer ----------------------------------------------------------------------------------
 */

/* Of a status line that is complete as far as it counts; -1 where it is none. */
static int read_status(const char *line)
{
    int status = 0;
    char after = line[STATUS_CHARS - 1];
    bool is_one = strncmp(line, "HTTP/1.", 7) == 0 && line[8] == ' ' &&
                  (after == ' ' || after == '\r' || after == '\n');
    for (const char *c = line + 9; c < line + 12; c++) {
        is_one = is_one && *c >= '0' && *c <= '9';
        status = 10 * status + (*c - '0');
    }
    return is_one && status >= 100 ? status : -1;
}

/* 0: goes on; else the status, or -1 where there is none. */
static int take_of_status(struct http_probe *probe, char c)
{
    probe->status[probe->status_len++] = c;
    if (c != '\n' && probe->status_len < STATUS_CHARS) {
        return 0;
    }
    int status = probe->status_len == STATUS_CHARS ? read_status(probe->status) : -1;
    if (status < 100 || status >= 200) {
        return status;
    }
    probe->status_len = 0;
    probe->is_in_headers = true;
    probe->line_len = c == '\n' ? 0 : STATUS_CHARS;
    return 0;
}

static void take_of_headers(struct http_probe *probe, char c)
{
    if (c == '\n') {
        probe->is_in_headers = probe->line_len > 0;
        probe->line_len = 0;
    } else if (c != '\r') {
        probe->line_len++;
    }
}

static bool on_answer(void *arg)
{
    struct http_probe *probe = arg;
    char piece[PIECE_BYTES];
    ssize_t n = recv(probe->fd, piece, sizeof(piece), 0);
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            fail_ended(probe);
        }
        return n == 0;
    }
    int status = 0;
    for (ssize_t i = 0; status == 0 && i < n; i++) {
        if (probe->is_in_headers) {
            take_of_headers(probe, piece[i]);
        } else {
            status = take_of_status(probe, piece[i]);
        }
    }
    probe->taken += (size_t) n;
    if (status > 0) {
        tell(probe, status, NULL);
    } else if (status < 0) {
        refuse(probe, "no status of HTTP");
    } else if (probe->taken >= ANSWER_BYTES) {
        refuse(probe, "too many headers");
    }
    return true;
}

/* --- the request ---------------------------------------------------------------------------------
 */

static bool on_writable(void *arg)
{
    struct http_probe *probe = arg;
    /* The first one tells of a connection that could not be made. */
    ssize_t n = send(probe->fd, probe->request + probe->sent, probe->request_len - probe->sent,
                     MSG_NOSIGNAL);
    if (n < 0) {
        if (errno == EAGAIN || errno == EINTR) {
            return false;
        }
        if (probe->sent > 0) {
            fail_ended(probe);
        } else {
            probe->error = errno;
            fail_connect(probe);
        }
        return true;
    }
    probe->sent += (size_t) n;
    if (probe->sent == probe->request_len) {
        loop_io_free(steal_ptr(&probe->io));
        probe->io = loop_io_new(probe->loop, probe->fd, on_answer, probe);
    }
    return true;
}

static char *make_request(const char *host, uint16_t port, const char *path)
{
    CLEANUP(free) char *number = port != 80 ? xasprintf(":%d", (int) port) : xstrdup("");
    return xasprintf("GET %s HTTP/1.1\r\n"
                     "Host: %s%s\r\n"
                     "User-Agent: edgible-agent/" EDGIBLE_VERSION "\r\n"
                     "Accept: */*\r\n\r\n",
                     path, host, number);
}

struct http_probe *http_probe_new(struct loop *loop, bool is_v6, uint16_t port, const char *path,
                                  http_probe_fn *done, void *arg, struct err *err)
{
    const char *host = is_v6 ? "[::1]" : "127.0.0.1";
    struct http_probe *probe = xcalloc(1, sizeof(*probe));
    *probe = (struct http_probe){.loop = loop, .fd = -1, .done = done, .arg = arg};
    probe->later = loop_timer_new(loop, fail_connect, probe);
    probe->url = xasprintf("http://%s:%d%s", host, (int) port, path);
    probe->request = make_request(host, port, path);
    probe->request_len = strlen(probe->request);
    probe->error = tcp_probe_connect(is_v6, port, &probe->fd);
    if (probe->fd < 0 && !is_v6) {
        (void) err_set(err, ERR_HOST, "make a socket: %s", strerror(probe->error));
        http_probe_free(probe);
        return NULL;
    }
    if (probe->error == 0 || probe->error == EINPROGRESS) {
        probe->io = loop_io_new_for_writing(loop, probe->fd, on_writable, probe);
    } else {
        loop_timer_arm(probe->later, 0);
    }
    return probe;
}

void http_probe_free(struct http_probe *probe)
{
    if (probe != NULL) {
        loop_io_free(probe->io);
        loop_timer_free(probe->later);
        fd_close(&probe->fd);
        free(probe->url);
        free(probe->request);
        free(probe);
    }
}
