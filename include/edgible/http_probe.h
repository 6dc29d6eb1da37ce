/*
 * http_probe: the status that a program on this machine answers a GET with, without waiting. Of an
 * answer the status line is read, and of answers before it (1xx) 4 KiB at most.
 */
#ifndef EDGIBLE_HTTP_PROBE_H
#define EDGIBLE_HTTP_PROBE_H

#include "edgible/err.h"
#include "edgible/loop.h"

#include <stdint.h>

struct http_probe;

/* status counts where err is NULL. Else err->code is the errno of connecting, ECONNRESET where the
 * other side ended the connection, or ERR_REMOTE where its answer is none. The probe may be freed
 * here. */
typedef void http_probe_fn(void *arg, int status, const struct err *err);

/* Asks 127.0.0.1, or ::1, for the path, which goes into the request as it is. done is called once,
 * from the loop, unless the probe is freed before; a server that is silent is waited for without an
 * end. NULL with ERR_HOST where no socket can be made. The caller frees. */
struct http_probe *http_probe_new(struct loop *loop, bool is_v6, uint16_t port, const char *path,
                                  http_probe_fn *done, void *arg, struct err *err);
void http_probe_free(struct http_probe *probe);

#endif
