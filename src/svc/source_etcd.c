/* The desired state is what the keys below this device's prefix say in etcd. */
#include "edgible/buf.h"
#include "edgible/clock.h"
#include "edgible/crypto.h"
#include "edgible/map.h"
#include "edgible/source_trust.h"
#include "etcd_bounds.h"
#include "etcd_online.h"
#include "reporter.h"
#include "source_docs.h"
#include "source_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* etcd tells of its progress each 10 minutes; a stream that says nothing for twice as long is not
 * trusted. */
#define SILENCE_MS 1200000
#define STRANGE_PAUSE_MS 5000

struct source_etcd {
    struct source base;
    struct etcd_session session;
    struct reporter *reporter;
    char *prefix; /* of the documents: ends with a slash */
    char *report_key;
    struct etcd_online online;
    struct http_call *range, *watch, *report; /* under way; NULL: none */
    struct etcd_stream stream;                /* of watch */
    mono_ms read_at;                          /* when all was read last */
    int64_t revision;                         /* up to which all is known; 0: nothing is */
    struct etcd_store store;                  /* whose revision that is */
    struct map *docs;                         /* key → struct source_docs */
    struct err watch_end;                     /* why the watch was ended from inside */
    bool is_compacted; /* as what it was to begin with is not kept any more */
};

static struct source_etcd *from_base(struct source *base)
{
    return (struct source_etcd *) base;
}

static const struct etcd_config *config_of(const struct source_etcd *s)
{
    return &s->base.params.config->etcd;
}

/* --- the view ------------------------------------------------------------------------------------
 */

static int compare_docs(const void *a, const void *b)
{
    const struct source_docs *const *x = a;
    const struct source_docs *const *y = b;
    return strcmp((*x)->origin, (*y)->origin);
}

static void give_view(struct source_etcd *s)
{
    if (source_waits_for_set(&s->base, s->prefix)) {
        return;
    }
    size_t count = map_count(s->docs);
    CLEANUP(free) struct source_docs **sorted = xcalloc(count + 1, sizeof(struct source_docs *));
    CLEANUP(free)
    const struct app_spec **apps = xcalloc(APPSPEC_MAX_DOCUMENTS, sizeof(struct app_spec *));
    struct source_view view = {.apps = apps};
    size_t at = 0;
    void *value = NULL;
    for (size_t i = 0; map_next(s->docs, &at, NULL, &value); i++) {
        sorted[i] = value;
    }
    qsort(sorted, count, sizeof(struct source_docs *), compare_docs);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < sorted[i]->app_count && view.count < APPSPEC_MAX_DOCUMENTS; k++) {
            apps[view.count++] = sorted[i]->apps[k];
        }
        source_docs_add_doubts(sorted[i], &view);
    }
    s->base.params.on_view(s->base.params.arg, &view);
    strv_fini(&view.kept);
    strv_fini(&view.unsure);
}

static void free_docs(struct source_docs *docs)
{
    if (docs != NULL) {
        source_docs_fini(docs);
        free(docs);
    }
}

static struct source_docs *get_docs(struct source_etcd *s, const char *key)
{
    struct source_docs *docs = map_get(s->docs, key);
    if (docs == NULL) {
        docs = xcalloc(1, sizeof(*docs));
        source_docs_init(docs, key, &s->base.load);
        map_put(s->docs, key, docs);
    }
    return docs;
}

/* One application a key, under its own name. */
static bool is_under_its_name(const struct source_etcd *s, const char *key,
                              const struct app_docs *parsed)
{
    const char *name = key + strlen(s->prefix);
    for (size_t i = 0; i < parsed->count; i++) {
        if (parsed->docs[i].name != NULL && strcmp(parsed->docs[i].name, name) != 0) {
            return false;
        }
    }
    return true;
}

static bool is_signed_set(const struct source_etcd *s, const char *key)
{
    return s->base.trust != NULL && strcmp(key + strlen(s->prefix), TRUST_SET_NAME) == 0;
}

