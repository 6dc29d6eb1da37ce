#include "edgible/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *err, int code, const char *fmt, ...)
{
    if (err == NULL) {
        return -1;
    }
    char text[ERR_MSG_MAX];
    va_list ap;
    va_start(ap, fmt);
    (void) vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    /* By way of a copy: an argument may be the old message itself. */
    memcpy(err->msg, text, sizeof(text));
    err->code = code;
    return -1;
}

int err_prefix(struct err *err, const char *fmt, ...)
{
    if (err == NULL) {
        return -1;
    }
    char prefix[ERR_MSG_MAX];
    char text[2 * ERR_MSG_MAX + 3];
    va_list ap;
    va_start(ap, fmt);
    (void) vsnprintf(prefix, sizeof(prefix), fmt, ap);
    va_end(ap);
    (void) snprintf(text, sizeof(text), "%s: %s", prefix, err->msg);
    text[ERR_MSG_MAX - 1] = '\0';
    memcpy(err->msg, text, ERR_MSG_MAX);
    return -1;
}

const char *err_text(const struct err *err, char *buf, size_t size)
{
    if (err->code > 0 && err->code < ERR_SPEC) {
        char reason[128];
        (void) snprintf(buf, size, "%s: %s", err->msg,
                        strerror_r(err->code, reason, sizeof(reason)));
    } else {
        (void) snprintf(buf, size, "%s", err->msg);
    }
    return buf;
}
