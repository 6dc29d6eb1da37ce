/*
 * The inside of the etcd source, shared by source_etcd.c (contact: what is asked, and when) and
 * source_etcd_docs.c (what the keys hold).
 */
#ifndef EDGIBLE_SOURCE_ETCD_PRIVATE_H
#define EDGIBLE_SOURCE_ETCD_PRIVATE_H

#include "edgible/map.h"
#include "etcd_bounds.h"
#include "etcd_guard.h"
#include "etcd_intake.h"
#include "etcd_online.h"
#include "source_private.h"

struct source_etcd {
    struct source base;
    struct etcd_session session;
    struct reporter *reporter;
    char *prefix; /* of the documents: ends with a slash */
    struct etcd_guard guard;
    struct http_call *guard_call; /* under way, before the range; NULL: none */
    bool was_report_put_off;      /* as there was no contact */
    char *report_body;            /* of the report under way, to be sent again; NULL: it was */
    bool is_report_waiting;       /* for another token */
    struct etcd_online online;
    struct http_call *range, *watch, *report; /* under way; NULL: none */
    struct etcd_stream stream;                /* of watch */
    struct etcd_intake intake;                /* what range and watch bring */
    long range_status;                        /* HTTP's */
    bool is_range;                            /* the intake has its answer */
    struct etcd_answer *batch;                /* whose documents are read; owned by reading */
    struct source_reading *reading;           /* NULL: none, or none beside the loop */
    bool is_fed;                              /* the stream is, just now: it may not be freed */
    bool has_ended;                           /* the stream, before all that came was read */
    struct err ended;                         /* why */
    mono_ms read_at;                          /* when all was read last */
    int64_t revision;                         /* up to which all is known; 0: nothing is */
    struct etcd_store store;                  /* whose revision that is */
    struct map *docs;                         /* key → struct source_docs */
    mono_ms say_ignored_at;                   /* no earlier is it said again */
    struct err watch_end;                     /* why the watch was ended from inside */
    int parts_left;                           /* of the orderly end, which are awaited */
    loop_fn on_end;
    void *on_end_arg;
    bool is_compacted; /* as what it was to begin with is not kept any more */
};

/* --- source_etcd_report.c --- */

/* All that etcd has is known, and it tells of changes; arg is the struct source_etcd. */
bool etcd_is_in_contact(const void *arg);
/* As reporter_params.send and source_ops.end. */
void etcd_send_report(void *arg, const char *text, size_t len);
/* As the session's on_renewed; arg is the struct source_etcd. */
void etcd_on_renewed(void *arg);
bool etcd_end(struct source *base, loop_fn done, void *arg);

/* --- source_etcd_docs.c --- */

void etcd_give_view(struct source_etcd *s);
void etcd_free_docs(struct source_etcd *s);
/* What of it is a document, may be taken, and was not known before: a watch begins with what was.
 */
bool etcd_is_news(const struct source_etcd *s, const struct etcd_kv *kv);
/* An event about keys of the batch that are ignored, as only the signed set is taken; once an hour.
 */
void etcd_say_ignored(struct source_etcd *s);
/* 0 where the keys and values that are there after the batch, a line of changes, are within the
 * bounds; ERR_REMOTE else. */
int etcd_check_changes(const struct source_etcd *s, struct err *err) MUST_CHECK;
/* The texts of the documents in the batch that are to be read: the last of each key, and, where
 * only signed sets are taken, those that are accepted. The caller frees. */
struct source_text *etcd_make_texts(struct source_etcd *s, size_t *ret_count);
/* What was read of the key's value, the texts from *at on being those of it and the keys after it;
 * NULL: it was not read. */
struct app_docs *etcd_documents_of(const struct etcd_kv *kv, struct source_text *texts,
                                   size_t count, size_t *at);
void etcd_take_documents(struct source_etcd *s, const char *key, struct app_docs *parsed);
/* The key is gone. A signed set goes with a signature alone. */
void etcd_forget_key(struct source_etcd *s, const char *key);
/* Keys that are not in the batch are gone. */
void etcd_forget_absent(struct source_etcd *s);
/* What was refused as there were too many workloads may fit now. */
bool etcd_is_room_found(const struct source_etcd *s);

#endif
