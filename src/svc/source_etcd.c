/* The desired state is what the keys below this device's prefix say in etcd. */
#include "edgible/crypto.h"
#include "edgible/map.h"
#include "reporter.h"
#include "source_etcd_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* etcd tells of its progress each 10 minutes; a stream that says nothing for twice as long is not
 * trusted. */
#define SILENCE_MS 1200000
#define STRANGE_PAUSE_MS 5000

static struct source_etcd *from_base(struct source *base)
{
    return (struct source_etcd *) base;
}

static const struct etcd_config *config_of(const struct source_etcd *s)
{
    return &s->base.params.config->etcd;
}

/* What was applied is named by its revision. */
static void set_desired(struct source_etcd *s)
{
    char etag[24];
    (void) snprintf(etag, sizeof(etag), "%" PRId64, s->revision);
    reporter_set_desired(s->reporter, etag);
}

/* --- reading -------------------------------------------------------------------------------------
 */

static void begin(void *arg);
static void begin_watch(struct source_etcd *s);
static void end_watch(struct source_etcd *s, const struct err *err);

/* Nothing of what came and is not taken yet counts. */
static void drop(struct source_etcd *s)
{
    etcd_intake_clear(&s->intake);
    source_reading_free(steal_ptr(&s->reading));
    http_call_free(steal_ptr(&s->guard_call));
    http_call_free(steal_ptr(&s->range));
    http_call_free(steal_ptr(&s->watch));
    s->is_range = s->has_ended = false;
}

/* Something is wrong with this endpoint, or with all. */
static void fail(struct source_etcd *s, const struct err *err)
{
    drop(s);
    etcd_session_failed(&s->session, err);
    reporter_start(s->reporter);
}

static void free_batch(void *keep)
{
    etcd_answer_fini(keep);
    free(keep);
}

static void on_documents(void *arg, struct source_text *texts, size_t count);

/* Takes over what the answer holds. All of a line that has too much stays unread: some of it may be
 * deleted by now, which only the range can tell. */
static void begin_documents(struct source_etcd *s, struct etcd_answer *answer)
{
    struct source_reading_params reading = {
        .loop = s->base.params.loop,
        .free_keep = free_batch,
        .done = on_documents,
        .arg = s,
    };
    s->batch = xmalloc(sizeof(*s->batch));
    *s->batch = *answer;
    *answer = (struct etcd_answer){0};
    etcd_say_ignored(s);
    if (s->is_range) {
        etcd_forget_absent(s);
    } else if (etcd_check_changes(s, &s->watch_end) < 0) {
        s->revision = 0;
        free_batch(steal_ptr(&s->batch));
        return;
    }
    reading.taken = s->base.load;
    reading.texts = etcd_make_texts(s, &reading.count);
    reading.keep = s->batch;
    source_reading_start(&reading, &s->reading);
    if (s->reading != NULL) {
        etcd_intake_hold(&s->intake);
    }
}

/* --- range ---------------------------------------------------------------------------------------
 */

static void take_all(struct source_etcd *s, struct source_text *texts, size_t count)
{
    size_t at = 0;
    for (size_t i = 0; i < s->batch->count; i++) {
        struct app_docs *docs = etcd_documents_of(&s->batch->kvs[i], texts, count, &at);
        if (docs != NULL) {
            etcd_take_documents(s, s->batch->kvs[i].key, docs);
        }
    }
    s->is_range = false;
    s->revision = s->batch->revision;
    s->read_at = loop_now();
    etcd_session_found(&s->session);
    etcd_guard_note_documents(&s->guard, map_count(s->docs));
    etcd_give_view(s);
    set_desired(s);
    reporter_start(s->reporter);
    begin_watch(s);
}

