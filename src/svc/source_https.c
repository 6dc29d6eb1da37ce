/* The desired state is one document that an HTTPS server has for this device. */
#include "edgible/buf.h"
#include "edgible/clock.h"
#include "edgible/crypto.h"
#include "edgible/source_trust.h"
#include "reporter.h"
#include "source_docs.h"
#include "source_link.h"
#include "source_private.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_ANSWER_BYTES (8UL * 1024 * 1024)
/* The server holds a request for LINK_WAIT_S; one that says nothing so much longer is gone. */
#define POLL_WAIT_MS 75000
#define ANSWER_WAIT_MS 30000

/* What is known of an answer while its documents are read. */
struct incoming {
    struct link_answer timing;
    char *etag;
    char body_hash[CRYPTO_SHA256_HEX_BYTES];
    bool is_etag_of_server;
    bool is_page;    /* text/html */
    bool is_list;    /* which says itself that it is empty */
    bool may_be_cut; /* neither its length is known, nor does it say where it ends */
};

struct source_https {
    struct source base;
    struct source_link link;
    struct reporter *reporter;
    struct http_call *poll, *report; /* under way; NULL: none */
    mono_ms poll_began;
    char *etag; /* of what was taken last; a hash where the server gives none */
    char body_hash[CRYPTO_SHA256_HEX_BYTES]; /* of it: a tag can stay while the body changes */
    bool is_etag_of_server;
    struct source_docs docs;
    struct source_reading *reading; /* of docs' text; NULL: none */
    struct incoming incoming;       /* of reading */
    char *untrusted;                /* why the last set was refused; NULL: it was not */
    bool has_docs;                  /* an answer was taken */
};

static struct source_https *from_base(struct source *base)
{
    return (struct source_https *) base;
}

static const struct https_config *config_of(const struct source_https *s)
{
    return &s->base.params.config->https;
}

static char *make_url(const struct source_https *s, const char *what)
{
    CLEANUP(buf) struct buf url = {0};
    buf_printf(&url, "%s/v3/devices/", config_of(s)->url);
    http_add_escaped(&url, s->base.params.config->device_name);
    buf_printf(&url, "/%s", what);
    return buf_steal(&url);
}

/* --- requests ------------------------------------------------------------------------------------
 */

/* Headers that all requests have, and those of `more`. */
struct headers {
    const char *list[5];
    size_t count;
    char *authorization;
};

static void add_header(struct headers *headers, const char *header)
{
    headers->list[headers->count++] = header;
}

static void cleanup_headers(struct headers *headers)
{
    free(headers->authorization);
}

/* The token is read for each request: a new one counts at once. */
static int authorize(const struct source_https *s, struct headers *headers, struct err *err)
{
    const char *file = config_of(s)->token_file;
    if (file == NULL) {
        return 0;
    }
    CLEANUP(free) char *token = secret_read(file, err);
    if (token == NULL) {
        return err_prefix(err, "tokenFile");
    }
    headers->authorization = xasprintf("Authorization: Bearer %s", token);
    add_header(headers, headers->authorization);
    return 0;
}

static struct http_call *start(struct source_https *s, struct http_request *request,
                               struct headers *headers, http_done_fn *done, struct err *err)
{
    if (authorize(s, headers, err) < 0 || source_link_prepare(&s->link, request, err) < 0) {
        return NULL;
    }
    request->headers = headers->list;
    return http_call_new(s->link.client, request, done, s, err);
}

/* --- the view ------------------------------------------------------------------------------------
 */

static void give_view(struct source_https *s)
{
    struct source_view view = {.apps = s->docs.apps, .count = s->docs.app_count};
    source_docs_add_doubts(&s->docs, &view);
    s->base.params.on_view(s->base.params.arg, &view);
    strv_fini(&view.kept);
    strv_fini(&view.unsure);
}

/* NULL where it is what a control plane answers, else why it is none. The caller frees. */
static char *judge(const struct incoming *answer, const struct app_docs *parsed)
{
    size_t known = 0;
    for (size_t i = 0; i < parsed->count; i++) {
        known += parsed->docs[i].name != NULL ? 1 : 0;
    }
    if (answer->is_page) {
        return xstrdup("the answer is a web page (text/html), and no documents");
    }
    if (parsed->count == 0 && parsed->diag.error_count == 0 && !answer->is_list) {
        return xstrdup("the answer is empty, which says nothing; no applications are []");
    }
    if (parsed->diag.error_count > 0) {
        CLEANUP(free) char *line = diag_item_text(&parsed->diag.items[0]);
        return xasprintf("the answer cannot be parsed: %s", line);
    }
    if (parsed->count > 0 && known == 0) {
        CLEANUP(free)
        char *line = parsed->docs[0].diag.count > 0 ? diag_item_text(&parsed->docs[0].diag.items[0])
                                                    : xstrdup("");
        return xasprintf("the answer holds no v3 Application: %s", line);
    }
    return NULL;
}

