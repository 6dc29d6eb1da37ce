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

/* How the source is: when it was last looked at with success (loop time; -1: never), and what is
 * wrong with it (NULL: nothing; borrowed). */
mono_ms source_directory_last_contact(const struct source_directory *source);
const char *source_directory_trouble(const struct source_directory *source);
/* Calls fn for each document that is not taken: its application (NULL where it could not be read),
 * the file's path, and the lines that say why. All borrowed. */
typedef void source_problem_fn(void *arg, const char *application, const char *path,
                               const struct strv *errors);
void source_directory_each_problem(const struct source_directory *source, source_problem_fn *fn,
                                   void *arg);
/* The file that the application is taken from; NULL: none. Borrowed. */
const char *source_directory_file_of(const struct source_directory *source, const char *app);

/* Looks at the directory now; the view is given from inside this call. */
void source_directory_scan(struct source_directory *source);

/* True for a name that the source reads: *.yaml, *.yml, *.json, not hidden. */
bool source_directory_takes(const char *name);

#endif
