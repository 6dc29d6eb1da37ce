/*
 * utf8: well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates).
 */
#ifndef EDGIBLE_UTF8_H
#define EDGIBLE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Length in bytes (1 to 4) of the well-formed character at s, 0 where there is none in len. */
size_t utf8_char_len(const char *s, size_t len);

/* Offset of the first byte that is not part of well-formed UTF-8, len where all is. */
size_t utf8_valid_prefix(const char *s, size_t len);

/* Length of the character at text (len > 0), and whether a terminal must not get it: C0 except \n
 * and \t, DEL, C1, controls of direction, and each byte that is not UTF-8. */
size_t utf8_shown_len(const char *text, size_t len, bool *ret_is_bad);
/* Each of these becomes '?', in place. Returns the new length, which is not greater. */
size_t utf8_make_shown(char *text, size_t len);

#endif
