#include "edgible/etcd_wire.h"

#include "edgible/crypto.h"
#include "edgible/json_doc.h"
#include "edgible/parse.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKEN_MAX_CHARS ((size_t) 16 * 1024)

/* Codes of gRPC, which the gateway hands on. */
enum { GRPC_PERMISSION_DENIED = 7, GRPC_UNAUTHENTICATED = 16 };

/* --- requests ------------------------------------------------------------------------------------
 */

static void set_bytes(struct json *json, const char *key, const void *data, size_t len)
{
    CLEANUP(free) char *text = crypto_base64_encode(data, len);
    json_set_string(json, key, text);
}

static void set_number(struct json *json, const char *key, int64_t number)
{
    char text[24];
    (void) snprintf(text, sizeof(text), "%" PRId64, number);
    json_set_string(json, key, text);
}

/* The first key behind all that begin with the prefix: its last byte is one higher. */
static void set_prefix(struct json *json, const char *prefix)
{
    size_t len = strlen(prefix);
    CLEANUP(free) char *end = xstrdup(prefix);
    end[len - 1]++;
    set_bytes(json, "key", prefix, len);
    set_bytes(json, "range_end", end, len);
}

static char *finish(struct json *json)
{
    char *text = json_text(json);
    json_free(json);
    return text;
}

char *etcd_range_text(const char *prefix, int64_t limit)
{
    struct json *json = json_object();
    set_prefix(json, prefix);
    set_number(json, "limit", limit);
    return finish(json);
}

char *etcd_get_text(const char *key)
{
    struct json *json = json_object();
    set_bytes(json, "key", key, strlen(key));
    return finish(json);
}

char *etcd_exists_text(const char *key)
{
    struct json *json = json_object();
    set_bytes(json, "key", key, strlen(key));
    json_set_bool(json, "keys_only", true);
    return finish(json);
}

char *etcd_watch_text(const char *prefix, int64_t revision)
{
    struct json *json = json_object();
    struct json *create = json_object();
    set_prefix(create, prefix);
    set_number(create, "start_revision", revision);
    json_set_bool(create, "progress_notify", true);
    json_set(json, "create_request", create);
    return finish(json);
}

static struct json *put_json(const char *key, const char *value, size_t len, int64_t lease)
{
    struct json *json = json_object();
    set_bytes(json, "key", key, strlen(key));
    set_bytes(json, "value", value, len);
    if (lease != 0) {
        set_number(json, "lease", lease);
    }
    return json;
}

char *etcd_put_text(const char *key, const char *value, size_t len, int64_t lease)
{
    return finish(put_json(key, value, len, lease));
}

static struct json *key_json(const char *key)
{
    struct json *json = json_object();
    set_bytes(json, "key", key, strlen(key));
    return json;
}

/* { name: inner } at the end of the array. */
static void add_operation(struct json *array, const char *name, struct json *take_inner)
{
    struct json *json = json_object();
    json_set(json, name, take_inner);
    json_add(array, json);
}

static struct json *compare_json(const struct etcd_swap *swap)
{
    struct json *json = key_json(swap->key);
    json_set_string(json, "target", "MOD");
    json_set_string(json, "result", "EQUAL");
    set_number(json, "mod_revision", swap->mod_revision);
    return json;
}

char *etcd_swap_text(const struct etcd_swap *swaps, size_t count)
{
    struct json *json = json_object();
    struct json *compares = json_array();
    struct json *success = json_array();
    struct json *failure = json_array();
    for (size_t i = 0; i < count; i++) {
        const struct etcd_swap *swap = &swaps[i];
        json_add(compares, compare_json(swap));
        if (swap->value != NULL) {
            add_operation(success, "request_put",
                          put_json(swap->key, swap->value, swap->len, swap->lease));
        } else {
            add_operation(success, "request_delete_range", key_json(swap->key));
        }
        add_operation(failure, "request_range", key_json(swap->key));
    }
    json_set(json, "compare", compares);
    json_set(json, "success", success);
    json_set(json, "failure", failure);
    return finish(json);
}

char *etcd_grant_text(int64_t ttl_s)
{
    struct json *json = json_object();
    set_number(json, "TTL", ttl_s);
    return finish(json);
}

static char *lease_text(int64_t lease)
{
    struct json *json = json_object();
    set_number(json, "ID", lease);
    return finish(json);
}

char *etcd_keepalive_text(int64_t lease)
{
    return lease_text(lease);
}

char *etcd_revoke_text(int64_t lease)
{
    return lease_text(lease);
}

char *etcd_authenticate_text(const char *name, const char *password)
{
    struct json *json = json_object();
    json_set_string(json, "name", name);
    json_set_string(json, "password", password);
    return finish(json);
}

/* --- answers -------------------------------------------------------------------------------------
 */

