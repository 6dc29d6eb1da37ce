#include "etcd_online.h"

#include "edgible/clock.h"
#include "edgible/report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The lease lasts so many intervals, and is kept alive at each. */
#define LEASE_INTERVALS 3
#define FIRST_LOOK_MS 1000
#define LOOK_AGAIN_MS 5000

static mono_ms interval_of(const struct etcd_online *o)
{
    return o->params.source->config->etcd.report_interval_ms;
}

static void plan(struct etcd_online *o, mono_ms delay)
{
    mono_ms spread = link_fsm_spread(&o->params.session->link.fsm, delay);
    loop_timer_arm(o->timer, loop_now() + spread);
}

static void fail(struct etcd_online *o, const struct err *err)
{
    log_debug("source", "online: %s", err->msg);
    if (err->code == ENOKEY) { /* another token is on its way */
        plan(o, FIRST_LOOK_MS);
        return;
    }
    o->lease = 0;
    plan(o, interval_of(o) / 4);
    o->params.on_failure(o->params.arg, err);
}

static void call(struct etcd_online *o, const char *path, const char *body, http_done_fn *done)
{
    struct err err = {0};
    struct etcd_request request = {.path = path, .body = body, .done = done, .arg = o};
    o->call = etcd_session_call(o->params.session, &request, &err);
    if (o->call == NULL) {
        fail(o, &err);
    }
}

static int read_answer(struct etcd_online *o, const struct http_answer *http,
                       const struct err *http_err, struct etcd_answer *answer)
{
    struct err err = {0};
    int rc = etcd_session_read(o->params.session, http, http_err, answer, &err);
    http_call_free(steal_ptr(&o->call));
    if (rc < 0) {
        fail(o, &err);
    }
    return rc;
}

static void on_put(void *arg, const struct http_answer *http, const struct err *http_err)
{
    struct etcd_online *o = arg;
    CLEANUP(etcd_answer) struct etcd_answer answer = {0};
    if (read_answer(o, http, http_err, &answer) == 0) {
        plan(o, link_fsm_phase(&o->params.session->link.fsm, interval_of(o)));
    }
}

static char *value_of(const struct etcd_online *o)
{
    CLEANUP(json) struct json *json = json_object();
    json_set_string(json, "version", EDGIBLE_VERSION);
    json_set_string(json, "bootId", o->params.source->boot_id);
    json_set_time(json, "since", clock_unix_ms());
    return json_text(json);
}

static void put(struct etcd_online *o)
{
    CLEANUP(free) char *value = value_of(o);
    CLEANUP(free) char *body = etcd_put_text(o->key, value, strlen(value), o->lease);
    call(o, "/v3/kv/put", body, on_put);
}

/* Somebody may have deleted it. Where it is there, this changes nothing, not even the revision. */
static void put_again(struct etcd_online *o)
{
    CLEANUP(free) char *value = value_of(o);
    const struct etcd_swap swap = {
        .key = o->key, .value = value, .len = strlen(value), .lease = o->lease};
    CLEANUP(free) char *body = etcd_swap_text(&swap, 1);
    call(o, "/v3/kv/txn", body, on_put);
}

static void on_grant(void *arg, const struct http_answer *http, const struct err *http_err)
{
    struct etcd_online *o = arg;
    CLEANUP(etcd_answer) struct etcd_answer answer = {0};
    if (read_answer(o, http, http_err, &answer) < 0) {
        return;
    }
    if (answer.lease <= 0) {
        struct err err = {0};
        (void) err_set(&err, ERR_REMOTE, "etcd grants a lease without a number");
        fail(o, &err);
        return;
    }
    o->lease = answer.lease;
    put(o);
}

static void grant(struct etcd_online *o)
{
    int64_t ttl_s = LEASE_INTERVALS * interval_of(o) / 1000;
    CLEANUP(free) char *body = etcd_grant_text(ttl_s);
    call(o, "/v3/lease/grant", body, on_grant);
}

static void on_keepalive(void *arg, const struct http_answer *http, const struct err *http_err)
{
    struct etcd_online *o = arg;
    CLEANUP(etcd_answer) struct etcd_answer answer = {0};
    if (read_answer(o, http, http_err, &answer) < 0) {
        return;
    }
    if (answer.ttl_s > 0) {
        put_again(o);
    } else {
        grant(o); /* it is gone, as after a long while without contact */
    }
}

static void on_timer(void *arg)
{
    struct etcd_online *o = arg;
    if (o->call != NULL) {
        return;
    }
    if (!o->params.is_wanted(o->params.arg)) {
        plan(o, LOOK_AGAIN_MS);
    } else if (o->lease == 0) {
        grant(o);
    } else {
        CLEANUP(free) char *body = etcd_keepalive_text(o->lease);
        call(o, "/v3/lease/keepalive", body, on_keepalive);
    }
}

void etcd_online_init(struct etcd_online *o, const struct etcd_online_params *params)
{
    const struct config *config = params->source->config;
    *o = (struct etcd_online){.params = *params};
    o->key = xasprintf("%s/v3/devices/%s/online", config->etcd.prefix, config->device_name);
    o->timer = loop_timer_new(params->source->loop, on_timer, o);
    plan(o, FIRST_LOOK_MS);
}

static void on_revoked(void *arg, const struct http_answer *http, const struct err *http_err)
{
    struct etcd_online *o = arg;
    (void) http;
    (void) http_err; /* it runs out */
    http_call_free(steal_ptr(&o->call));
    o->done(o->done_arg);
}

bool etcd_online_end(struct etcd_online *o, loop_fn done, void *arg)
{
    loop_timer_disarm(o->timer);
    http_call_free(steal_ptr(&o->call));
    if (o->lease == 0 || o->params.session->link.trouble != NULL) {
        return false;
    }
    CLEANUP(free) char *body = etcd_revoke_text(o->lease);
    struct etcd_request request = {
        .path = "/v3/lease/revoke", .body = body, .done = on_revoked, .arg = o};
    o->lease = 0;
    o->done = done;
    o->done_arg = arg;
    o->call = etcd_session_call(o->params.session, &request, NULL);
    return o->call != NULL;
}

void etcd_online_fini(struct etcd_online *o)
{
    http_call_free(o->call);
    loop_timer_free(o->timer);
    free(o->key);
    *o = (struct etcd_online){0};
}