/* --- polling -------------------------------------------------------------------------------------
 */

static void plan_next(struct source_https *s, const struct link_answer *timing)
{
    source_link_found(&s->link);
    source_link_plan(&s->link,
                     link_fsm_on_answer(&s->link.fsm, timing, config_of(s)->poll_interval_ms));
}

static void take_documents(struct source_https *s, struct app_docs *parsed)
{
    struct incoming *answer = &s->incoming;
    bool is_cut = answer->may_be_cut && s->base.trust == NULL;
    if (is_cut) {
        log_warn("source",
                 "'%s': the server does not say how long its answer is; nothing is "
                 "removed by it, as it may be cut off",
                 s->docs.origin);
    }
    free(s->etag);
    s->etag = steal_ptr(&answer->etag);
    memcpy(s->body_hash, answer->body_hash, sizeof(s->body_hash));
    s->is_etag_of_server = answer->is_etag_of_server;
    source_docs_take(&s->docs, s->base.params.events, parsed, is_cut);
    s->has_docs = true;
    give_view(s);
    reporter_set_desired(s->reporter, s->etag);
    plan_next(s, &answer->timing);
}

static void on_texts(void *arg, struct source_text *texts, size_t count)
{
    struct source_https *s = arg;
    (void) count;
    CLEANUP(free) char *why = judge(&s->incoming, &texts->docs);
    if (why == NULL) {
        take_documents(s, &texts->docs);
    } else {
        source_link_lost(&s->link, -1, "'%s': %s", s->docs.origin, why);
    }
    free(steal_ptr(&s->incoming.etag));
    reporter_start(s->reporter);
}

static void refuse_untrusted(struct source_https *s, const struct err *err)
{
    if (s->untrusted == NULL || strcmp(s->untrusted, err->msg) != 0) {
        free(s->untrusted);
        s->untrusted = xstrdup(err->msg);
        source_say_untrusted(&s->base, s->docs.origin, err->msg);
    }
    source_link_lost(&s->link, -1, "'%s': %s", s->docs.origin, err->msg);
}

static void free_body(void *keep)
{
    buf_fini(keep);
    free(keep);
}

/* Its documents are read; what comes of the answer follows then. */
static void begin_reading(struct source_https *s)
{
    struct err err = {0};
    struct buf *body = xcalloc(1, sizeof(*body));
    *body = http_call_take_body(s->poll);
    size_t len = body->len;
    if (s->base.trust != NULL &&
        trust_accept(s->base.trust, buf_str(body), body->len, &len, &err) < 0) {
        refuse_untrusted(s, &err);
        free_body(body);
        return;
    }
    free(steal_ptr(&s->untrusted));
    const struct source_reading_params reading = {
        .loop = s->base.params.loop,
        .keep = body,
        .free_keep = free_body,
        .done = on_texts,
        .arg = s,
    };
    source_docs_read(&s->docs, buf_str(body), len, &reading, &s->reading);
}

/* Whether the first document is a list, behind comments and lines of "---". */
static bool begins_with_list(const char *body)
{
    for (;;) {
        body += strspn(body, " \t\r\n");
        if (*body == '#') {
            body += strcspn(body, "\n");
        } else if (strncmp(body, "---", 3) == 0 && body[3] != '\0' &&
                   strchr(" \t\r\n", body[3]) != NULL) {
            body += 3;
        } else {
            return *body == '[';
        }
    }
}

/* More documents can follow a list of a YAML stream. */
static bool may_be_cut(const struct http_answer *answer)
{
    const char *body = buf_str(&answer->body);
    bool is_yaml = answer->type != NULL && strcasestr(answer->type, "yaml") != NULL;
    return !answer->is_delimited && (body[strspn(body, " \t\r\n")] != '[' || is_yaml);
}

