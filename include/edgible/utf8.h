/*
 * utf8: well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates).
 */
#ifndef EDGIBLE_UTF8_H
#define EDGIBLE_UTF8_H

#include <stddef.h>

/* Length in bytes (1 to 4) of the well-formed character at s, 0 where there is none in len. */
size_t utf8_char_len(const char *s, size_t len);

/* Offset of the first byte that is not part of well-formed UTF-8, len where all is. */
size_t utf8_valid_prefix(const char *s, size_t len);

#endif
