/*
 * source_link: what the remote control planes have in common: the HTTP client with its credentials,
 * whether there is contact, and when the next is tried.
 */
#ifndef EDGIBLE_SOURCE_LINK_H
#define EDGIBLE_SOURCE_LINK_H

#include "edgible/http_client.h"
#include "edgible/link_fsm.h"
#include "edgible/secret.h"
#include "edgible/source.h"

/* Borrowed from the configuration; NULL: none. */
struct source_tls {
    const char *ca_file, *cert_file, *key_file;
};

struct source_link {
    const struct source_params *params;
    struct link_fsm fsm;
    struct http_client *client;
    struct loop_timer *timer; /* calls try */
    struct source_tls tls;
    struct secret_stamp stamps[3];
    char *trouble;                      /* NULL: none */
    mono_ms last_contact, next_contact; /* -1 */
    bool is_stopped;
    loop_fn try;
    void *arg;
};

/* Calls try from the loop, at first in a while that depends on chance. params outlives it. */
int source_link_init(struct source_link *link, const struct source_params *params,
                     mono_ms interval_ms, loop_fn try, void *arg, struct err *err) MUST_CHECK;
/* All calls must have been freed. */
void source_link_fini(struct source_link *link);

/* Calls try in so many milliseconds. */
void source_link_plan(struct source_link *link, mono_ms delay_ms);
/* try is not called any more. */
void source_link_stop(struct source_link *link);
/* There was an answer that could be used. */
void source_link_found(struct source_link *link);
/* There is contact, which may not last: what failed before still counts. */
void source_link_touched(struct source_link *link);
/* There was none. Says so where there was contact before, or where it is for another reason, and
 * plans the next try. retry_after_ms: what the server asks for; -1: nothing. */
void source_link_lost(struct source_link *link, mono_ms retry_after_ms, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* A file of the credentials is another one now: connections that were made with the old ones are
 * to go. To be followed by source_link_renew(). */
bool source_link_has_new_files(struct source_link *link);
/* Drops all connections. All calls must have been freed. */
int source_link_renew(struct source_link *link, struct err *err) MUST_CHECK;
/* Puts the credentials' files into the request; -1 where one of them cannot be used. */
int source_link_prepare(const struct source_link *link, struct http_request *request,
                        struct err *err) MUST_CHECK;

void source_link_describe(const struct source_link *link, struct source_state *ret);

/* Milliseconds from "120" or "Wed, 21 Oct 2015 07:28:00 GMT"; -1 where it is neither, or NULL. */
mono_ms source_link_parse_retry_after(const char *text, int64_t now_unix_ms);

#endif
