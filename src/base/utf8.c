#include "edgible/utf8.h"

#include <stdbool.h>

static bool is_continuation(unsigned char c)
{
    return (c & 0xc0) == 0x80;
}

size_t utf8_char_len(const char *s, size_t len)
{
    const unsigned char *u = (const unsigned char *) s;
    if (len == 0) {
        return 0;
    }
    if (u[0] < 0x80) {
        return 1;
    }
    size_t want = u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : 2;
    if (u[0] < 0xc2 || u[0] > 0xf4 || len < want) {
        return 0;
    }
    for (size_t i = 1; i < want; i++) {
        if (!is_continuation(u[i])) {
            return 0;
        }
    }
    /* Overlong three- and four-byte forms, surrogates, and above U+10FFFF. */
    bool bad = (u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] > 0x9f) ||
               (u[0] == 0xf0 && u[1] < 0x90) || (u[0] == 0xf4 && u[1] > 0x8f);
    return bad ? 0 : want;
}

size_t utf8_valid_prefix(const char *s, size_t len)
{
    size_t at = 0;
    while (at < len) {
        size_t n = utf8_char_len(s + at, len - at);
        if (n == 0) {
            break;
        }
        at += n;
    }
    return at;
}
