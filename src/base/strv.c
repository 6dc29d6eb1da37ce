#include "edgible/strv.h"

#include "edgible/mem.h"

#include <stdlib.h>
#include <string.h>

void strv_fini(struct strv *v)
{
    for (size_t i = 0; i < v->count && v->block == NULL; i++) {
        free(v->items[i]);
    }
    free(v->block);
    free(v->items);
    *v = (struct strv){0};
}

void cleanup_strv(struct strv *v)
{
    strv_fini(v);
}

static void unpack(struct strv *v)
{
    for (size_t i = 0; i < v->count && v->block != NULL; i++) {
        v->items[i] = xstrdup(v->items[i]);
    }
    free(steal_ptr(&v->block));
}

void strv_add_take(struct strv *v, char *take_s)
{
    unpack(v);
    if (v->count + 1 >= v->cap) {
        v->cap = v->cap > 0 ? v->cap * 2 : 4;
        v->items = xrealloc(v->items, v->cap, sizeof(*v->items));
    }
    v->items[v->count++] = take_s;
    v->items[v->count] = NULL;
}

void strv_add(struct strv *v, const char *s)
{
    strv_add_take(v, xstrdup(s));
}

void strv_copy(struct strv *to, const struct strv *from)
{
    *to = (struct strv){0};
    if (from->count == 0) {
        return;
    }
    size_t bytes = 0;
    for (size_t i = 0; i < from->count; i++) {
        bytes += strlen(from->items[i]) + 1;
    }
    to->cap = from->count + 1;
    to->items = xcalloc(to->cap, sizeof(*to->items));
    to->block = xmalloc(bytes);
    char *at = to->block;
    for (size_t i = 0; i < from->count; i++) {
        to->items[to->count++] = at;
        at = stpcpy(at, from->items[i]) + 1;
    }
}

void strv_pack(struct strv *v)
{
    struct strv packed;
    strv_copy(&packed, v);
    strv_fini(v);
    *v = packed;
}

bool strv_is_equal(const struct strv *a, const struct strv *b)
{
    if (a->count != b->count) {
        return false;
    }
    for (size_t i = 0; i < a->count; i++) {
        if (strcmp(a->items[i], b->items[i]) != 0) {
            return false;
        }
    }
    return true;
}

bool strv_has(const struct strv *v, const char *s)
{
    for (size_t i = 0; i < v->count; i++) {
        if (strcmp(v->items[i], s) == 0) {
            return true;
        }
    }
    return false;
}
