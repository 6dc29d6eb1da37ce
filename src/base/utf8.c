#include "edgible/utf8.h"

#include <stdint.h>
#include <string.h>

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

static uint32_t code_point(const char *text, size_t len)
{
    const unsigned char *u = (const unsigned char *) text;
    uint32_t code = len == 1 ? u[0] : u[0] & (0xffU >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        code = code << 6 | (u[i] & 0x3fU);
    }
    return code;
}

static bool is_control(uint32_t c)
{
    bool is_c0 = c < 0x20 && c != '\n' && c != '\t';
    bool is_c1 = c >= 0x7f && c <= 0x9f;
    bool turns = c == 0x061c || c == 0x200e || c == 0x200f || (c >= 0x202a && c <= 0x202e) ||
                 (c >= 0x2066 && c <= 0x2069);
    return is_c0 || is_c1 || turns;
}

size_t utf8_shown_len(const char *text, size_t len, bool *ret_is_bad)
{
    size_t n = utf8_char_len(text, len);
    *ret_is_bad = n == 0 || is_control(code_point(text, n));
    return n > 0 ? n : 1;
}

size_t utf8_make_shown(char *text, size_t len)
{
    size_t out = 0;
    for (size_t at = 0; at < len;) {
        bool is_bad = false;
        size_t n = utf8_shown_len(text + at, len - at, &is_bad);
        if (is_bad) {
            text[out++] = '?';
        } else {
            (void) memmove(text + out, text + at, n);
            out += n;
        }
        at += n;
    }
    return out;
}