/* What an answer with documents says of itself. */
static void describe(const struct http_answer *answer, struct incoming *incoming)
{
    incoming->is_etag_of_server = answer->etag != NULL && answer->etag[0] != '\0';
    incoming->is_page = answer->type != NULL && strncasecmp(answer->type, "text/html", 9) == 0;
    incoming->is_list = begins_with_list(buf_str(&answer->body));
    incoming->may_be_cut = may_be_cut(answer);
    crypto_sha256_hex(buf_str(&answer->body), answer->body.len, incoming->body_hash);
    incoming->etag = incoming->is_etag_of_server ? xstrdup(answer->etag)
                                                 : xasprintf("\"sha256-%s\"", incoming->body_hash);
}

static void take_success(struct source_https *s, const struct http_answer *answer)
{
    struct incoming incoming = {
        .timing.is_wait_applied =
            answer->preference != NULL && strncasecmp(answer->preference, "wait", 4) == 0,
        .timing.took_ms = loop_now() - s->poll_began,
    };
    if (answer->status == 200) {
        describe(answer, &incoming);
        incoming.timing.is_changed = s->etag == NULL || strcmp(incoming.etag, s->etag) != 0 ||
                                     strcmp(incoming.body_hash, s->body_hash) != 0;
    }
    if (!incoming.timing.is_changed) {
        free(incoming.etag);
        plan_next(s, &incoming.timing);
        return;
    }
    free(s->incoming.etag);
    s->incoming = incoming;
    begin_reading(s);
}

static const char *explain(long status)
{
    static const struct {
        long status;
        const char *sentence;
    } known[] = {
        {401, " (the token or certificate is not accepted)"       },
        {403, " (this device may not read its applications there)"},
        {404, " (the control plane does not know this device)"    },
        {429, " (too many requests)"                              },
        {503, " (the control plane has too much to do)"           },
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (known[i].status == status) {
            return known[i].sentence;
        }
    }
    return "";
}

static void on_poll_done(void *arg, const struct http_answer *answer, const struct err *err)
{
    struct source_https *s = arg;
    char text[ERR_MSG_MAX];
    CLEANUP(free) char *body = err == NULL ? http_quote_body(answer) : NULL;
    if (err != NULL) {
        source_link_lost(&s->link, -1, "%s", err_text(err, text, sizeof(text)));
    } else if (answer->status == 200 || (answer->status == 304 && s->etag != NULL)) {
        take_success(s, answer);
    } else {
        source_link_lost(&s->link,
                         source_link_parse_retry_after(answer->retry_after, clock_unix_ms()),
                         "'%s' answers with HTTP status %ld%s%s", s->docs.origin, answer->status,
                         explain(answer->status), body);
    }
    http_call_free(steal_ptr(&s->poll));
    reporter_start(s->reporter);
}

static void begin_poll(void *arg)
{
    struct source_https *s = arg;
    struct err err = {0};
    char text[ERR_MSG_MAX];
    char prefer[32];
    if (s->report == NULL && source_link_has_new_files(&s->link) &&
        source_link_renew(&s->link, &err) < 0) {
        source_link_lost(&s->link, -1, "%s", err_text(&err, text, sizeof(text)));
        return;
    }
    struct http_request request = {
        .url = s->docs.origin,
        .method = "GET",
        .accept = "application/yaml, application/json",
        .max_bytes = MAX_ANSWER_BYTES,
        .wait_ms = s->link.fsm.waits == LINK_WAITS_NOT ? ANSWER_WAIT_MS : POLL_WAIT_MS,
    };
    CLEANUP(headers) struct headers headers = {0};
    CLEANUP(free)
    char *match =
        s->etag != NULL && s->is_etag_of_server ? xasprintf("If-None-Match: %s", s->etag) : NULL;
    (void) snprintf(prefer, sizeof(prefer), "Prefer: wait=%d", LINK_WAIT_S);
    add_header(&headers, prefer);
    if (match != NULL) {
        add_header(&headers, match);
    }
    s->poll_began = loop_now();
    s->poll = start(s, &request, &headers, on_poll_done, &err);
    if (s->poll == NULL) {
        source_link_lost(&s->link, -1, "%s", err_text(&err, text, sizeof(text)));
    }
}

/* --- reports -------------------------------------------------------------------------------------
 */