/* 0 where the documents may be taken, which are the first *len bytes. */
static int check_trust(struct source_etcd *s, struct source_docs *docs, const struct etcd_kv *kv,
                       size_t *len)
{
    struct err err = {0};
    if (!is_signed_set(s, kv->key)) {
        (void) err_set(&err, ERR_REMOTE,
                       "with controlPlane.trustedKeys only the signed set '" TRUST_SET_NAME
                       "' is taken");
    } else if (trust_accept(s->base.trust, kv->value, kv->value_len, len, &err) == 0) {
        return 0;
    }
    source_say_untrusted(&s->base, kv->key, err.msg);
    source_docs_refuse(docs, s->base.params.events, err.msg);
    return -1;
}

/* The key is gone. A signed set goes with a signature alone. */
static void forget_key(struct source_etcd *s, const char *key)
{
    struct source_docs *docs = map_get(s->docs, key);
    if (docs != NULL && is_signed_set(s, key)) {
        source_docs_refuse(docs, s->base.params.events,
                           "is the signed set, and is gone; a signed set without applications "
                           "removes them");
    } else {
        free_docs(map_remove(s->docs, key));
    }
}

static void take_value(struct source_etcd *s, const struct etcd_kv *kv)
{
    struct source_docs *docs = get_docs(s, kv->key);
    CLEANUP(app_docs) struct app_docs parsed = {0};
    size_t len = kv->value_len;
    if (s->base.trust != NULL && check_trust(s, docs, kv, &len) < 0) {
        return;
    }
    source_docs_parse(docs, kv->value, len, &parsed);
    bool is_set = s->base.trust != NULL;
    if (!is_set && parsed.count == 0 && parsed.diag.error_count == 0) {
        source_docs_refuse(docs, s->base.params.events,
                           "is empty; to remove the application delete the key");
    } else if (!is_set && !is_under_its_name(s, kv->key, &parsed)) {
        source_docs_refuse(docs, s->base.params.events,
                           "holds an application of another name than the key's");
    } else {
        source_docs_take(docs, s->base.params.events, &parsed, false);
    }
}

/* What is deeper than the applications' names, or has none, is somebody else's. */
static bool is_document(const struct source_etcd *s, const struct etcd_kv *kv)
{
    size_t len = strlen(s->prefix);
    return kv->key_len == strlen(kv->key) && strncmp(kv->key, s->prefix, len) == 0 &&
           kv->key[len] != '\0' && strchr(kv->key + len, '/') == NULL;
}

/* What was applied is named by its revision. */
static void set_desired(struct source_etcd *s)
{
    char etag[24];
    (void) snprintf(etag, sizeof(etag), "%" PRId64, s->revision);
    reporter_set_desired(s->reporter, etag);
}

/* --- range ---------------------------------------------------------------------------------------
 */

static void begin(void *arg);
static void begin_watch(struct source_etcd *s);

static void forget_absent(struct source_etcd *s, const struct etcd_answer *answer)
{
    CLEANUP(map) struct map *present = map_new();
    CLEANUP(strv) struct strv absent = {0};
    for (size_t i = 0; i < answer->count; i++) {
        map_put(present, answer->kvs[i].key, s);
    }
    size_t at = 0;
    const char *key = NULL;
    void *value = NULL;
    while (map_next(s->docs, &at, &key, &value)) {
        if (!map_has(present, key)) {
            strv_add(&absent, key);
        }
    }
    for (size_t i = 0; i < absent.count; i++) {
        forget_key(s, absent.items[i]);
    }
}

/* Something is wrong with this endpoint, or with all. */
static void fail(struct source_etcd *s, const struct err *err)
{
    http_call_free(steal_ptr(&s->range));
    http_call_free(steal_ptr(&s->watch));
    etcd_session_failed(&s->session, err);
    reporter_start(s->reporter);
}

/* They are within the bounds together, so that none counts before all were taken. */
static void take_all(struct source_etcd *s, const struct etcd_answer *answer)
{
    size_t at = 0;
    void *value = NULL;
    forget_absent(s, answer);
    while (map_next(s->docs, &at, NULL, &value)) {
        source_docs_uncount(value);
    }
    for (size_t i = 0; i < answer->count; i++) {
        if (is_document(s, &answer->kvs[i])) {
            take_value(s, &answer->kvs[i]);
        }
    }
}

