/*
 * log: the agent's own log, to stderr. A line is `TIME level subsystem message key=value…`, or one
 * JSON object with the same members.
 *
 * Only svc and app log above debug. A reader of stderr
 * that is behind is waited for, once and for a tenth of a second at most; then lines are dropped
 * and counted until it reads again, and the count is said.
 * Safe from any thread.
 */
#ifndef EDGIBLE_LOG_H
#define EDGIBLE_LOG_H

#include "edgible/buf.h"
#include "edgible/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_LEVEL_COUNT };
enum log_format { LOG_TEXT, LOG_JSON, LOG_FORMAT_COUNT };

/* A key and its value; an array of them ends with a NULL key. */
struct log_field {
    const char *key;
    const char *value; /* a NULL value leaves the field out */
};

void log_set(enum log_level level, enum log_format format);
enum log_level log_get_level(void);
const char *log_level_name(enum log_level level);
/* 0 and *ret_level, or -1 where name is none of error, warn, info, debug. */
int log_level_parse(const char *name, enum log_level *ret_level) MUST_CHECK;

/* One line; fields may be NULL. */
void log_line(enum log_level level, const char *subsystem, const struct log_field *fields,
              const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* --- the last lines, for who asks later --- */

#define LOG_KEPT_LINES 1000
#define LOG_KEPT_BYTES (256UL * 1024)

/* Where somebody stands who reads them. */
struct log_cursor {
    uint64_t next; /* number of the next line */
    enum log_level level;
    char module[32]; /* "": all */
};

/* Before the last `lines` lines of that level and above, of that subsystem (NULL: of all). */
void log_cursor_init(struct log_cursor *cursor, size_t lines, enum log_level level,
                     const char *module);
/* Adds the next line, with its line feed; false where there is none now. */
bool log_next(struct log_cursor *cursor, struct buf *line);
/* fn(arg) is called after each line, from any thread, and must not log. */
struct log_watch;
struct log_watch *log_watch(void (*fn)(void *arg), void *arg);
void log_unwatch(struct log_watch *watch);

#define log_error(subsystem, ...) log_line(LOG_ERROR, subsystem, NULL, __VA_ARGS__)
#define log_warn(subsystem, ...) log_line(LOG_WARN, subsystem, NULL, __VA_ARGS__)
#define log_info(subsystem, ...) log_line(LOG_INFO, subsystem, NULL, __VA_ARGS__)
#define log_debug(subsystem, ...) log_line(LOG_DEBUG, subsystem, NULL, __VA_ARGS__)

#endif
