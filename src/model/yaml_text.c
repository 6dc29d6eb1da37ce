#include "edgible/yaml_text.h"

#include "edgible/utf8.h"

#include <string.h>

/* Length of the line break at s, 0 where there is none. libyaml counts U+0085, U+2028 and U+2029
 * as line breaks too, and a `---` behind one of them starts a document for it. */
static size_t break_len(const char *s, const char *end)
{
    const unsigned char *u = (const unsigned char *) s;
    size_t left = (size_t) (end - s);
    if (u[0] == '\r' && left > 1 && u[1] == '\n') {
        return 2;
    }
    if (u[0] == '\n' || u[0] == '\r') {
        return 1;
    }
    if (left > 1 && u[0] == 0xc2 && u[1] == 0x85) {
        return 2;
    }
    bool is_separator = left > 2 && u[0] == 0xe2 && u[1] == 0x80 && (u[2] == 0xa8 || u[2] == 0xa9);
    return is_separator ? 3 : 0;
}

static const char *find_next_line(const char *at, const char *end)
{
    while (at < end) {
        size_t n = break_len(at, end);
        if (n > 0) {
            return at + n;
        }
        at++;
    }
    return end;
}

/* `---` or `...` at the start of a line, with white space or nothing behind. */
static bool is_marker(const char *at, const char *end, const char *marker)
{
    if (end - at < 3 || memcmp(at, marker, 3) != 0) {
        return false;
    }
    return end - at == 3 || at[3] == ' ' || at[3] == '\t' || break_len(at + 3, end) > 0;
}

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || break_len(at, end) > 0)) {
        at++;
    }
    return at;
}

/* Neither blank nor a comment. */
static bool is_content(const char *at, const char *next)
{
    while (at < next && (*at == ' ' || *at == '\t')) {
        at++;
    }
    return at < next && *at != '#' && break_len(at, next) == 0;
}

void yaml_text_init(struct yaml_text *text, const char *data, size_t len)
{
    *text = (struct yaml_text){.at = data, .end = data + len, .line = 1};
    if (len >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0) {
        text->at += 3;
    }
}

/* Takes the next line into the chunk; false where the chunk ended before or with it. */
static bool take_line(struct yaml_text *text, struct yaml_chunk *chunk)
{
    const char *next = find_next_line(text->at, text->end);
    bool is_start = is_marker(text->at, text->end, "---");
    bool is_stop = is_marker(text->at, text->end, "...");
    if (is_start && chunk->has_content) {
        return false;
    }
    if (!chunk->has_content && *text->at == '%') {
        chunk->directives++;
        chunk->directive_bytes += (size_t) (next - text->at);
    } else if (is_start || is_content(text->at, next)) {
        chunk->has_content = chunk->has_content || !is_stop;
    }
    text->at = next;
    text->line++;
    chunk->len = (size_t) (next - chunk->data);
    return !is_stop;
}

bool yaml_text_next(struct yaml_text *text, struct yaml_chunk *ret)
{
    if (text->at == text->end) {
        return false;
    }
    *ret = (struct yaml_chunk){.data = text->at, .line = text->line};
    while (text->at < text->end && take_line(text, ret)) {
    }
    return true;
}

bool yaml_text_is_blank(const struct yaml_text *text)
{
    return skip_space(text->at, text->end) == text->end;
}

void yaml_text_place(const struct yaml_chunk *chunk, size_t offset, size_t *ret_line,
                     size_t *ret_column)
{
    const char *end = chunk->data + chunk->len;
    const char *at = chunk->data;
    const char *stop = chunk->data + (offset < chunk->len ? offset : chunk->len);
    *ret_line = chunk->line;
    *ret_column = 1;
    while (at < stop) {
        size_t n = break_len(at, end);
        if (n > 0) {
            *ret_line += 1;
            *ret_column = 1;
        } else {
            n = utf8_char_len(at, (size_t) (end - at));
            n = n > 0 ? n : 1;
            *ret_column += 1;
        }
        at += n;
    }
}

struct rewriter {
    const char *at;
    const char *end;
    struct buf *out;
    size_t saved; /* characters that the rewritten string is shorter by */
    bool is_changed;
};

