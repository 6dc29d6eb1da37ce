/*
 * strv: a vector of strings, NULL-terminated once it holds any, ready for execve.
 */
#ifndef EDGIBLE_STRV_H
#define EDGIBLE_STRV_H

#include <stdbool.h>
#include <stddef.h>

struct strv {
    char **items; /* owned; NULL while empty */
    size_t count;
    size_t cap;
    char *block; /* owned: holds all strings; NULL: each is an allocation of its own */
};

void cleanup_strv(struct strv *v);
void strv_fini(struct strv *v);
void strv_add(struct strv *v, const char *s);
void strv_add_take(struct strv *v, char *take_s);
/* The copy is packed. */
void strv_copy(struct strv *to, const struct strv *from);
/* Puts all strings into one allocation, which takes less memory, and less time to free. */
void strv_pack(struct strv *v);
bool strv_is_equal(const struct strv *a, const struct strv *b);
bool strv_has(const struct strv *v, const char *s);

#endif
