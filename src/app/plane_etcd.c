/* etcd as a control plane, as an operator speaks to it. */
#include "client.h"
#include "edgible/deploy_plan.h"
#include "edgible/etcd_wire.h"
#include "edgible/secret.h"
#include "edgible/source_trust.h"
#include "plane_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* etcd takes 128 operations in one transaction. */
#define MAX_SWAPS 100
/* An election takes a second or two. Where a member hangs, the others are asked much sooner. */
#define TIMEOUT_MS 20000
#define QUICK_MS 2000

static int send_to(const struct plane *plane, const char *path, const char *body,
                   mono_ms timeout_ms, struct http_answer *answer, struct err *err)
{
    const char *endpoint = plane->config->etcd.endpoints.items[plane->endpoint];
    const struct etcd_config *etcd = &plane->config->etcd;
    CLEANUP(free) char *url = xasprintf("%s%s", endpoint, path);
    CLEANUP(free)
    char *authorization =
        plane->token != NULL ? xasprintf("Authorization: %s", plane->token) : NULL;
    const char *headers[2] = {authorization, NULL};
    struct http_request request = {
        .url = url,
        .method = "POST",
        .body = body,
        .body_len = strlen(body),
        .content_type = "application/json",
        .headers = headers,
        .ca_file = etcd->ca_file,
        .cert_file = etcd->cert_file,
        .key_file = etcd->key_file,
        .max_bytes = ETCD_MAX_BYTES,
        .timeout_ms = timeout_ms,
    };
    http_answer_fini(answer);
    return http_perform(&request, answer, err);
}

/* To the first endpoint that answers, beginning with the one that did last. What only reads may be
 * asked twice, so it is quick at first; what writes follows it, at the endpoint that answered. */
static int send_to_any(struct plane *plane, const char *path, const char *body,
                       struct etcd_answer *ret, struct err *err)
{
    size_t count = plane->config->etcd.endpoints.count;
    size_t quick = count > 1 && strcmp(path, "/v3/kv/txn") != 0 ? count : 0;
    for (size_t i = 0; i < quick + count; i++) {
        CLEANUP(http_answer) struct http_answer answer = {0};
        mono_ms timeout_ms = i < quick ? QUICK_MS : TIMEOUT_MS;
        if (send_to(plane, path, body, timeout_ms, &answer, err) == 0) {
            return etcd_answer_read(buf_str(&answer.body), answer.body.len, ret, err);
        }
        plane->endpoint = (plane->endpoint + 1) % count;
    }
    char text[ERR_MSG_MAX];
    return err_set(err, ENOLINK, "%s", err_text(err, text, sizeof(text)));
}

static int fail(const struct err *err)
{
    int code = err->code == ENOLINK                         ? EXIT_NO_ANSWER
               : err->code == EACCES || err->code == ENOKEY ? EXIT_REFUSED
                                                            : EXIT_NOT_OK;
    return client_fail(code, "the control plane %s: %s",
                       err->code == ENOLINK ? "did not answer" : "refuses that", err->msg);
}

static int authenticate(struct plane *plane)
{
    const struct etcd_config *etcd = &plane->config->etcd;
    CLEANUP(etcd_answer) struct etcd_answer answer = {0};
    struct err err = {0};
    char text[ERR_MSG_MAX];
    if (etcd->username == NULL || plane->token != NULL) {
        return EXIT_OK;
    }
    CLEANUP(free) char *password = secret_read(etcd->password_file, &err);
    if (password == NULL) {
        return client_fail(EXIT_NOT_OK, "%s", err_text(&err, text, sizeof(text)));
    }
    CLEANUP(free) char *body = etcd_authenticate_text(etcd->username, password);
    if (send_to_any(plane, "/v3/auth/authenticate", body, &answer, &err) < 0) {
        err.code = err.code == ENOLINK ? ENOLINK : EACCES;
        return fail(&err);
    }
    plane->token = steal_ptr(&answer.token);
    return EXIT_OK;
}

static int call(struct plane *plane, const char *path, const char *body, struct etcd_answer *ret)
{
    for (bool is_first = true;; is_first = false) {
        struct err err = {0};
        int code = authenticate(plane);
        if (code != EXIT_OK) {
            return code;
        }
        if (send_to_any(plane, path, body, ret, &err) == 0) {
            return EXIT_OK;
        }
        if (err.code != ENOKEY || plane->token == NULL || !is_first) {
            return fail(&err);
        }
        free(steal_ptr(&plane->token)); /* it ran out while the command waited */
        etcd_answer_fini(ret);
        *ret = (struct etcd_answer){0};
    }
}

static char *key_of(const struct plane *plane, const char *device, const char *rest)
{
    return xasprintf("%s/v3/devices/%s/%s", plane->config->etcd.prefix, device, rest);
}

/* --- looking -------------------------------------------------------------------------------------
 */

static int get(struct plane *plane, const char *device, const char *rest, struct etcd_answer *ret)
{
    CLEANUP(free) char *key = key_of(plane, device, rest);
    CLEANUP(free) char *body = etcd_get_text(key);
    return call(plane, "/v3/kv/range", body, ret);
}

