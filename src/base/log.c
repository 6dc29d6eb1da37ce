#include "edgible/log.h"

#include "edgible/buf.h"
#include "edgible/mem.h"
#include "edgible/parse.h"
#include "edgible/utf8.h"
#include "log_private.h"

#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A pipe that poll() calls writable takes this much without blocking (PIPE_BUF). */
#define LINE_MAX_BYTES 4096
/* A reader that is behind is waited for so long, once: until it reads again, lines are dropped
 * without a wait. A burst of events is not lost then, and a dead reader costs one pause. */
#define READER_WAIT_MS 100

static struct {
    pthread_mutex_t lock;
    enum log_level level;
    enum log_format format;
    unsigned long dropped;
    bool reader_is_stuck;
} the_log = {.lock = PTHREAD_MUTEX_INITIALIZER, .level = LOG_INFO};

static const char *const level_names[LOG_LEVEL_COUNT] = {
    [LOG_ERROR] = "error",
    [LOG_WARN] = "warn",
    [LOG_INFO] = "info",
    [LOG_DEBUG] = "debug",
};

void log_set(enum log_level level, enum log_format format)
{
    (void) pthread_mutex_lock(&the_log.lock);
    the_log.level = level;
    the_log.format = format;
    (void) pthread_mutex_unlock(&the_log.lock);
}

enum log_level log_get_level(void)
{
    (void) pthread_mutex_lock(&the_log.lock);
    enum log_level level = the_log.level;
    (void) pthread_mutex_unlock(&the_log.lock);
    return level;
}

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

int log_level_parse(const char *name, enum log_level *ret_level)
{
    for (int i = 0; i < LOG_LEVEL_COUNT; i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *ret_level = (enum log_level) i;
            return 0;
        }
    }
    return -1;
}

static void add_time(struct buf *line)
{
    struct timespec ts = {0};
    char text[32];
    (void) clock_gettime(CLOCK_REALTIME, &ts);
    int64_t unix_ms = (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
    buf_add_str(line, format_rfc3339(unix_ms, text, sizeof(text)));
}

/* A value that would not read as one word is quoted. */
static void add_text_value(struct buf *line, const char *value)
{
    if (*value != '\0' && strpbrk(value, " \t\n\"=\\") == NULL) {
        buf_add_str(line, value);
        return;
    }
    buf_add_char(line, '"');
    buf_add_json_escaped(line, value);
    buf_add_char(line, '"');
}

/* A message is one line whatever a hostile document put into it. */
static void add_text_message(struct buf *line, const char *message)
{
    for (const char *c = message; *c != '\0'; c++) {
        bool is_control = (unsigned char) *c < 0x20 || *c == 0x7f;
        buf_add(line, is_control ? " " : c, 1);
    }
}

static void format_text(struct buf *line, enum log_level level, const char *subsystem,
                        const struct log_field *fields, const char *message)
{
    add_time(line);
    buf_printf(line, " %s %s ", level_names[level], subsystem);
    add_text_message(line, message);
    for (const struct log_field *f = fields; f != NULL && f->key != NULL; f++) {
        if (f->value != NULL) {
            buf_printf(line, " %s=", f->key);
            add_text_value(line, f->value);
        }
    }
}

static void add_json_member(struct buf *line, const char *key, const char *value)
{
    buf_printf(line, "%s\"%s\":\"", line->len > 1 ? "," : "", key);
    buf_add_json_escaped(line, value);
    buf_add_char(line, '"');
}

static void format_json(struct buf *line, enum log_level level, const char *subsystem,
                        const struct log_field *fields, const char *message)
{
    buf_add_str(line, "{\"time\":\"");
    add_time(line);
    buf_add_char(line, '"');
    add_json_member(line, "level", level_names[level]);
    add_json_member(line, "subsystem", subsystem);
    add_json_member(line, "message", message);
    for (const struct log_field *f = fields; f != NULL && f->key != NULL; f++) {
        if (f->value != NULL) {
            add_json_member(line, f->key, f->value);
        }
    }
    buf_add_char(line, '}');
}

/* Writes a line that ends with a newline, in pieces that a ready pipe takes; false where stderr
 * is not ready. */
static bool write_line(const char *data, size_t len)
{
    while (len > 0) {
        struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
        size_t piece = len < LINE_MAX_BYTES ? len : LINE_MAX_BYTES;
        int wait_ms = the_log.reader_is_stuck ? 0 : READER_WAIT_MS;
        if (poll(&ready, 1, wait_ms) != 1 || (ready.revents & POLLOUT) == 0) {
            the_log.reader_is_stuck = true;
            return false;
        }
        the_log.reader_is_stuck = false;
        ssize_t n = write(STDERR_FILENO, data, piece);
        if (n <= 0) {
            return false;
        }
        data += n;
        len -= (size_t) n;
    }
    return true;
}

static void emit(const char *data, size_t len)
{
    if (the_log.dropped > 0) {
        char note[96];
        int n = snprintf(note, sizeof(note), "%lu lines of this log were dropped: nobody read it\n",
                         the_log.dropped);
        if (!write_line(note, (size_t) n)) {
            the_log.dropped++;
            return;
        }
        the_log.dropped = 0;
    }
    if (!write_line(data, len)) {
        the_log.dropped++;
    }
}

void log_line(enum log_level level, const char *subsystem, const struct log_field *fields,
              const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void) pthread_mutex_lock(&the_log.lock);
    if (level <= the_log.level) {
        CLEANUP(free) char *message = xvasprintf(fmt, ap);
        CLEANUP(buf) struct buf line = {0};
        if (the_log.format == LOG_JSON) {
            format_json(&line, level, subsystem, fields, message);
        } else {
            format_text(&line, level, subsystem, fields, message);
        }
        buf_add_char(&line, '\n');
        log_keep(level, subsystem, &line);
        bool is_terminal = isatty(STDERR_FILENO) == 1;
        emit(line.data, is_terminal ? utf8_make_shown(line.data, line.len) : line.len);
    }
    (void) pthread_mutex_unlock(&the_log.lock);
    va_end(ap);
}
