/*
 * buf: a growing byte buffer, NUL-terminated whenever it holds anything.
 */
#ifndef EDGIBLE_BUF_H
#define EDGIBLE_BUF_H

#include <stddef.h>

struct buf {
    char *data; /* owned; NULL while empty */
    size_t len; /* bytes, without the NUL */
    size_t cap;
};

/* CLEANUP(buf) struct buf b = {0}; */
void cleanup_buf(struct buf *buf);
void buf_fini(struct buf *buf);
void buf_add(struct buf *buf, const void *data, size_t len);
void buf_add_str(struct buf *buf, const char *s);
void buf_add_char(struct buf *buf, char c);
void buf_printf(struct buf *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* s as the inside of a JSON string; bytes that are not UTF-8 become U+FFFD. */
void buf_add_json_escaped(struct buf *buf, const char *s);
/* Empties without freeing. */
void buf_clear(struct buf *buf);
/* The content as a string the caller frees; the buffer is empty afterwards. */
char *buf_steal(struct buf *buf);
/* The content, "" where empty; valid until the next call. */
const char *buf_str(const struct buf *buf);

#endif
