/*
 * http_client: HTTP requests that the event loop carries. Names are resolved by a thread, and
 * nothing here waits. Of an answer that is long, or costs on_data or libcurl much, a part is taken,
 * and the rest a little later.
 *
 * A connection is kept for the next request. A call belongs to who made it, and is freed by them,
 * while it is under way (which ends it) or later; not from on_data.
 */
#ifndef EDGIBLE_HTTP_CLIENT_H
#define EDGIBLE_HTTP_CLIENT_H

#include "edgible/http.h"
#include "edgible/loop.h"
#include "edgible/mem.h"

struct http_client;
struct http_call;

/* Loads libcurl where that has not been done. */
struct http_client *http_client_new(struct loop *loop, struct err *err);
/* All calls must have been freed. Not from a callback of a call. */
void http_client_free(struct http_client *client);
DEFINE_CLEANUP(http_client, struct http_client, http_client_free)

/* answer is borrowed for the call; it counts where err is NULL, else err says why there is none, as
 * http_perform() does. The call may be freed here, and new ones made. */
typedef void http_done_fn(void *arg, const struct http_answer *answer, const struct err *err);

/* done is called once, from the loop, unless the call is freed before. */
struct http_call *http_call_new(struct http_client *client, const struct http_request *request,
                                http_done_fn *done, void *arg, struct err *err);
void http_call_free(struct http_call *call);
/* The answer's body, which the call no longer has then; from done() on. The caller frees. */
struct buf http_call_take_body(struct http_call *call);
DEFINE_CLEANUP(http_call, struct http_call, http_call_free)

#endif