static void take_range(struct source_etcd *s, struct etcd_answer *answer, struct err *err)
{
    int rc = err->code != 0 ? -1 : 0;
    if (etcd_session_judge(&s->session, s->range_status, rc, err) < 0 ||
        etcd_bounds_check_range(answer, err) < 0 ||
        etcd_store_check(&s->store, answer, loop_now(), err) < 0) {
        fail(s, err);
    } else {
        begin_documents(s, answer);
    }
}

static void on_range(void *arg, const struct http_answer *http, const struct err *http_err)
{
    struct source_etcd *s = arg;
    struct err err = {0};
    char text[ERR_MSG_MAX];
    if (http_err != NULL) {
        (void) err_set(&err, ERR_HOST, "%s", err_text(http_err, text, sizeof(text)));
        fail(s, &err);
        return;
    }
    CLEANUP(buf) struct buf body = http_call_take_body(s->range);
    s->range_status = http->status;
    s->is_range = true;
    http_call_free(steal_ptr(&s->range));
    if (etcd_intake_add(&s->intake, &body, &err) < 0) {
        fail(s, &err);
    }
}

static void begin_range(struct source_etcd *s)
{
    struct err err = {0};
    CLEANUP(free) char *body = etcd_range_text(s->prefix, ETCD_MAX_KEYS);
    struct etcd_request request = {
        .path = "/v3/kv/range", .body = body, .is_long = true, .done = on_range, .arg = s};
    s->range = etcd_session_call(&s->session, &request, &err);
    if (s->range == NULL) {
        fail(s, &err);
    }
}

static void on_guard(void *arg, const struct http_answer *http, const struct err *http_err)
{
    struct source_etcd *s = arg;
    CLEANUP(etcd_answer) struct etcd_answer answer = {0};
    struct err err = {0};
    int rc = etcd_session_read(&s->session, http, http_err, &answer, &err);
    http_call_free(steal_ptr(&s->guard_call));
    if (rc < 0 || etcd_bounds_check_range(&answer, &err) < 0 ||
        etcd_guard_judge(&s->guard, answer.count > 0, &err) < 0) {
        fail(s, &err);
    } else {
        begin_range(s);
    }
}

/* All is to be read: but not from an etcd that has lost this device's keys. */
static void begin_all(struct source_etcd *s)
{
    struct err err = {0};
    const char *key = etcd_guard_key(&s->guard);
    if (key == NULL) {
        begin_range(s);
        return;
    }
    CLEANUP(free) char *body = etcd_exists_text(key);
    struct etcd_request request = {
        .path = "/v3/kv/range", .body = body, .done = on_guard, .arg = s};
    s->guard_call = etcd_session_call(&s->session, &request, &err);
    if (s->guard_call == NULL) {
        fail(s, &err);
    }
}

/* --- watch ---------------------------------------------------------------------------------------
 */

static void take_change(struct source_etcd *s, const struct etcd_kv *kv, struct app_docs *docs)
{
    if (kv->is_deleted) {
        etcd_forget_key(s, kv->key);
    } else if (docs != NULL) {
        etcd_take_documents(s, kv->key, docs);
    }
}

/* The store may be ahead of the changes that it has told of, most of all when a watch begins: its
 * revision counts only where it tells of nothing else, which is how it says that nothing is left.
 */
static void note_revision(struct source_etcd *s)
{
    const struct etcd_answer *answer = s->batch;
    int64_t told = answer->count == 0 && !answer->is_created ? answer->revision : 0;
    for (size_t i = 0; i < answer->count; i++) {
        int64_t changed = answer->kvs[i].mod_revision;
        told = changed > told ? changed : told;
    }
    s->revision = told > s->revision ? told : s->revision;
    s->store.revision = s->revision;
}

