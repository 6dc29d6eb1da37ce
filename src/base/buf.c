#include "edgible/buf.h"

#include "edgible/mem.h"
#include "edgible/utf8.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

void buf_fini(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){0};
}

void cleanup_buf(struct buf *buf)
{
    buf_fini(buf);
}

static void buf_reserve(struct buf *buf, size_t more)
{
    size_t need = buf->len + more + 1;
    if (need <= buf->cap) {
        return;
    }
    size_t cap = buf->cap > 0 ? buf->cap : 64;
    while (cap < need) {
        cap *= 2;
    }
    buf->data = xrealloc(buf->data, cap, 1);
    buf->cap = cap;
}

void buf_add(struct buf *buf, const void *data, size_t len)
{
    buf_reserve(buf, len);
    if (len > 0) {
        memcpy(buf->data + buf->len, data, len);
    }
    buf->len += len;
    buf->data[buf->len] = '\0';
}

void buf_add_str(struct buf *buf, const char *s)
{
    buf_add(buf, s, strlen(s));
}

void buf_add_char(struct buf *buf, char c)
{
    buf_add(buf, &c, 1);
}

void buf_printf(struct buf *buf, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    CLEANUP(free) char *text = xvasprintf(fmt, ap);
    va_end(ap);
    buf_add_str(buf, text);
}

static bool needs_number(char c)
{
    return ((unsigned char) c < 0x20 && c != '\n' && c != '\0') || c == 0x7f;
}

/* Of a run of control characters; returns how many of it were written. */
static size_t add_numbers(struct buf *buf, const char *s)
{
    static const char hex[] = "0123456789abcdef";
    char text[6 * 64] = "";
    size_t n = 0;
    for (; n < 64 && needs_number(s[n]); n++) {
        unsigned char c = (unsigned char) s[n];
        memcpy(text + 6 * n, (const char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
    }
    buf_add(buf, text, 6 * n);
    return n;
}

void buf_add_json_escaped(struct buf *buf, const char *s)
{
    size_t left = strlen(s);
    while (left > 0) {
        size_t n = utf8_char_len(s, left);
        unsigned char c = (unsigned char) *s;
        if (n == 0) {
            buf_add_str(buf, "\xef\xbf\xbd");
            n = 1;
        } else if (c == '"' || c == '\\') {
            buf_add_char(buf, '\\');
            buf_add_char(buf, *s);
        } else if (c == '\n') {
            buf_add_str(buf, "\\n");
        } else if (needs_number(*s)) {
            n = add_numbers(buf, s);
        } else {
            buf_add(buf, s, n);
        }
        s += n;
        left -= n;
    }
}

void buf_clear(struct buf *buf)
{
    buf->len = 0;
    if (buf->data != NULL) {
        buf->data[0] = '\0';
    }
}

char *buf_steal(struct buf *buf)
{
    char *data = buf->data != NULL ? buf->data : xstrdup("");
    *buf = (struct buf){0};
    return data;
}

const char *buf_str(const struct buf *buf)
{
    return buf->data != NULL ? buf->data : "";
}
