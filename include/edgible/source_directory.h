/*
 * source_directory: the desired state is what the YAML and JSON files of one directory say.
 *
 * A file is read when nobody has it open for writing any more. What cannot be read or parsed
 * keeps what was there before; only a file that is gone, or that is valid and complete and no
 * longer has an application, removes it.
 */
#ifndef EDGIBLE_SOURCE_DIRECTORY_H
#define EDGIBLE_SOURCE_DIRECTORY_H

#include "edgible/source.h"

/* The file that the application is taken from; NULL: none. Borrowed. */
const char *source_directory_file_of(const struct source_directory *source, const char *app);

/* Looks at the directory now; the view is given from inside this call. The source must be one. */
void source_directory_scan(struct source *source);

/* True for a name that the source reads: *.yaml, *.yml, *.json, not hidden. */
bool source_directory_takes(const char *name);

#endif