static void on_range(void *arg, const struct http_answer *http, const struct err *http_err)
{
    struct source_etcd *s = arg;
    CLEANUP(etcd_answer) struct etcd_answer answer = {0};
    struct err err = {0};
    if (etcd_session_read(&s->session, http, http_err, &answer, &err) < 0 ||
        etcd_bounds_check_range(&answer, &err) < 0 ||
        etcd_store_check(&s->store, &answer, loop_now(), &err) < 0) {
        fail(s, &err);
        return;
    }
    http_call_free(steal_ptr(&s->range));
    take_all(s, &answer);
    s->revision = answer.revision;
    s->read_at = loop_now();
    etcd_session_found(&s->session);
    give_view(s);
    set_desired(s);
    reporter_start(s->reporter);
    begin_watch(s);
}

static void begin_range(struct source_etcd *s)
{
    struct err err = {0};
    CLEANUP(free) char *body = etcd_range_text(s->prefix, ETCD_MAX_KEYS);
    struct etcd_request request = {
        .path = "/v3/kv/range", .body = body, .done = on_range, .arg = s};
    s->range = etcd_session_call(&s->session, &request, &err);
    if (s->range == NULL) {
        fail(s, &err);
    }
}

/* --- watch ---------------------------------------------------------------------------------------
 */

static bool is_room_found(const struct source_etcd *s)
{
    size_t at = 0;
    void *value = NULL;
    while (map_next(s->docs, &at, NULL, &value)) {
        if (source_docs_has_room(value)) {
            return true;
        }
    }
    return false;
}

/* Of the stream: -1 ends it, with the reason in watch_end. */
static int take_changes(struct source_etcd *s, const struct etcd_answer *answer)
{
    size_t taken = 0;
    if (answer->is_canceled) {
        s->revision = 0; /* all is to be read again */
        s->is_compacted = answer->compact_revision != 0;
        return err_set(&s->watch_end, ERR_REMOTE, "etcd ends the watch: %s",
                       answer->compact_revision != 0 ? "the history is compacted"
                       : answer->reason != NULL      ? answer->reason
                                                     : "no reason given");
    }
    etcd_session_found(&s->session);
    if (answer->is_created && answer->revision < s->revision) {
        s->revision = 0;
        s->is_compacted = true; /* or the store is another one: the range tells */
        return err_set(&s->watch_end, ERR_REMOTE, "etcd is behind what was known already");
    }
    for (size_t i = 0; i < answer->count; i++) {
        const struct etcd_kv *kv = &answer->kvs[i];
        if (!is_document(s, kv)) {
            continue;
        }
        taken++;
        const struct source_docs *old = map_get(s->docs, kv->key);
        if (kv->is_deleted) {
            forget_key(s, kv->key);
        } else if (etcd_bounds_check_change(&s->base.load, map_count(s->docs), old, kv,
                                            &s->watch_end) == 0) {
            take_value(s, kv);
        } else { /* some of them may be deleted by now, which only the range can tell */
            s->revision = 0;
            return -1;
        }
    }
    s->revision = answer->revision > s->revision ? answer->revision : s->revision;
    s->store.revision = s->revision;
    if (taken > 0) {
        give_view(s);
        set_desired(s);
    }
    if (is_room_found(s)) {
        s->revision = 0;
        return err_set(&s->watch_end, ERR_REMOTE, "documents that were refused may fit now");
    }
    return 0;
}

static int on_line(void *arg, const char *line, size_t len)
{
    struct source_etcd *s = arg;
    CLEANUP(etcd_answer) struct etcd_answer answer = {0};
    if (etcd_answer_read(line, len, &answer, &s->watch_end) < 0) {
        s->revision = 0;
        return -1;
    }
    source_link_plan(&s->session.link, SILENCE_MS);
    return take_changes(s, &answer);
}

