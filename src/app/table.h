/*
 * table: rows of text in columns, fit to a width: 80, or what the terminal has. The last column is
 * wrapped below itself; nothing of it is lost.
 */
#ifndef EDGIBLE_TABLE_H
#define EDGIBLE_TABLE_H

#include "edgible/buf.h"

#include <stddef.h>

#define TABLE_MAX_COLUMNS 8

struct table;

/* titles ends with NULL. */
struct table *table_new(const char *const *titles);
void table_free(struct table *table);
static inline void cleanup_table(struct table **table)
{
    table_free(*table);
}
/* As many cells as there are titles; NULL is an empty one. Copied, made fit for a terminal. */
void table_add(struct table *table, const char *const *cells);
/* Adds it to out. */
void table_print(const struct table *table, size_t width, struct buf *out);
/* To stdout, in the terminal's width. */
void table_print_out(const struct table *table);

#endif