bool etcd_is_document(const struct etcd_kv *kv, const char *prefix)
{
    size_t len = strlen(prefix);
    return kv->key_len == strlen(kv->key) && strncmp(kv->key, prefix, len) == 0 &&
           kv->key[len] != '\0' && strchr(kv->key + len, '/') == NULL;
}

void etcd_answer_fini(struct etcd_answer *answer)
{
    for (size_t i = 0; i < answer->count; i++) {
        free(answer->kvs[i].key);
        free(answer->kvs[i].value);
    }
    free(answer->kvs);
    free(answer->cluster);
    free(answer->reason);
    free(answer->token);
    *answer = (struct etcd_answer){0};
}

void cleanup_etcd_answer(struct etcd_answer *answer)
{
    etcd_answer_fini(answer);
}

static int refuse_type(const char *key, struct err *err)
{
    return err_set(err, ERR_REMOTE, "what answers is not etcd: '%s' is of another type", key);
}

/* A number that stands in a string; 0 where it is absent, as 0 itself is. */
static int read_number(const struct json *json, const char *key, int64_t *ret, struct err *err)
{
    const char *text = json_string(json, key);
    bool is_wrong = text != NULL ? parse_int(text, INT64_MIN, INT64_MAX, ret, NULL) < 0
                                 : json_get(json, key) != NULL;
    return is_wrong ? refuse_type(key, err) : 0;
}

static int read_flag(const struct json *json, const char *key, bool *ret, struct err *err)
{
    *ret = json_bool(json, key, false);
    return *ret == json_bool(json, key, true) || json_get(json, key) == NULL
               ? 0
               : refuse_type(key, err);
}

/* NULL where it is absent, as an empty one is. */
static int read_array(const struct json *json, const char *key, const struct json **ret,
                      struct err *err)
{
    *ret = json_get(json, key);
    return *ret == NULL || json_is_array(*ret) ? 0 : refuse_type(key, err);
}

static int read_bytes(const struct json *json, const char *key, char **ret, size_t *ret_len,
                      struct err *err)
{
    const char *text = json_string(json, key);
    if (text == NULL && json_get(json, key) != NULL) {
        return refuse_type(key, err);
    }
    *ret = crypto_base64_decode(text != NULL ? text : "", ret_len, err);
    return *ret != NULL ? 0 : err_prefix(err, "%s", key);
}

static int add_kv(struct etcd_answer *answer, const struct json *json, bool is_deleted,
                  struct err *err)
{
    answer->kvs = xrealloc(answer->kvs, answer->count + 1, sizeof(*answer->kvs));
    struct etcd_kv *kv = &answer->kvs[answer->count++];
    *kv = (struct etcd_kv){.is_deleted = is_deleted};
    if (!json_is_object(json)) {
        return err_set(err, ERR_REMOTE, "a key is missing");
    }
    if (read_bytes(json, "key", &kv->key, &kv->key_len, err) < 0 ||
        read_bytes(json, "value", &kv->value, &kv->value_len, err) < 0 ||
        read_number(json, "mod_revision", &kv->mod_revision, err) < 0) {
        return -1;
    }
    return kv->key_len > 0 ? 0 : err_set(err, ERR_REMOTE, "a key is empty");
}

