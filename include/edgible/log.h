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

#include "edgible/err.h"

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

#define log_error(subsystem, ...) log_line(LOG_ERROR, subsystem, NULL, __VA_ARGS__)
#define log_warn(subsystem, ...) log_line(LOG_WARN, subsystem, NULL, __VA_ARGS__)
#define log_info(subsystem, ...) log_line(LOG_INFO, subsystem, NULL, __VA_ARGS__)
#define log_debug(subsystem, ...) log_line(LOG_DEBUG, subsystem, NULL, __VA_ARGS__)

#endif
