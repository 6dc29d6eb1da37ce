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

/* From here on it does not look at the directory, whose files are being written by this process;
 * what it was reading is begun anew. These do nothing for a source of another kind, or NULL. */
void source_directory_hold(struct source *source);
/* Looks at the directory now: what takes no more than a share of the turn is done inside this call,
 * and the view given; the rest follows while source_directory_is_looking(). */
void source_directory_release(struct source *source);
bool source_directory_is_looking(const struct source *source);

/* True for a name that the source reads: *.yaml, *.yml, *.json, not hidden. */
bool source_directory_takes(const char *name);

#endif