static void take_changes(struct source_etcd *s, struct source_text *texts, size_t count)
{
    size_t taken = 0;
    size_t at = 0;
    const struct etcd_answer *answer = s->batch;
    for (size_t i = 0; i < answer->count; i++) {
        const struct etcd_kv *kv = &answer->kvs[i];
        if (!etcd_is_news(s, kv)) {
            continue;
        }
        taken++;
        take_change(s, kv, etcd_documents_of(kv, texts, count, &at));
    }
    note_revision(s);
    if (taken > 0) {
        etcd_guard_note_documents(&s->guard, map_count(s->docs));
        etcd_give_view(s);
        set_desired(s);
    }
    if (etcd_is_room_found(s)) {
        s->revision = 0;
        (void) err_set(&s->watch_end, ERR_REMOTE, "documents that were refused may fit now");
    }
}

static void take_line(struct source_etcd *s, struct etcd_answer *answer, const struct err *err)
{
    if (err->code != 0) {
        s->revision = 0;
        s->watch_end = *err;
    } else if (!etcd_store_is_same(&s->store, answer, &s->watch_end)) {
        s->revision = 0; /* the range tells, and for how long */
    } else if (answer->is_canceled) {
        s->revision = 0; /* all is to be read again */
        s->is_compacted = answer->compact_revision != 0;
        bool is_token = etcd_is_token_refusal(answer->reason);
        (void) err_set(&s->watch_end, is_token ? ENOKEY : ERR_REMOTE, "etcd ends the watch: %s",
                       answer->compact_revision != 0 ? "the history is compacted"
                       : answer->reason != NULL      ? answer->reason
                                                     : "no reason given");
    } else if (answer->is_created && answer->revision < s->revision) {
        s->revision = 0;
        s->is_compacted = true; /* or the store is another one: the range tells */
        (void) err_set(&s->watch_end, ERR_REMOTE, "etcd is behind what was known already");
    } else {
        etcd_session_found(&s->session);
        begin_documents(s, answer);
    }
}

/* After each step of a watch: its end, where it has come. */
static void look_for_end(struct source_etcd *s)
{
    if (s->watch_end.code != 0 && !s->is_fed) {
        end_watch(s, &s->watch_end);
    } else if (s->has_ended && etcd_intake_is_idle(&s->intake)) {
        end_watch(s, &s->ended);
    }
}

static void on_documents(void *arg, struct source_text *texts, size_t count)
{
    struct source_etcd *s = arg;
    bool was_held = s->intake.is_held;
    if (s->is_range) {
        take_all(s, texts, count);
    } else {
        take_changes(s, texts, count);
    }
    s->batch = NULL;
    if (was_held && s->watch_end.code == 0) {
        etcd_intake_release(&s->intake);
    }
    if (was_held) {
        look_for_end(s);
    }
}

static void on_answer(void *arg, struct etcd_answer *answer, const struct err *err)
{
    struct source_etcd *s = arg;
    struct err why = err != NULL ? *err : (struct err){0};
    if (s->is_range) {
        take_range(s, answer, &why);
    } else if (s->watch_end.code == 0) {
        take_line(s, answer, &why);
        look_for_end(s);
    }
}

static int on_line(void *arg, struct buf *line)
{
    struct source_etcd *s = arg;
    source_link_plan(&s->session.link, SILENCE_MS);
    if (etcd_intake_add(&s->intake, line, &s->watch_end) < 0) {
        s->watch_end.code = ERR_REMOTE; /* the endpoint is well */
        s->revision = 0;
    }
    return s->watch_end.code != 0 ? -1 : 0;
}

static int on_watch_data(void *arg, const char *data, size_t len)
{
    struct source_etcd *s = arg;
    struct err err = {0};
    s->is_fed = true;
    int rc = etcd_stream_feed(&s->stream, data, len, on_line, s, &err);
    s->is_fed = false;
    if (rc < 0 && s->watch_end.code == 0) {
        s->watch_end = err;
    }
    return rc;
}

