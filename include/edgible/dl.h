/*
 * dl: libraries that most runs do not need, loaded when one does.
 */
#ifndef EDGIBLE_DL_H
#define EDGIBLE_DL_H

#include "edgible/err.h"

#include <stddef.h>

struct dl_function {
    const char *name;
    size_t offset; /* of its pointer in the table */
};

/* Of a table `type` whose members have the functions' names without the prefix. */
#define DL_FUNCTION(type, prefix, member)                                                          \
    {                                                                                              \
        prefix #member, offsetof(type, member)                                                     \
    }

/* A library, and the Debian package that it comes in. */
struct dl_library {
    const char *file, *package;
    const struct dl_function *functions;
    size_t count;
};

/* Loads it for the rest of this process and fills the table's pointers; the table is left as it is
 * where that fails (ERR_HOST, with the package to install). */
int dl_load(const struct dl_library *library, void *table, struct err *err) MUST_CHECK;

#endif
