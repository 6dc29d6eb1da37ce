/*
 * secret: passwords, tokens and keys, which stand in files of their own.
 */
#ifndef EDGIBLE_SECRET_H
#define EDGIBLE_SECRET_H

#include "edgible/err.h"

#include <stdbool.h>

/* The file's first line. A file that everybody may read or write is refused, as are an empty one
 * and one with control characters in that line. The caller frees. */
char *secret_read(const char *path, struct err *err);
/* The file is there, and nobody may read it who should not. */
int secret_check(const char *path, struct err *err) MUST_CHECK;

/* What a file was when it was last looked at. */
struct secret_stamp {
    unsigned long long inode, size, mtime_ns, ctime_ns;
};

/* True where it is another one than the stamp says, which is brought up to date. A NULL path never
 * changes. */
bool secret_has_changed(const char *path, struct secret_stamp *stamp);

#endif
