/*
 * thread: starts a thread with every signal blocked: they are the loop's.
 */
#ifndef EDGIBLE_THREAD_H
#define EDGIBLE_THREAD_H

#include "edgible/err.h"

#include <pthread.h>
#include <stddef.h>

#define THREAD_STACK_BYTES ((size_t) 256 * 1024)

/* name: at most 15 bytes, as the kernel shows it. *ret is to be joined. Codes: errno. */
int thread_start(pthread_t *ret, const char *name, void *(*fn)(void *), void *arg,
                 struct err *err) MUST_CHECK;
/* Nobody joins it. stack_bytes: of its own. */
int thread_start_detached(size_t stack_bytes, void *(*fn)(void *), void *arg,
                          struct err *err) MUST_CHECK;

#endif