/* The four hexadecimal digits of "\uXXXX" at s, -1 where there is no such escape. */
static long read_escape(const char *s, const char *end)
{
    if (end - s < 6 || s[0] != '\\' || s[1] != 'u') {
        return -1;
    }
    long value = 0;
    for (size_t i = 2; i < 6; i++) {
        const char *digits = "0123456789abcdef0123456789ABCDEF";
        const char *digit = s[i] != '\0' ? strchr(digits, s[i]) : NULL;
        if (digit == NULL) {
            return -1;
        }
        value = value * 16 + (digit - digits) % 16;
    }
    return value;
}

static bool rewrite_pair(struct rewriter *r)
{
    long high = read_escape(r->at, r->end);
    if (high < 0xd800 || high > 0xdbff) {
        return false;
    }
    long low = read_escape(r->at + 6, r->end);
    if (low < 0xdc00 || low > 0xdfff) {
        return false;
    }
    buf_printf(r->out, "\\U%08lX", 0x10000 + (high - 0xd800) * 0x400 + (low - 0xdc00));
    r->at += 12;
    r->saved += 2;
    r->is_changed = true;
    return true;
}

/* JSON allows these in a string; YAML takes one for a line break and the other not at all. */
static bool rewrite_raw(struct rewriter *r)
{
    size_t n = break_len(r->at, r->end);
    const char *escape = NULL;
    if (*r->at == 0x7f) {
        n = 1;
        escape = "\\x7F";
    } else if (n == 2 && *r->at != '\r') {
        escape = "\\N";
    } else if (n == 3) {
        escape = (unsigned char) r->at[2] == 0xa8 ? "\\L" : "\\P";
    }
    if (escape == NULL) {
        return false;
    }
    buf_add_str(r->out, escape);
    r->at += n;
    r->is_changed = true;
    return true;
}

static void copy_bytes(struct rewriter *r, size_t n)
{
    size_t left = (size_t) (r->end - r->at);
    n = n < left ? n : left;
    buf_add(r->out, r->at, n);
    r->at += n;
}

/* From the opening quote to behind the closing one; the characters saved become spaces there, so
 * that what follows in the line keeps its column. */
static void rewrite_string(struct rewriter *r)
{
    r->saved = 0;
    copy_bytes(r, 1);
    while (r->at < r->end && *r->at != '"') {
        if (rewrite_pair(r) || rewrite_raw(r)) {
            continue;
        }
        copy_bytes(r, *r->at == '\\' ? 2 : 1);
    }
    copy_bytes(r, 1);
    while (r->saved > 0) {
        buf_add_char(r->out, ' ');
        r->saved--;
    }
}

/* A flow mapping of YAML may look like JSON at first, and then hold 'single quotes', where a
 * double quote and a backslash mean nothing. */
static void copy_single_quoted(struct rewriter *r)
{
    copy_bytes(r, 1);
    while (r->at < r->end && *r->at != '\'') {
        copy_bytes(r, 1);
    }
    copy_bytes(r, 1);
}

static bool is_json(const struct yaml_chunk *chunk)
{
    const char *end = chunk->data + chunk->len;
    const char *at = skip_space(chunk->data, end);
    if (is_marker(at, end, "---")) {
        at = skip_space(at + 3, end);
    }
    return at < end && (*at == '{' || *at == '[');
}

bool yaml_text_rewrite_json(const struct yaml_chunk *chunk, struct buf *ret)
{
    if (!is_json(chunk)) {
        return false;
    }
    struct rewriter r = {.at = chunk->data, .end = chunk->data + chunk->len, .out = ret};
    char before = '\0'; /* the last character that is not white space */
    while (r.at < r.end) {
        char c = *r.at;
        bool is_token_start = before != '\0' && strchr("{[,:", before) != NULL;
        if (c == '"') {
            rewrite_string(&r);
        } else if (c == '\'' && is_token_start) {
            copy_single_quoted(&r);
        } else {
            copy_bytes(&r, 1);
        }
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r') {
            before = c;
        }
    }
    return r.is_changed;
}
