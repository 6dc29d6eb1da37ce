/*
 * http: HTTP requests, over a Unix socket or to a control plane. http_perform() blocks until the
 * answer is there, and is for commands; the daemon, which must not block, has http_client.
 * libcurl's home, together with http_client.
 *
 * TLS is at least 1.2, and always verified. A compressed answer is refused, as nothing would tell
 * that it was cut. A redirect is followed on the same host alone.
 */
#ifndef EDGIBLE_HTTP_H
#define EDGIBLE_HTTP_H

#include "edgible/buf.h"
#include "edgible/err.h"
#include "edgible/parse.h"

#include <stdbool.h>

/* A longer answer is an error (EFBIG), unless it is handed on as it comes. */
#define HTTP_MAX_ANSWER_BYTES (64UL * 1024 * 1024)

/* Gets a piece of the answer; anything but 0 ends the request, which then fails (ECANCELED). */
typedef int (*http_data_fn)(void *arg, const char *data, size_t len);

/* Strings are the caller's; what is started copies them. */
struct http_request {
    const char *socket_path;    /* NULL: the host of the URL is asked */
    const char *url;            /* "https://host/v3/x?y=z"; of a socket "/v1/agent": what needs
                                   escaping is escaped already */
    const char *method;         /* "GET" */
    const char *body;           /* NULL: none */
    size_t body_len;            /* of it */
    const char *content_type;   /* of it */
    const char *accept;         /* NULL: application/json */
    const char *const *headers; /* more: "Name: value", ended by NULL; NULL: none */
    const char *ca_file;        /* PEM; NULL: what the system trusts */
    const char *cert_file, *key_file; /* PEM, of a client certificate; NULL: none */
    size_t max_bytes;                 /* of the answer; 0: HTTP_MAX_ANSWER_BYTES */
    mono_ms timeout_ms;               /* of the whole request; 0: none */
    mono_ms wait_ms;                  /* of http_client: until the answer begins; 0: none */
    bool is_endless;                  /* of http_client: once it began, it may be silent for long */
    http_data_fn on_data;             /* gets the body of a 2xx answer; NULL: it is kept */
    void *arg;
};

struct http_answer {
    long status;       /* 200 */
    char *type;        /* Content-Type; owned, as is all here; NULL where the answer has none */
    char *etag;        /* as it stands there, with its quotes */
    char *retry_after; /* seconds or a date */
    char *preference;  /* Preference-Applied */
    char *date;        /* the server's clock, an HTTP date */
    char *modified;    /* Last-Modified, likewise */
    bool is_delimited; /* its end was told, by a length or in chunks, and not by a connection that
                          ended, which a cut one does as well */
    struct buf body;   /* NUL-terminated where not empty */
};

void cleanup_http_answer(struct http_answer *answer);
void http_answer_fini(struct http_answer *answer);

/* For the message about an answer that was not expected: `: "…"`, the first 200 bytes of its body,
 * with a ? for what cannot be shown; "" where there is none. The caller frees. */
char *http_quote_body(const struct http_answer *answer);

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