static void end_watch(struct source_etcd *s, const struct err *why)
{
    struct err err = *why;
    bool is_ours = s->watch_end.code == ERR_REMOTE;
    drop(s);
    s->watch_end = (struct err){0};
    log_debug("source", "%s", err.msg);
    if (!is_ours) {
        fail(s, &err);
        return;
    }
    mono_ms pause = link_fsm_on_reread(&s->session.link.fsm, loop_now() - s->read_at);
    if (s->is_compacted && pause == 0) {
        source_link_plan(&s->session.link, 0);
    } else { /* the endpoint is well; what was read is not, or is so again and again */
        etcd_session_pause(&s->session, pause > 0 ? pause : STRANGE_PAUSE_MS, err.msg);
    }
}

static void on_watch_end(void *arg, const struct http_answer *http, const struct err *http_err)
{
    struct source_etcd *s = arg;
    CLEANUP(etcd_answer) struct etcd_answer answer = {0};
    s->ended = s->watch_end;
    if (s->ended.code == 0 &&
        etcd_session_read(&s->session, http, http_err, &answer, &s->ended) == 0) {
        (void) err_set(&s->ended, ERR_REMOTE, "etcd ended the stream of changes");
    }
    s->has_ended = true;
    http_call_free(steal_ptr(&s->watch));
    look_for_end(s);
}

static void begin_watch(struct source_etcd *s)
{
    struct err err = {0};
    /* From what is known, so that nothing between it and the first change can be compacted away
     * unseen: where a key is deleted, and the history up to that very revision is compacted, a
     * watch from there on says nothing of it. */
    CLEANUP(free) char *body = etcd_watch_text(s->prefix, s->revision);
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
    if (s->was_report_put_off) {
        s->was_report_put_off = false;
        reporter_poke(s->reporter);
    }
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
    drop(s);
    bool is_idle = s->report == NULL && s->online.call == NULL;
    if (is_idle && etcd_session_renew(&s->session, &err) < 0) {
        fail(s, &err);
    } else if (!etcd_session_is_ready(&s->session)) {
        etcd_session_authenticate(&s->session);
    } else {
        /* Also where a revision is known: a store that was restored or made anew meanwhile may have
         * come to the same one by other changes. */
        begin_all(s);
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

/* --- the source ----------------------------------------------------------------------------------
 */

static void etcd_free(struct source *base)
{
    struct source_etcd *s = from_base(base);
    drop(s);
    http_call_free(s->report);
    free(s->report_body);
    etcd_online_fini(&s->online);
    reporter_free(s->reporter);
    etcd_session_fini(&s->session);
    etcd_stream_fini(&s->stream);
    etcd_store_fini(&s->store);
    etcd_free_docs(s);
    free(s->prefix);
    etcd_guard_fini(&s->guard);
    free(s);
}

static void etcd_stop(struct source *base)
{
    struct source_etcd *s = from_base(base);
    drop(s);
    source_link_stop(&s->session.link);
}

static void etcd_reload(struct source *base)
{
    struct source_etcd *s = from_base(base);
    etcd_session_set_config(&s->session, config_of(s));
    if (s->revision != 0) {
        etcd_give_view(s);
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
    .end = etcd_end,
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
    CLEANUP(free) char *keys = xasprintf("%s/v3/devices/%s/", prefix, device);
    etcd_guard_init(&s->guard, params->persist, keys);
    s->docs = map_new();
    etcd_intake_init(&s->intake, params->loop, on_answer, s);
    struct reporter_params reports = {
        .source = &s->base.params,
        .self = &s->base,
        .interval_ms = config_of(s)->report_interval_ms,
        .send = etcd_send_report,
        .arg = s,
    };
    s->reporter = reporter_new(&reports);
    if (etcd_session_init(&s->session, &s->base.params, begin, etcd_on_renewed, s, err) < 0) {
        etcd_free(&s->base);
        return NULL;
    }
    struct etcd_online_params online = {
        .session = &s->session,
        .source = &s->base.params,
        .is_wanted = etcd_is_in_contact,
        .on_failure = on_online_failure,
        .arg = s,
    };
    etcd_online_init(&s->online, &online);
    return &s->base;
}
