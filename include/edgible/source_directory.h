/*
 * source_directory: the desired state is what the YAML and JSON files of one directory say.
 *
 * A file is read when nobody has it open for writing any more. What cannot be read or parsed
 * keeps what was there before; only a file that is gone, or that is valid and complete and no
 * longer has an application, removes it.
 */
#ifndef EDGIBLE_SOURCE_DIRECTORY_H
#define EDGIBLE_SOURCE_DIRECTORY_H

#include "edgible/appspec.h"
#include "edgible/events.h"
#include "edgible/loop.h"
#include "edgible/mem.h"

/* The complete set of applications, in the order of their files; valid during the call. */
typedef void (*source_view_fn)(void *arg, const struct app_spec *const *apps, size_t count);

struct source_directory;

struct source_params {
    struct loop *loop;
    struct events *events;
    const char *directory; /* absolute; copied */
    source_view_fn on_view;
    void *arg;
};

/* The first view is given from the loop, not from here. */
struct source_directory *source_directory_new(const struct source_params *params);
void source_directory_free(struct source_directory *source);
DEFINE_CLEANUP(source_directory, struct source_directory, source_directory_free)

/* Gives the view once more, from inside this call. */
void source_directory_give_view(struct source_directory *source);

/* True for a name that the source reads: *.yaml, *.yml, *.json, not hidden. */
bool source_directory_takes(const char *name);

#endif
