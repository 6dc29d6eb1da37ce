#include "edgible/mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *check_memory(void *ptr)
{
    if (ptr == NULL) {
        static const char text[] = "critical agent out of memory\n";
        (void) !write(STDERR_FILENO, text, sizeof(text) - 1);
        abort();
    }
    return ptr;
}

void *xmalloc(size_t size)
{
    return check_memory(malloc(size > 0 ? size : 1));
}

void *xcalloc(size_t count, size_t size)
{
    return check_memory(calloc(count > 0 ? count : 1, size > 0 ? size : 1));
}

void *xrealloc(void *take_ptr, size_t count, size_t size)
{
    if (size > 0 && count > SIZE_MAX / size) {
        return check_memory(NULL);
    }
    size_t bytes = count * size;
    return check_memory(realloc(take_ptr, bytes > 0 ? bytes : 1));
}

char *xstrdup(const char *s)
{
    return check_memory(strdup(s));
}

char *xstrdup_or_null(const char *s)
{
    return s != NULL ? xstrdup(s) : NULL;
}

char *xstrndup(const char *s, size_t len)
{
    return check_memory(strndup(s, len));
}

char *xvasprintf(const char *fmt, va_list ap)
{
    char *text = NULL;
    if (vasprintf(&text, fmt, ap) < 0) {
        text = NULL;
    }
    return check_memory(text);
}

char *xasprintf(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = xvasprintf(fmt, ap);
    va_end(ap);
    return text;
}

void cleanup_free(void *pp)
{
    void *ptr = NULL;
    memcpy(&ptr, pp, sizeof(ptr));
    free(ptr);
}

void cleanup_close_fd(const int *fd)
{
    if (*fd >= 0) {
        (void) close(*fd);
    }
}

void cleanup_fclose(FILE **fp)
{
    if (*fp != NULL) {
        (void) fclose(*fp);
    }
}
