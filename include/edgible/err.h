/*
 * err: an error that carries a sentence.
 *
 * Fallible functions return int, 0 or -1, and take a `struct err *` last, which may be NULL.
 * Constructors return a pointer or NULL. The message is made where the cause is known and reads
 * outside-in once callers have put their context before it: workload 'web': open '/var/log/x'.
 * The errno text is not part of the message; err_text() adds it once, at the top.
 */
#ifndef EDGIBLE_ERR_H
#define EDGIBLE_ERR_H

#include <stddef.h>

/* Longest message kept; longer ones are cut. */
#define ERR_MSG_MAX 1024

/* Classes the core decides on, above every errno value. */
enum {
    ERR_SPEC = 10000, /* retry is useless until the specification changes */
    ERR_HOST,         /* the machine's fault: retry, do not charge the workload */
    ERR_APP,          /* the workload's fault */
    ERR_REMOTE,       /* the control plane's fault */
};

struct err {
    int code; /* an errno value, one of the classes above, or 0 */
    char msg[ERR_MSG_MAX];
};

#define MUST_CHECK __attribute__((warn_unused_result))

/* Sets code and message; err may be NULL. Always returns -1. */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "<text>: " before the message; err may be NULL. Always returns -1. */
int err_prefix(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The message with the errno text added where code is an errno value. Written to buf, which is
 * returned. */
const char *err_text(const struct err *err, char *buf, size_t size);

#endif
