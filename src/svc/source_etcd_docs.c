/* What the keys of the etcd source hold. */
#include "edgible/source_trust.h"
#include "source_etcd_private.h"

#include <stdlib.h>
#include <string.h>

/* Whoever writes to etcd can have keys ignored all the time. */
#define SAY_IGNORED_MS 3600000

/* --- the view ------------------------------------------------------------------------------------
 */

static int compare_docs(const void *a, const void *b)
{
    const struct source_docs *const *x = a;
    const struct source_docs *const *y = b;
    return strcmp((*x)->origin, (*y)->origin);
}

void etcd_give_view(struct source_etcd *s)
{
    if (source_waits_for_set(&s->base, s->prefix)) {
        return;
    }
    size_t count = map_count(s->docs);
    CLEANUP(free) struct source_docs **sorted = xcalloc(count + 1, sizeof(struct source_docs *));
    CLEANUP(free)
    struct app_spec **apps = xcalloc(APPSPEC_MAX_DOCUMENTS, sizeof(struct app_spec *));
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
    if (trust_accept(s->base.trust, kv->value, kv->value_len, len, &err) == 0) {
        return 0;
    }
    source_say_untrusted(&s->base, kv->key, err.msg);
    source_docs_refuse(docs, s->base.params.events, err.msg);
    return -1;
}

void etcd_forget_key(struct source_etcd *s, const char *key)
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

void etcd_take_documents(struct source_etcd *s, const char *key, struct app_docs *parsed)
{
    struct source_docs *docs = get_docs(s, key);
    struct events *events = s->base.params.events;
    bool is_set = s->base.trust != NULL;
    if (!is_set && parsed->count == 0 && parsed->diag.error_count == 0) {
        source_docs_refuse(docs, events, "is empty; to remove the application delete the key");
    } else if (!is_set && parsed->is_too_many) {
        source_docs_refuse(docs, events, "holds more than one document");
    } else if (!is_set && !is_under_its_name(s, key, parsed)) {
        source_docs_refuse(docs, events, "holds an application of another name than the key's");
    } else {
        source_docs_take(docs, events, parsed, false);
    }
}

/* --- a batch of keys
 * ------------------------------------------------------------------------------
 */

/* With trusted keys there is the set alone: others cost nothing, and are kept nowhere. */
static bool is_ignored(const struct source_etcd *s, const struct etcd_kv *kv)
{
    return s->base.trust != NULL && !is_signed_set(s, kv->key);
}

bool etcd_is_news(const struct source_etcd *s, const struct etcd_kv *kv)
{
    bool is_known = !s->is_range && kv->mod_revision != 0 && kv->mod_revision <= s->revision;
    return etcd_is_document(kv, s->prefix) && !is_known && !is_ignored(s, kv);
}

void etcd_say_ignored(struct source_etcd *s)
{
    const struct etcd_answer *answer = s->batch;
    size_t count = 0;
    for (size_t i = 0; i < answer->count; i++) {
        const struct etcd_kv *kv = &answer->kvs[i];
        count += !kv->is_deleted && etcd_is_document(kv, s->prefix) && is_ignored(s, kv) ? 1 : 0;
    }
    if (count == 0 || loop_now() < s->say_ignored_at) {
        return;
    }
    s->say_ignored_at = loop_now() + SAY_IGNORED_MS;
    CLEANUP(free)
    char *sentence = xasprintf("with controlPlane.trustedKeys only the signed set '" TRUST_SET_NAME
                               "' is taken; keys beside it that are ignored: %zu",
                               count);
    source_say_untrusted(&s->base, s->prefix, sentence);
}

/* The last change of each document: key → struct etcd_kv. */
static struct map *last_of_each(const struct source_etcd *s)
{
    const struct etcd_answer *answer = s->batch;
    struct map *last = map_new();
    for (size_t i = 0; i < answer->count; i++) {
        if (etcd_is_news(s, &answer->kvs[i])) {
            map_put(last, answer->kvs[i].key, &answer->kvs[i]);
        }
    }
    return last;
}

int etcd_check_changes(const struct source_etcd *s, struct err *err)
{
    CLEANUP(map) struct map *last = last_of_each(s);
    size_t count = map_count(s->docs);
    size_t bytes = s->base.load.bytes;
    size_t at = 0;
    const char *key = NULL;
    void *value = NULL;
    while (map_next(last, &at, &key, &value)) {
        const struct source_docs *docs = map_get(s->docs, key);
        const struct etcd_kv *kv = value;
        if (docs != NULL) {
            count--;
            bytes -= docs->own.bytes;
        }
        if (!kv->is_deleted) {
            count++;
            bytes += kv->value_len;
        }
    }
    return etcd_bounds_check_changes(count, bytes, err);
}

struct source_text *etcd_make_texts(struct source_etcd *s, size_t *ret_count)
{
    const struct etcd_answer *answer = s->batch;
    CLEANUP(map) struct map *last = last_of_each(s);
    struct source_text *texts = xcalloc(answer->count, sizeof(*texts));
    size_t count = 0;
    for (size_t i = 0; i < answer->count; i++) {
        const struct etcd_kv *kv = &answer->kvs[i];
        size_t len = kv->value_len;
        if (kv->is_deleted || !etcd_is_news(s, kv) || map_get(last, kv->key) != kv) {
            continue;
        }
        struct source_docs *docs = get_docs(s, kv->key);
        if (s->base.trust == NULL || check_trust(s, docs, kv, &len) == 0) {
            texts[count] = source_docs_text(docs, kv->value, len);
            texts[count].is_single = s->base.trust == NULL;
            count++;
        }
    }
    *ret_count = count;
    return texts;
}

struct app_docs *etcd_documents_of(const struct etcd_kv *kv, struct source_text *texts,
                                   size_t count, size_t *at)
{
    bool is_next = *at < count && texts[*at].text == kv->value;
    return is_next ? &texts[(*at)++].docs : NULL;
}

void etcd_forget_absent(struct source_etcd *s)
{
    CLEANUP(map) struct map *present = last_of_each(s);
    CLEANUP(strv) struct strv absent = {0};
    size_t at = 0;
    const char *key = NULL;
    while (map_next(s->docs, &at, &key, NULL)) {
        if (!map_has(present, key)) {
            strv_add(&absent, key);
        }
    }
    for (size_t i = 0; i < absent.count; i++) {
        etcd_forget_key(s, absent.items[i]);
    }
}

bool etcd_is_room_found(const struct source_etcd *s)
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

void etcd_free_docs(struct source_etcd *s)
{
    size_t at = 0;
    void *value = NULL;
    while (map_next(s->docs, &at, NULL, &value)) {
        free_docs(value);
    }
    map_free(s->docs);
}