static void on_report_done(void *arg, const struct http_answer *answer, const struct err *err)
{
    struct source_https *s = arg;
    char text[ERR_MSG_MAX];
    long status = err == NULL ? answer->status : 0;
    bool is_unwanted = status == 404 || status == 405 || status == 501;
    mono_ms retry_after =
        err == NULL ? source_link_parse_retry_after(answer->retry_after, clock_unix_ms()) : -1;
    CLEANUP(free) char *body = err == NULL ? http_quote_body(answer) : NULL;
    CLEANUP(free)
    char *detail = err != NULL ? xstrdup(err_text(err, text, sizeof(text)))
                               : xasprintf("HTTP status %ld%s", status, body);
    http_call_free(steal_ptr(&s->report));
    reporter_on_end(s->reporter,
                    status >= 200 && status < 300 ? REPORT_TAKEN
                    : is_unwanted                 ? REPORT_UNWANTED
                                                  : REPORT_FAILED,
                    detail, retry_after);
}

static void send_report(void *arg, const char *body, size_t len)
{
    struct source_https *s = arg;
    struct err err = {0};
    char text[ERR_MSG_MAX];
    CLEANUP(free) char *url = make_url(s, "report");
    struct http_request request = {
        .url = url,
        .method = "PUT",
        .body = body,
        .body_len = len,
        .content_type = "application/json",
        .max_bytes = MAX_ANSWER_BYTES,
        .wait_ms = ANSWER_WAIT_MS,
    };
    CLEANUP(headers) struct headers headers = {0};
    s->report = start(s, &request, &headers, on_report_done, &err);
    if (s->report == NULL) {
        reporter_on_end(s->reporter, REPORT_FAILED, err_text(&err, text, sizeof(text)), -1);
    }
}

/* --- the source ----------------------------------------------------------------------------------
 */

static void https_free(struct source *base)
{
    struct source_https *s = from_base(base);
    http_call_free(s->poll);
    http_call_free(s->report);
    source_reading_free(s->reading);
    reporter_free(s->reporter);
    source_link_fini(&s->link);
    source_docs_fini(&s->docs);
    free(s->etag);
    free(s->incoming.etag);
    free(s->untrusted);
    free(s);
}

static void https_stop(struct source *base)
{
    struct source_https *s = from_base(base);
    http_call_free(steal_ptr(&s->poll));
    source_reading_free(steal_ptr(&s->reading));
    source_link_stop(&s->link);
}

static void set_files(struct source_https *s)
{
    const struct https_config *config = config_of(s);
    s->link.tls = (struct source_tls){
        .ca_file = config->ca_file, .cert_file = config->cert_file, .key_file = config->key_file};
}

static bool https_end(struct source *base, loop_fn done, void *arg)
{
    return reporter_end(from_base(base)->reporter, done, arg);
}

static void https_reload(struct source *base)
{
    struct source_https *s = from_base(base);
    set_files(s);
    if (s->has_docs) {
        give_view(s);
    }
}

static void https_describe(const struct source *base, struct source_state *ret)
{
    const struct source_https *s = (const struct source_https *) base;
    ret->type = "https";
    ret->location = config_of(s)->url;
    ret->mode = s->link.fsm.waits == LINK_WAITS       ? "long-poll"
                : s->link.fsm.waits == LINK_WAITS_NOT ? "poll"
                                                      : NULL;
    source_link_describe(&s->link, ret);
}

static void https_add_details(const struct source *base, struct json *json)
{
    const struct source_https *s = (const struct source_https *) base;
    json_set_string(json, "etag", s->etag);
    reporter_add_details(s->reporter, json);
}

static void https_each_problem(const struct source *base, source_problem_fn *fn, void *arg)
{
    const struct source_https *s = (const struct source_https *) base;
    source_docs_each_problem(&s->docs, fn, arg);
}

static const struct source_ops https_ops = {
    .free = https_free,
    .stop = https_stop,
    .end = https_end,
    .reload = https_reload,
    .describe = https_describe,
    .add_details = https_add_details,
    .each_problem = https_each_problem,
};

struct source *source_https_open(const struct source_params *params, struct err *err)
{
    if (crypto_load(err) < 0) {
        return NULL;
    }
    struct source_https *s = xcalloc(1, sizeof(*s));
    s->base = (struct source){.ops = &https_ops, .params = *params};
    CLEANUP(free) char *url = make_url(s, "applications");
    source_docs_init(&s->docs, url, &s->base.load);
    struct reporter_params reports = {
        .source = &s->base.params,
        .self = &s->base,
        .interval_ms = config_of(s)->report_interval_ms,
        .send = send_report,
        .arg = s,
    };
    if (source_link_init(&s->link, &s->base.params, config_of(s)->poll_interval_ms, begin_poll, s,
                         err) < 0) {
        source_docs_fini(&s->docs);
        free(s);
        return NULL;
    }
    set_files(s);
    s->reporter = reporter_new(&reports);
    return &s->base;
}
