#include "table.h"

#include "client.h"
#include "edgible/mem.h"
#include "edgible/strv.h"
#include "edgible/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define GAP 2
#define LAST_MIN 16 /* characters that are left to the last column */
#define WIDTH 80

struct table {
    size_t columns;
    struct strv cells; /* the titles, then row by row */
};

struct table *table_new(const char *const *titles)
{
    struct table *table = xcalloc(1, sizeof(*table));
    while (titles[table->columns] != NULL && table->columns < TABLE_MAX_COLUMNS) {
        strv_add(&table->cells, titles[table->columns++]);
    }
    return table;
}

void table_free(struct table *table)
{
    if (table != NULL) {
        strv_fini(&table->cells);
        free(table);
    }
}

void table_add(struct table *table, const char *const *cells)
{
    for (size_t i = 0; i < table->columns; i++) {
        strv_add_take(&table->cells, client_clean(cells[i] != NULL ? cells[i] : ""));
    }
}

/* Bytes of the first `chars` characters, at most those that there are. */
static size_t bytes_of(const char *text, size_t chars, size_t *ret_chars)
{
    size_t at = 0;
    size_t count = 0;
    for (size_t len = strlen(text); at < len && count < chars; count++) {
        size_t n = utf8_char_len(text + at, len - at);
        at += n > 0 ? n : 1;
    }
    *ret_chars = count;
    return at;
}

static size_t length_of(const char *text)
{
    size_t chars = 0;
    (void) bytes_of(text, SIZE_MAX, &chars);
    return chars;
}

/* Widths as wide as the content, the widest taken from until all fits. */
static void fit(const struct table *table, size_t width, size_t *widths)
{
    size_t total = 0;
    for (size_t i = 0; i < table->cells.count; i++) {
        size_t len = length_of(table->cells.items[i]);
        size_t column = i % table->columns;
        widths[column] = len > widths[column] ? len : widths[column];
    }
    size_t last = table->columns - 1;
    for (size_t c = 0; c < last; c++) {
        total += widths[c] + GAP;
    }
    size_t room = widths[last] < LAST_MIN ? widths[last] : LAST_MIN;
    while (total + room > width) {
        size_t widest = 0;
        for (size_t c = 1; c < last; c++) {
            widest = widths[c] > widths[widest] ? c : widest;
        }
        if (last == 0 || widths[widest] <= 8) {
            break;
        }
        widths[widest]--;
        total--;
    }
    size_t left = total + 1 < width ? width - total : LAST_MIN;
    widths[last] = widths[last] < left ? widths[last] : left;
}

/* One line of a cell: up to the width, at a blank where there is one. Returns its bytes, without
 * the blanks that follow, and in *ret_skip those with them. */
static size_t break_line(const char *text, size_t width, size_t *ret_skip)
{
    size_t chars = 0;
    size_t end = bytes_of(text, width, &chars);
    if (text[end] != '\0') {
        for (size_t i = end; i > end / 2; i--) {
            if (text[i] == ' ') {
                end = i;
                break;
            }
        }
    }
    *ret_skip = end + strspn(text + end, " ");
    return end;
}

static void add_padding(struct buf *out, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        buf_add_char(out, ' ');
    }
}

/* Rows of as many lines as their longest cell wraps to. */
static void print_row(const struct table *table, const size_t *widths, char *const *cells,
                      struct buf *out)
{
    const char *rest[TABLE_MAX_COLUMNS];
    for (size_t c = 0; c < table->columns; c++) {
        rest[c] = cells[c];
    }
    for (bool any = true; any;) {
        size_t pending = 0; /* blanks that are only written before something */
        any = false;
        for (size_t c = 0; c < table->columns; c++) {
            size_t skip = 0;
            size_t len = break_line(rest[c], widths[c] > 0 ? widths[c] : 1, &skip);
            size_t chars = 0;
            CLEANUP(free) char *line = xstrndup(rest[c], len);
            (void) bytes_of(line, SIZE_MAX, &chars);
            if (len > 0) {
                add_padding(out, pending);
                buf_add_str(out, line);
                pending = 0;
            }
            pending += GAP + (widths[c] > chars ? widths[c] - chars : 0);
            rest[c] += skip;
            any = any || *rest[c] != '\0';
        }
        buf_add_char(out, '\n');
    }
}

void table_print(const struct table *table, size_t width, struct buf *out)
{
    size_t widths[TABLE_MAX_COLUMNS] = {0};
    fit(table, width, widths);
    for (size_t i = 0; i < table->cells.count; i += table->columns) {
        print_row(table, widths, &table->cells.items[i], out);
    }
}

void table_print_out(const struct table *table)
{
    struct winsize size = {0};
    CLEANUP(buf) struct buf text = {0};
    size_t width = WIDTH;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 40) {
        width = size.ws_col;
    }
    table_print(table, width, &text);
    (void) fputs(buf_str(&text), stdout);
}
