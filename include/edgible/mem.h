/*
 * mem: small allocations that abort when memory is out (workloads survive that, and state is
 * durable), and ownership written in the declaration.
 *
 *     CLEANUP(free) char *name = xstrdup(x);
 *     CLEANUP(close_fd) int fd = open(...);
 *     return steal_ptr(&name);
 *
 * Whatever input sizes is bounded by its reader before it comes here.
 */
#ifndef EDGIBLE_MEM_H
#define EDGIBLE_MEM_H

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#define CLEANUP(kind) __attribute__((cleanup(cleanup_##kind)))

/* Defines cleanup_<name> for an owner `type *`, calling fn unless it is NULL. */
#define DEFINE_CLEANUP(name, type, fn)                                                             \
    static inline void cleanup_##name(type **self)                                                 \
    {                                                                                              \
        if (*self != NULL) {                                                                       \
            fn(*self);                                                                             \
        }                                                                                          \
    }

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* Gives away what *pp owns and leaves NULL behind. */
#define steal_ptr(pp)                                                                              \
    ({                                                                                             \
        __auto_type stolen_ = *(pp);                                                               \
        *(pp) = NULL;                                                                              \
        stolen_;                                                                                   \
    })

void *xmalloc(size_t size) __attribute__((malloc, returns_nonnull));
/* Zeroed memory for count × size bytes; aborts on overflow. */
void *xcalloc(size_t count, size_t size) __attribute__((malloc, returns_nonnull));
void *xrealloc(void *take_ptr, size_t count, size_t size) __attribute__((returns_nonnull));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull));
/* xstrdup, but NULL gives NULL. */
char *xstrdup_or_null(const char *s) __attribute__((malloc));
char *xstrndup(const char *s, size_t len) __attribute__((malloc, returns_nonnull));
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2), returns_nonnull));
char *xvasprintf(const char *fmt, va_list ap)
    __attribute__((format(printf, 1, 0), returns_nonnull));

/* CLEANUP(free), CLEANUP(close_fd), CLEANUP(fclose) */
void cleanup_free(void *pp);
void cleanup_close_fd(const int *fd);
void cleanup_fclose(FILE **fp);

#endif