static int on_watch_data(void *arg, const char *data, size_t len)
{
    struct source_etcd *s = arg;
    struct err err = {0};
    if (etcd_stream_feed(&s->stream, data, len, on_line, s, &err) < 0) {
        s->watch_end = s->watch_end.code != 0 ? s->watch_end : err;
        return -1;
    }
    return 0;
}

static void on_watch_end(void *arg, const struct http_answer *http, const struct err *http_err)
{
    struct source_etcd *s = arg;
    CLEANUP(etcd_answer) struct etcd_answer answer = {0};
    struct err err = s->watch_end;
    if (err.code == 0 && etcd_session_read(&s->session, http, http_err, &answer, &err) == 0) {
        (void) err_set(&err, ERR_REMOTE, "etcd ended the stream of changes");
    }
    bool is_ours = s->watch_end.code == ERR_REMOTE;
    http_call_free(steal_ptr(&s->watch));
    log_debug("source", "%s", err.msg);
    if (!is_ours) {
        fail(s, &err);
    } else if (s->is_compacted && loop_now() - s->read_at > STRANGE_PAUSE_MS) {
        source_link_plan(&s->session.link, 0);
    } else { /* the endpoint is well; what was read is not, or is so again and again */
        etcd_session_pause(&s->session, STRANGE_PAUSE_MS, err.msg);
    }
}

static void begin_watch(struct source_etcd *s)
{
    struct err err = {0};
    CLEANUP(free) char *body = etcd_watch_text(s->prefix, s->revision + 1);
    struct etcd_request request = {
        .path = "/v3/watch",
        .body = body,
        .on_data = on_watch_data,
        .done = on_watch_end,
        .arg = s,
    };
    etcd_stream_fini(&s->stream);
    s->watch_end = (struct err){0};
    s->is_compacted = false;
    s->watch = etcd_session_call(&s->session, &request, &err);
    if (s->watch == NULL) {
        fail(s, &err);
        return;
    }
    source_link_plan(&s->session.link, SILENCE_MS);
}

/* The link's timer: the first contact, a try again, or a stream that says nothing. */
static void begin(void *arg)
{
    struct source_etcd *s = arg;
    struct err err = {0};
    if (s->watch != NULL) {
        log_warn("source", "etcd has said nothing for too long; it is asked anew");
        s->revision = 0;
    }
    http_call_free(steal_ptr(&s->range));
    http_call_free(steal_ptr(&s->watch));
    bool is_idle = s->report == NULL && s->online.call == NULL;
    if (is_idle && etcd_session_renew(&s->session, &err) < 0) {
        fail(s, &err);
    } else if (!etcd_session_is_ready(&s->session)) {
        etcd_session_authenticate(&s->session);
    } else if (s->revision == 0) {
        begin_range(s);
    } else {
        begin_watch(s);
    }
}

/* --- online --------------------------------------------------------------------------------------
 */

/* Nothing of it is reported: that the link is down is known from the watch, and where it is not
 * yet, this is how. */
static void on_online_failure(void *arg, const struct err *err)
{
    struct source_etcd *s = arg;
    if (s->watch != NULL && err->code != EACCES && err->code != ENOKEY) {
        fail(s, err);
    }
}

static bool is_in_contact(const void *arg)
{
    const struct source_etcd *s = arg;
    return s->revision != 0 && s->watch != NULL;
}

/* --- reports -------------------------------------------------------------------------------------
 */

static void on_report_done(void *arg, const struct http_answer *http, const struct err *http_err)
{
    struct source_etcd *s = arg;
    CLEANUP(etcd_answer) struct etcd_answer answer = {0};
    struct err err = {0};
    int rc = etcd_session_read(&s->session, http, http_err, &answer, &err);
    http_call_free(steal_ptr(&s->report));
    reporter_on_end(s->reporter, rc == 0 ? REPORT_TAKEN : REPORT_FAILED, err.msg, -1);
}

