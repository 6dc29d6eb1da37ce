/*
 * http: one HTTP request over a Unix socket, for commands: it blocks until the answer is there.
 * libcurl's home. Not for the daemon, which must not block.
 */
#ifndef EDGIBLE_HTTP_H
#define EDGIBLE_HTTP_H

#include "edgible/buf.h"
#include "edgible/err.h"
#include "edgible/parse.h"

/* A longer answer is an error (EFBIG), unless it is handed on as it comes. */
#define HTTP_MAX_ANSWER_BYTES (64UL * 1024 * 1024)

/* Gets a piece of the answer; anything but 0 ends the request, which then fails (ECANCELED). */
typedef int (*http_data_fn)(void *arg, const char *data, size_t len);

/* Strings are the caller's. */
struct http_request {
    const char *socket_path;
    const char *method;       /* "GET" */
    const char *path;         /* "/v1/agent?x=y": what needs escaping is escaped already */
    const char *body;         /* NULL: none */
    size_t body_len;          /* of it */
    const char *content_type; /* of it */
    const char *accept;       /* NULL: application/json */
    mono_ms timeout_ms;       /* of the whole request; 0: none */
    http_data_fn on_data;     /* gets the body of a 2xx answer; NULL: it is kept */
    void *arg;
};

struct http_answer {
    long status;        /* 200 */
    char *content_type; /* owned; NULL where the answer names none */
    struct buf body;    /* NUL-terminated where not empty */
};

void cleanup_http_answer(struct http_answer *answer);
void http_answer_fini(struct http_answer *answer);

/*
 * 0 once there is an answer, whatever its status. Where there is none err->code is the errno of
 * connecting (ENOENT, ECONNREFUSED: nobody listens there; EACCES), ETIMEDOUT, ECONNRESET where the
 * other side went in the middle, EFBIG, ECANCELED or ERR_REMOTE. *answer is zeroed at first; the
 * caller finishes it in either case.
 */
int http_perform(const struct http_request *request, struct http_answer *answer,
                 struct err *err) MUST_CHECK;

/* Adds s as one segment of a path or one value of a query. */
void http_add_escaped(struct buf *out, const char *s);

#endif