static int read_kvs(const struct json *json, struct etcd_answer *ret, struct err *err)
{
    const struct json *kvs = NULL;
    const struct json *events = NULL;
    if (read_array(json, "kvs", &kvs, err) < 0 || read_array(json, "events", &events, err) < 0) {
        return -1;
    }
    for (const struct json *kv = json_first(kvs); kv != NULL; kv = json_next(kv)) {
        if (ret->count == ETCD_MAX_KEYS) {
            return err_set(err, ERR_REMOTE, "it has more than %d keys", ETCD_MAX_KEYS);
        }
        if (add_kv(ret, kv, false, err) < 0) {
            return -1;
        }
    }
    for (const struct json *event = json_first(events); event != NULL; event = json_next(event)) {
        const char *type = json_string(event, "type");
        bool is_deleted = type != NULL && strcmp(type, "DELETE") == 0;
        bool is_put = json_get(event, "type") == NULL || (type != NULL && strcmp(type, "PUT") == 0);
        if (!is_deleted && !is_put) {
            return err_set(err, ERR_REMOTE, "a change is neither PUT nor DELETE");
        }
        if (add_kv(ret, json_get(event, "kv"), is_deleted, err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Of a swap that did not come to pass, what is there. */
static int read_responses(const struct json *json, struct etcd_answer *ret, struct err *err)
{
    const struct json *responses = NULL;
    if (read_array(json, "responses", &responses, err) < 0) {
        return -1;
    }
    for (const struct json *r = json_first(responses); r != NULL; r = json_next(r)) {
        if (read_kvs(json_get(r, "response_range"), ret, err) < 0) {
            return -1;
        }
    }
    return 0;
}

bool etcd_is_token_refusal(const char *text)
{
    static const char *const words[] = {"invalid auth token", "user name is empty",
                                        "revision of auth store is old"};
    for (size_t i = 0; text != NULL && i < ARRAY_LEN(words); i++) {
        if (strstr(text, words[i]) != NULL) {
            return true;
        }
    }
    return false;
}

static int read_error(const struct json *json, struct err *err)
{
    const struct json *error = json_get(json, "error");
    const char *text =
        json_is_object(error) ? json_string(error, "message") : json_string(json, "error");
    double code =
        json_is_object(error) ? json_number(error, "grpc_code", 0) : json_number(json, "code", 0);
    int known = code == GRPC_PERMISSION_DENIED                                ? EACCES
                : code == GRPC_UNAUTHENTICATED || etcd_is_token_refusal(text) ? ENOKEY
                                                                              : ERR_REMOTE;
    return err_set(err, known, "etcd says: %.200s", text != NULL ? text : "an error");
}

/* It becomes a part of a header, of requests to the other endpoints, too. */
static int read_token(const struct json *json, char **ret, struct err *err)
{
    const char *text = json_string(json, "token");
    size_t len = 0;
    while (text != NULL && (unsigned char) text[len] > ' ' && text[len] != 0x7f) {
        len++;
    }
    if (text != NULL && (text[len] != '\0' || len > TOKEN_MAX_CHARS)) {
        return err_set(err, ERR_REMOTE, "a token of etcd is no value of a header");
    }
    *ret = xstrdup_or_null(text);
    return 0;
}

static int read_body(const struct json *json, struct etcd_answer *ret, struct err *err)
{
    const struct json *header = json_get(json, "header");
    if (!json_is_object(header)) {
        return err_set(err, ERR_REMOTE, "what answers is not etcd: there is no header");
    }
    const struct {
        const struct json *json;
        const char *key;
        int64_t *ret;
    } numbers[] = {
        {header, "revision",         &ret->revision        },
        {json,   "count",            &ret->total           },
        {json,   "compact_revision", &ret->compact_revision},
        {json,   "ID",               &ret->lease           },
        {json,   "TTL",              &ret->ttl_s           },
    };
    const struct {
        const char *key;
        bool *ret;
    } flags[] = {
        {"more",      &ret->has_more     },
        {"created",   &ret->is_created   },
        {"canceled",  &ret->is_canceled  },
        {"succeeded", &ret->has_succeeded},
    };
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        if (read_number(numbers[i].json, numbers[i].key, numbers[i].ret, err) < 0) {
            return -1;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        if (read_flag(json, flags[i].key, flags[i].ret, err) < 0) {
            return -1;
        }
    }
    ret->cluster = xstrdup_or_null(json_string(header, "cluster_id"));
    ret->reason = xstrdup_or_null(json_string(json, "cancel_reason"));
    if (read_token(json, &ret->token, err) < 0) {
        return -1;
    }
    if (read_kvs(json, ret, err) < 0 || read_responses(json, ret, err) < 0) {
        return err_prefix(err, "an answer of etcd");
    }
    return 0;
}

int etcd_answer_read(const char *text, size_t len, struct etcd_answer *ret, struct err *err)
{
    if (!json_has_at_most(text, len, ETCD_MAX_VALUES)) {
        return err_set(err, ERR_REMOTE, "an answer of etcd has more than %d values",
                       ETCD_MAX_VALUES);
    }
    CLEANUP(json) struct json *json = json_parse(text, len, err);
    if (json == NULL) {
        return err_prefix(err, "what answers is not etcd");
    }
    if (json_get(json, "error") != NULL) {
        return read_error(json, err);
    }
    const struct json *result = json_get(json, "result");
    return read_body(result != NULL ? result : json, ret, err);
}

/* --- streams -------------------------------------------------------------------------------------
 */

int etcd_stream_feed(struct etcd_stream *stream, const char *data, size_t len, etcd_line_fn *fn,
                     void *arg, struct err *err)
{
    while (len > 0) {
        const char *end = memchr(data, '\n', len);
        size_t n = end != NULL ? (size_t) (end - data) : len;
        if (stream->line.len + n > ETCD_MAX_BYTES) {
            return err_set(err, EFBIG, "etcd sends a line of more than %lu MiB",
                           ETCD_MAX_BYTES >> 20);
        }
        buf_add(&stream->line, data, n);
        data += end != NULL ? n + 1 : n;
        len -= end != NULL ? n + 1 : n;
        if (end != NULL && stream->line.len > 0) {
            CLEANUP(buf) struct buf line = stream->line;
            stream->line = (struct buf){0};
            if (fn(arg, &line) < 0) {
                return err_set(err, ECANCELED, "the stream is not wanted any more");
            }
        }
    }
    return 0;
}

void etcd_stream_fini(struct etcd_stream *stream)
{
    buf_fini(&stream->line);
}