static void send_report(void *arg, const char *text, size_t len)
{
    struct source_etcd *s = arg;
    struct err err = {0};
    CLEANUP(free) char *body = etcd_put_text(s->report_key, text, len, 0);
    struct etcd_request request = {
        .path = "/v3/kv/put", .body = body, .done = on_report_done, .arg = s};
    s->report = etcd_session_call(&s->session, &request, &err);
    if (s->report == NULL) {
        reporter_on_end(s->reporter, REPORT_FAILED, err.msg, -1);
    }
}

/* --- the source ----------------------------------------------------------------------------------
 */

static void etcd_free(struct source *base)
{
    struct source_etcd *s = from_base(base);
    http_call_free(s->range);
    http_call_free(s->watch);
    http_call_free(s->report);
    etcd_online_fini(&s->online);
    reporter_free(s->reporter);
    etcd_session_fini(&s->session);
    etcd_stream_fini(&s->stream);
    etcd_store_fini(&s->store);
    size_t at = 0;
    void *value = NULL;
    while (map_next(s->docs, &at, NULL, &value)) {
        free_docs(value);
    }
    map_free(s->docs);
    free(s->prefix);
    free(s->report_key);
    free(s);
}

static void etcd_stop(struct source *base)
{
    struct source_etcd *s = from_base(base);
    http_call_free(steal_ptr(&s->range));
    http_call_free(steal_ptr(&s->watch));
    source_link_stop(&s->session.link);
}

static void etcd_reload(struct source *base)
{
    struct source_etcd *s = from_base(base);
    etcd_session_set_config(&s->session, config_of(s));
    if (s->revision != 0) {
        give_view(s);
    }
}

static void etcd_describe(const struct source *base, struct source_state *ret)
{
    const struct source_etcd *s = (const struct source_etcd *) base;
    ret->type = "etcd";
    ret->location = etcd_session_endpoint(&s->session);
    ret->mode = "watch";
    source_link_describe(&s->session.link, ret);
    if (s->watch != NULL) {
        ret->next_contact = -1; /* changes come by themselves */
    }
}

static void etcd_add_details(const struct source *base, struct json *json)
{
    const struct source_etcd *s = (const struct source_etcd *) base;
    char etag[24];
    if (s->revision != 0) {
        (void) snprintf(etag, sizeof(etag), "%" PRId64, s->revision);
        json_set_string(json, "etag", etag);
    }
    reporter_add_details(s->reporter, json);
}

static void etcd_each_problem(const struct source *base, source_problem_fn *fn, void *arg)
{
    const struct source_etcd *s = (const struct source_etcd *) base;
    size_t at = 0;
    void *value = NULL;
    while (map_next(s->docs, &at, NULL, &value)) {
        source_docs_each_problem(value, fn, arg);
    }
}

static const struct source_ops etcd_ops = {
    .free = etcd_free,
    .stop = etcd_stop,
    .reload = etcd_reload,
    .describe = etcd_describe,
    .add_details = etcd_add_details,
    .each_problem = etcd_each_problem,
};

struct source *source_etcd_open(const struct source_params *params, struct err *err)
{
    if (crypto_load(err) < 0) {
        return NULL;
    }
    struct source_etcd *s = xcalloc(1, sizeof(*s));
    s->base = (struct source){.ops = &etcd_ops, .params = *params};
    const char *device = params->config->device_name;
    const char *prefix = config_of(s)->prefix;
    s->prefix = xasprintf("%s/v3/devices/%s/applications/", prefix, device);
    s->report_key = xasprintf("%s/v3/devices/%s/report", prefix, device);
    s->docs = map_new();
    struct reporter_params reports = {
        .source = &s->base.params,
        .self = &s->base,
        .interval_ms = config_of(s)->report_interval_ms,
        .send = send_report,
        .arg = s,
    };
    s->reporter = reporter_new(&reports);
    if (etcd_session_init(&s->session, &s->base.params, begin, s, err) < 0) {
        etcd_free(&s->base);
        return NULL;
    }
    struct etcd_online_params online = {
        .session = &s->session,
        .source = &s->base.params,
        .is_wanted = is_in_contact,
        .on_failure = on_online_failure,
        .arg = s,
    };
    etcd_online_init(&s->online, &online);
    return &s->base;
}
