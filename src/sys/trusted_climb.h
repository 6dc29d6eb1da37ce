/*
 * trusted_climb: from a folder up to the root, shared by trusted.c and trusted_folder.c.
 */
#ifndef EDGIBLE_TRUSTED_CLIMB_H
#define EDGIBLE_TRUSTED_CLIMB_H

#include "edgible/err.h"

#include <sys/stat.h>

/* folder: O_PATH. 0 goes on to the folder above; anything else ends the climb, which returns it. */
typedef int trusted_folder_fn(const void *context, int folder, const struct stat *st,
                              struct err *err);

/* Calls fn for the folder and each one above it. -1 with err where the root is not reached. */
int trusted_climb(int folder, trusted_folder_fn *fn, const void *context,
                  struct err *err) MUST_CHECK;

#endif