static int look(struct plane *plane, struct plane_device *device)
{
    CLEANUP(etcd_answer) struct etcd_answer docs = {0};
    CLEANUP(etcd_answer) struct etcd_answer report = {0};
    CLEANUP(etcd_answer) struct etcd_answer online = {0};
    CLEANUP(free) char *prefix = key_of(plane, device->name, "applications/");
    CLEANUP(free) char *body = etcd_range_text(prefix, APPSPEC_MAX_DOCUMENTS);
    int code = call(plane, "/v3/kv/range", body, &docs);
    code = code == EXIT_OK ? get(plane, device->name, "report", &report) : code;
    code = code == EXIT_OK ? get(plane, device->name, "online", &online) : code;
    if (code != EXIT_OK) {
        return code;
    }
    for (size_t i = 0; i < docs.count; i++) {
        const struct etcd_kv *kv = &docs.kvs[i];
        if (!etcd_is_document(kv, prefix)) {
            continue;
        }
        bool is_set = strcmp(kv->key + strlen(prefix), TRUST_SET_NAME) == 0;
        if (plane->config->trusted_keys.count > 0 && !is_set) {
            continue; /* as the agent takes the signed set alone */
        }
        plane_device_add(device, kv->key, kv->value, kv->value_len, kv->mod_revision);
    }
    device->etag = xasprintf("%" PRId64, docs.revision);
    device->is_known = docs.count > 0 || report.count > 0 || online.count > 0;
    device->has_lease = true;
    device->is_offline = online.count == 0;
    if (report.count > 0) {
        device->report = json_parse(report.kvs[0].value, report.kvs[0].value_len, NULL);
    }
    return EXIT_OK;
}

/* --- changing ------------------------------------------------------------------------------------
 */

/* What lies between what somebody else has put and what was to be put. */
static void show_conflict(const struct plane_change *change, const struct etcd_kv *kv)
{
    CLEANUP(app_docs) struct app_docs theirs = {0};
    CLEANUP(app_docs) struct app_docs ours = {0};
    appspec_parse("theirs", kv->value, kv->value_len, &theirs);
    if (change->text != NULL) {
        appspec_parse("ours", change->text, change->len, &ours);
    }
    if (theirs.count != 1 || ours.count != 1 || theirs.docs[0].spec == NULL) {
        return;
    }
    CLEANUP(json)
    struct json *plan = deploy_plan_app(theirs.docs[0].spec, ours.docs[0].spec, NULL);
    for (const struct json *w = json_first(json_get(plan, "workloads")); w != NULL;
         w = json_next(w)) {
        for (const struct json *f = json_first(json_get(w, "fields")); f != NULL;
             f = json_next(f)) {
            CLEANUP(free) char *field = client_clean(json_item_string(f));
            (void) fprintf(stderr, "  %s/%s differs in %s\n", change->application,
                           json_string(w, "name"), field);
        }
    }
}

static int fail_conflict(const struct plane_change *changes, size_t count,
                         const struct etcd_answer *answer)
{
    for (size_t i = 0; i < count; i++) {
        const struct etcd_kv *kv = NULL;
        for (size_t k = 0; k < answer->count; k++) {
            const char *name = strrchr(answer->kvs[k].key, '/');
            bool is_it = name != NULL && strcmp(name + 1, changes[i].application) == 0;
            kv = is_it ? &answer->kvs[k] : kv;
        }
        if ((kv != NULL ? kv->mod_revision : 0) == changes[i].mod_revision) {
            continue;
        }
        (void) client_fail(EXIT_NOT_OK, "somebody else has %s '%s' meanwhile",
                           kv != NULL ? "changed" : "removed", changes[i].application);
        if (kv != NULL) {
            show_conflict(&changes[i], kv);
        }
    }
    return client_fail(EXIT_NOT_OK,
                       "nothing was changed; `stack diff` shows what is there now, and a second "
                       "deploy puts yours in its place");
}

static int swap(struct plane *plane, const struct plane_change *changes, size_t count)
{
    CLEANUP(free) struct etcd_swap *swaps = xcalloc(count, sizeof(*swaps));
    CLEANUP(strv) struct strv keys = {0};
    for (size_t i = 0; i < count; i++) {
        CLEANUP(free) char *rest = xasprintf("applications/%s", changes[i].application);
        strv_add_take(&keys, key_of(plane, changes[i].device, rest));
        swaps[i] = (struct etcd_swap){.key = keys.items[i],
                                      .value = changes[i].text,
                                      .len = changes[i].len,
                                      .mod_revision = changes[i].mod_revision};
    }
    CLEANUP(etcd_answer) struct etcd_answer answer = {0};
    CLEANUP(free) char *body = etcd_swap_text(swaps, count);
    int code = call(plane, "/v3/kv/txn", body, &answer);
    if (code == EXIT_OK && !answer.has_succeeded) {
        return fail_conflict(changes, count, &answer);
    }
    return code;
}

static int change_all(struct plane *plane, const struct plane_change *changes, size_t count)
{
    int code = EXIT_OK;
    for (size_t at = 0; at < count && code == EXIT_OK; at += MAX_SWAPS) {
        code = swap(plane, changes + at, count - at < MAX_SWAPS ? count - at : MAX_SWAPS);
    }
    return code;
}

const struct plane_ops plane_etcd_ops = {.look = look, .change = change_all};
