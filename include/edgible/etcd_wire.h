/*
 * etcd_wire: what is said to etcd's JSON gateway (v3), and what it answers. Pure.
 *
 * Keys and values are base64 there, and numbers strings. Checked on etcd 3.4.23.
 */
#ifndef EDGIBLE_ETCD_WIRE_H
#define EDGIBLE_ETCD_WIRE_H

#include "edgible/appspec.h"
#include "edgible/buf.h"
#include "edgible/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a line of a stream, and any answer, may be long: 8 MiB of documents as base64, and keys. */
#define ETCD_MAX_BYTES (12UL * 1024 * 1024)
/* Values of its JSON; a key has up to 8. */
#define ETCD_MAX_VALUES 131072
/* Of a range, empty ones as well: one more than it may have documents, which tells that there are
 * too many. A line of a stream may change the same key often. */
#define ETCD_MAX_KEYS (APPSPEC_MAX_DOCUMENTS + 1)

/* --- requests: JSON texts; the caller frees --- */

/* All keys that begin with prefix. */
char *etcd_range_text(const char *prefix, int64_t limit);
char *etcd_get_text(const char *key);
/* Whether there is one: without its value. */
char *etcd_exists_text(const char *key);
/* From this revision on. */
char *etcd_watch_text(const char *prefix, int64_t revision);
/* lease: 0 none. */
char *etcd_put_text(const char *key, const char *value, size_t len, int64_t lease);
/* Puts the values, or deletes the keys where they are NULL, all at once, if each key's last change
 * was at its revision (0: it does not exist); else answers with what is there. */
struct etcd_swap {
    const char *key, *value; /* the caller's */
    size_t len;
    int64_t mod_revision;
    int64_t lease; /* of a put; 0: none */
};
char *etcd_swap_text(const struct etcd_swap *swaps, size_t count);
char *etcd_grant_text(int64_t ttl_s);
char *etcd_keepalive_text(int64_t lease);
char *etcd_revoke_text(int64_t lease);
char *etcd_authenticate_text(const char *name, const char *password);

/* --- answers --- */

struct etcd_kv {
    char *key, *value; /* owned; NUL-terminated, with NULs in between where they hold some */
    size_t key_len, value_len;
    int64_t mod_revision;
    bool is_deleted;
};

struct etcd_answer {
    int64_t revision;    /* of the store; 0: not told */
    char *cluster;       /* its id; NULL: not told */
    struct etcd_kv *kvs; /* of a range, or the changes of a watch */
    size_t count;
    int64_t total;                /* of a range: how many there are; 0: not told */
    bool has_more;                /* the range was cut off by its limit */
    bool is_created, is_canceled; /* of a watch */
    int64_t compact_revision;     /* below it the history is gone; 0: not told */
    char *reason;                 /* of is_canceled; NULL: not told */
    bool has_succeeded;           /* of a swap */
    int64_t lease, ttl_s;
    char *token;
};

void etcd_answer_fini(struct etcd_answer *answer);
void cleanup_etcd_answer(struct etcd_answer *answer);

/* One answer, or one line of a stream. -1 where it is none (ERR_REMOTE), or an error of etcd's
 * (EACCES: permission; ENOKEY: the token does not count any more; else ERR_REMOTE). *ret must be
 * zeroed; the caller finishes it in either case. */
int etcd_answer_read(const char *text, size_t len, struct etcd_answer *ret,
                     struct err *err) MUST_CHECK;

/* Whether etcd's words mean that the token does not count any more: it has run out, the member has
 * forgotten it, or users have changed since. text may be NULL. */
bool etcd_is_token_refusal(const char *text);

/* Whether it lies below the prefix (applications/), which a server need not have kept to. What is
 * deeper than the applications' names, or has none, is somebody else's. */
bool etcd_is_document(const struct etcd_kv *kv, const char *prefix);

/* A stream of answers, each on a line of its own, in pieces that end anywhere. */
struct etcd_stream {
    struct buf line;
};

/* fn gets each line that is complete, and may take it over; -1 ends the feeding. EFBIG where a line
 * is too long. */
typedef int etcd_line_fn(void *arg, struct buf *line);
int etcd_stream_feed(struct etcd_stream *stream, const char *data, size_t len, etcd_line_fn *fn,
                     void *arg, struct err *err) MUST_CHECK;
void etcd_stream_fini(struct etcd_stream *stream);

#endif
