/*
 * yaml_text: a YAML stream cut into its documents before any of them is parsed, so that a syntax
 * error in one does not lose the others. Borrows the text.
 */
#ifndef EDGIBLE_YAML_TEXT_H
#define EDGIBLE_YAML_TEXT_H

#include "edgible/buf.h"

#include <stdbool.h>
#include <stddef.h>

struct yaml_text {
    const char *at;
    const char *end;
    size_t line; /* of `at`, from 1 */
};

/* One document with the comments and directives before it. */
struct yaml_chunk {
    const char *data;
    size_t len;
    size_t line;            /* where data starts, from 1 */
    bool has_content;       /* false: nothing but comments, blank lines and directives */
    size_t directives;      /* lines that start with % before the document */
    size_t directive_bytes; /* of them */
};

/* A byte order mark at the start is passed over. */
void yaml_text_init(struct yaml_text *text, const char *data, size_t len);

/* False at the end. A document starts at a line `---`, and ends before the next one or with a
 * line `...`. */
bool yaml_text_next(struct yaml_text *text, struct yaml_chunk *ret);

/* True where nothing but white space is left. */
bool yaml_text_is_blank(const struct yaml_text *text);

/* Line and column, from 1 and in characters, of the byte at offset. */
void yaml_text_place(const struct yaml_chunk *chunk, size_t offset, size_t *ret_line,
                     size_t *ret_column);

/*
 * True where the document is written in JSON's manner and holds what libyaml does not read there:
 * a surrogate pair of escapes, or one of the raw characters DEL, U+0085, U+2028, U+2029 in a
 * string. *ret is the document with those rewritten (the columns after a string stay the same but
 * for such raw characters).
 */
bool yaml_text_rewrite_json(const struct yaml_chunk *chunk, struct buf *ret);

#endif
