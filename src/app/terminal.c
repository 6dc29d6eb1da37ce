#include "terminal.h"

#include "edgible/buf.h"
#include "edgible/fd.h"
#include "edgible/mem.h"
#include "edgible/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHAR_MAX_BYTES 4

/* One of stdout and stderr. */
struct filter {
    int fd;
    bool is_raw;
    char begun[CHAR_MAX_BYTES]; /* a character whose end has not come yet */
    size_t begun_len;
};

static struct filter filters[] = {{.fd = STDOUT_FILENO}, {.fd = STDERR_FILENO}};

/* Whether more bytes may make a character of what stands there. */
static bool is_begun(const char *text, size_t len)
{
    unsigned char first = (unsigned char) *text;
    size_t want = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || len >= want) {
        return false;
    }
    for (size_t i = 1; i < len; i++) {
        if (((unsigned char) text[i] & 0xc0) != 0x80) {
            return false;
        }
    }
    return true;
}

/* How many bytes at the end may be the beginning of a character. */
static size_t begun_length(const char *data, size_t len)
{
    for (size_t n = 1; n < CHAR_MAX_BYTES && n <= len; n++) {
        if (is_begun(data + len - n, n)) {
            return n;
        }
    }
    return 0;
}

/* The stream's function: takes all, as a character may end with what comes next. */
static ssize_t write_filtered(void *cookie, const char *data, size_t len)
{
    struct filter *f = cookie;
    CLEANUP(buf) struct buf in = {0};
    buf_add(&in, f->begun, f->begun_len);
    buf_add(&in, data, len);
    f->begun_len = 0;
    if (f->is_raw) {
        return fd_write_all(f->fd, buf_str(&in), in.len, NULL) == 0 ? (ssize_t) len : 0;
    }
    size_t whole = in.len - begun_length(in.data, in.len);
    f->begun_len = in.len - whole;
    (void) memcpy(f->begun, buf_str(&in) + whole, f->begun_len);
    size_t shown = utf8_make_shown(in.data, whole);
    return fd_write_all(f->fd, buf_str(&in), shown, NULL) == 0 ? (ssize_t) len : 0;
}

/* NULL where it is no terminal. */
static FILE *open_filter(struct filter *f)
{
    cookie_io_functions_t functions = {.write = write_filtered};
    FILE *stream = isatty(f->fd) == 1 ? fopencookie(f, "w", functions) : NULL;
    if (stream != NULL) {
        (void) setvbuf(stream, NULL, _IOLBF, 0);
    }
    return stream;
}

/* The output has ended, and a character in it has not: its bytes are no UTF-8. */
static void finish(void)
{
    (void) fflush(stdout);
    (void) fflush(stderr);
    for (size_t i = 0; i < ARRAY_LEN(filters); i++) {
        (void) !fd_write_all(filters[i].fd, "???", filters[i].begun_len, NULL);
    }
}

void terminal_begin(void)
{
    FILE *out = open_filter(&filters[0]);
    FILE *err = open_filter(&filters[1]);
    /* Variables in glibc: so nothing that prints can go round it. */
    stdout = out != NULL ? out : stdout;
    stderr = err != NULL ? err : stderr;
    (void) atexit(finish);
}

void terminal_set_raw(void)
{
    filters[0].is_raw = true;
}

void terminal_control(const char *sequence)
{
    if (fflush(stdout) == 0) {
        (void) !fd_write_all(STDOUT_FILENO, sequence, strlen(sequence), NULL);
    }
}
