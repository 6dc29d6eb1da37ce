/*
 * etcd_session: which of etcd's endpoints is spoken to, and as whom.
 */
#ifndef EDGIBLE_ETCD_SESSION_H
#define EDGIBLE_ETCD_SESSION_H

#include "edgible/etcd_wire.h"
#include "source_link.h"

struct etcd_session {
    struct source_link link;
    const struct etcd_config *config;
    size_t endpoint;                /* in use */
    size_t failures;                /* endpoints in a row that did not do */
    mono_ms found_at;               /* contact since then; 0: none */
    char *token;                    /* NULL: none, or none needed */
    struct http_call *authenticate; /* under way; NULL: not */
    bool is_renewing;               /* it is for a token that ran out, while all else goes on */
    loop_fn on_renewed;             /* there is another token, or it could not be got */
    void *arg;
};

/* begin is called from the loop when it is time to begin, again and again. params outlives it.
 * on_renewed is called where etcd took a token for too old, and there is another one now (or none:
 * etcd_session_is_ready() tells). */
int etcd_session_init(struct etcd_session *session, const struct source_params *params,
                      loop_fn begin, loop_fn on_renewed, void *arg, struct err *err) MUST_CHECK;
/* Also of one that could not be made. All calls must have been freed. */
void etcd_session_fini(struct etcd_session *session);
void etcd_session_set_config(struct etcd_session *session, const struct etcd_config *config);
/* The URL in use; borrowed. */
const char *etcd_session_endpoint(const struct etcd_session *session);

/* Credentials that stand in other files now count from here on. No call may be under way. */
int etcd_session_renew(struct etcd_session *session, struct err *err) MUST_CHECK;
/* False: etcd_session_authenticate() comes first, and calls begin when that is done. */
bool etcd_session_is_ready(const struct etcd_session *session);
void etcd_session_authenticate(struct etcd_session *session);

struct etcd_request {
    const char *path, *body;
    bool is_long;         /* the answer has documents: an etcd_intake must read it */
    http_data_fn on_data; /* of a stream; NULL: one answer */
    http_done_fn *done;
    void *arg; /* of both */
};

/* The caller frees. */
struct http_call *etcd_session_call(struct etcd_session *session,
                                    const struct etcd_request *request, struct err *err);
/* What done gets, as an answer of etcd's. */
int etcd_session_read(struct etcd_session *session, const struct http_answer *http,
                      const struct err *http_err, struct etcd_answer *ret,
                      struct err *err) MUST_CHECK;

/* The rest of that, where the answer was read already, with the result rc and err. Where the token
 * does not count any more (ENOKEY), another one is asked for. */
int etcd_session_judge(struct etcd_session *session, long status, int rc,
                       struct err *err) MUST_CHECK;

/* There is contact. */
void etcd_session_found(struct etcd_session *session);
/* The endpoint is well, and what it says is not: begin is called after the pause, which grows where
 * that happens again. */
void etcd_session_pause(struct etcd_session *session, mono_ms pause, const char *reason);
/* This endpoint does not do: begin is called soon for the next one, or, after all of them, after a
 * pause that grows. */
void etcd_session_failed(struct etcd_session *session, const struct err *err);

#endif
