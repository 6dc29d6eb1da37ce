#include "edgible/diag.h"

#include "edgible/buf.h"
#include "edgible/mem.h"
#include "edgible/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Longest message and path kept. Both may quote what a hostile document says. */
#define TEXT_MAX 1024

static void item_fini(struct diag_item *item)
{
    free(item->file);
    free(item->path);
    free(item->message);
    *item = (struct diag_item){0};
}

void diag_fini(struct diag *diag)
{
    for (size_t i = 0; i < diag->count; i++) {
        item_fini(&diag->items[i]);
    }
    free(diag->items);
    *diag = (struct diag){0};
}

void cleanup_diag(struct diag *diag)
{
    diag_fini(diag);
}

static struct diag_item *push(struct diag *diag)
{
    if (diag->count == diag->cap) {
        diag->cap = diag->cap > 0 ? diag->cap * 2 : 4;
        diag->items = xrealloc(diag->items, diag->cap, sizeof(*diag->items));
    }
    struct diag_item *item = &diag->items[diag->count++];
    *item = (struct diag_item){0};
    return item;
}

/* One line of well-formed UTF-8 that does nothing to a terminal, cut at max. */
static char *make_printable(const char *text, size_t max)
{
    CLEANUP(buf) struct buf out = {0};
    size_t left = strnlen(text, max);
    while (left > 0) {
        unsigned char c = (unsigned char) *text;
        size_t n = utf8_char_len(text, left);
        bool is_c1 = n == 2 && c == 0xc2 && (unsigned char) text[1] < 0xa0;
        if (n == 0) {
            buf_add_str(&out, "\xef\xbf\xbd");
            n = 1;
        } else if (c == '\n') {
            buf_add_str(&out, "\\n");
        } else if (c < 0x20 || c == 0x7f) {
            buf_printf(&out, "\\x%02x", (unsigned) c);
        } else if (is_c1) {
            buf_printf(&out, "\\x%02x", (unsigned) (unsigned char) text[1]);
        } else {
            buf_add(&out, text, n);
        }
        text += n;
        left -= n;
    }
    return buf_steal(&out);
}

/* An error is worth more than a warning: makes room by dropping the last warning. */
static bool drop_last_warning(struct diag *diag)
{
    for (size_t i = diag->count; i > 0; i--) {
        if (diag->items[i - 1].severity == DIAG_WARNING && i != diag->omitted_at) {
            item_fini(&diag->items[i - 1]);
            memmove(&diag->items[i - 1], &diag->items[i], (diag->count - i) * sizeof(*diag->items));
            diag->count--;
            if (diag->omitted_at > i) {
                diag->omitted_at--;
            }
            return true;
        }
    }
    return false;
}

/* Counts some more that are not kept, in the item that says how many. */
static void omit(struct diag *diag, enum diag_severity severity, const char *file, size_t count)
{
    diag->omitted += count;
    if (diag->omitted_at == 0) {
        struct diag_item *made = push(diag);
        *made = (struct diag_item){
            .severity = severity, .file = make_printable(file, TEXT_MAX), .path = xstrdup("")};
        diag->omitted_at = diag->count;
    }
    struct diag_item *item = &diag->items[diag->omitted_at - 1];
    if (severity == DIAG_ERROR) {
        item->severity = DIAG_ERROR;
    }
    free(item->message);
    item->message = xasprintf("and %zu more", diag->omitted);
}

/* Before the item that says how many more there are, where there is one. */
static struct diag_item *insert(struct diag *diag)
{
    struct diag_item *item = push(diag);
    if (diag->omitted_at == 0) {
        return item;
    }
    struct diag_item *at = &diag->items[diag->omitted_at - 1];
    memmove(at + 1, at, (size_t) (item - at) * sizeof(*at));
    diag->omitted_at++;
    return at;
}

static size_t max_of(const struct diag *diag)
{
    return diag->max > 0 ? diag->max : DIAG_MAX;
}

bool diag_is_full(const struct diag *diag)
{
    return diag->added >= max_of(diag);
}

void diag_add(struct diag *diag, enum diag_severity severity, const char *file, size_t line,
              size_t column, const char *path, const char *fmt, ...)
{
    if (severity == DIAG_ERROR) {
        diag->error_count++;
    }
    diag->added++;
    if (diag->added > max_of(diag)) {
        if (severity == DIAG_WARNING || !drop_last_warning(diag)) {
            omit(diag, severity, file, 1);
            return;
        }
        omit(diag, DIAG_WARNING, file, 1);
    }
    size_t longest = diag->max > 0 ? DIAG_SHORT_MAX : TEXT_MAX;
    char text[TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    (void) vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    struct diag_item *item = insert(diag);
    *item = (struct diag_item){.severity = severity,
                               .file = make_printable(file, TEXT_MAX),
                               .line = line,
                               .column = column,
                               .path = make_printable(path, longest),
                               .message = make_printable(text, longest)};
}

void diag_add_all(struct diag *diag, const struct diag *from)
{
    size_t errors = diag->error_count + from->error_count;
    for (size_t i = 0; i < from->count; i++) {
        const struct diag_item *item = &from->items[i];
        if (i + 1 == from->omitted_at) {
            omit(diag, item->severity, item->file, from->omitted);
            diag->added += from->omitted;
        } else {
            diag_add(diag, item->severity, item->file, item->line, item->column, item->path, "%s",
                     item->message);
        }
    }
    diag->error_count = errors;
}

void diag_append(struct diag *diag, const struct diag *from)
{
    for (size_t i = 0; i < from->count; i++) {
        const struct diag_item *item = &from->items[i];
        struct diag_item *copy = push(diag);
        *copy = (struct diag_item){.severity = item->severity,
                                   .file = xstrdup(item->file),
                                   .line = item->line,
                                   .column = item->column,
                                   .path = xstrdup(item->path),
                                   .message = xstrdup(item->message)};
    }
    diag->error_count += from->error_count;
}

static bool is_after(const struct diag_item *a, const struct diag_item *b)
{
    return a->line != b->line ? a->line > b->line : a->column > b->column;
}

void diag_sort(struct diag *diag)
{
    size_t count =
        diag->omitted_at == diag->count && diag->count > 0 ? diag->count - 1 : diag->count;
    /* Insertion: stable, and there are at most DIAG_MAX. */
    for (size_t i = 1; i < count; i++) {
        struct diag_item item = diag->items[i];
        size_t at = i;
        for (; at > 0 && is_after(&diag->items[at - 1], &item); at--) {
            diag->items[at] = diag->items[at - 1];
        }
        diag->items[at] = item;
    }
}

char *diag_item_text(const struct diag_item *item)
{
    CLEANUP(buf) struct buf text = {0};
    buf_add_str(&text, item->file);
    if (item->line > 0) {
        buf_printf(&text, ":%zu:%zu", item->line, item->column);
    }
    buf_add_str(&text, ": ");
    if (*item->path != '\0') {
        buf_printf(&text, "%s: ", item->path);
    }
    if (item->severity == DIAG_WARNING) {
        buf_add_str(&text, "warning: ");
    }
    buf_add_str(&text, item->message);
    return buf_steal(&text);
}
