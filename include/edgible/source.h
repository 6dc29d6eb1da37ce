/*
 * source: where the desired state comes from: a directory, an HTTPS control plane or etcd. All give
 * the same, the complete set of applications for this device; which one it is stays hidden here.
 *
 * What cannot be reached, read or parsed changes nothing: a view is given only of what is known.
 */
#ifndef EDGIBLE_SOURCE_H
#define EDGIBLE_SOURCE_H

#include "edgible/appspec.h"
#include "edgible/config.h"
#include "edgible/events.h"
#include "edgible/json_doc.h"
#include "edgible/loop.h"
#include "edgible/mem.h"
#include "edgible/persist.h"

struct source;
struct source_directory;
struct reconcile;
struct supervisor;

/* The complete set of applications, in the order of their documents; valid during the call. */
struct source_view {
    struct app_spec *const *apps; /* to be shared, where they are kept */
    size_t count;
    /* Names of documents that are invalid and of which no good version is known: what runs under
     * one stays. */
    struct strv kept;
    /* Files, URLs or keys that hold what cannot be told: what an earlier agent took from there
     * stays. */
    struct strv unsure;
};

typedef void source_view_fn(void *arg, const struct source_view *view);

struct source_params {
    struct loop *loop; /* borrowed, as is all here; outlives the source */
    struct events *events;
    struct persist *persist;
    const struct config *config;
    const struct reconcile *reconcile; /* these two: for the reports */
    const struct supervisor *supervisor;
    const char *boot_id;
    source_view_fn *on_view;
    void *arg;
};

/* The first view is given from the loop, not from here. */
struct source *source_open(const struct source_params *params, struct err *err);
void source_free(struct source *source);
DEFINE_CLEANUP(source, struct source, source_free)

/* No view is given from now on; what is reported goes on. */
void source_stop(struct source *source);
/* Reports that the agent ends; done follows from the loop, whether that was taken or not. False:
 * nothing is reported. */
bool source_end(struct source *source, loop_fn done, void *arg);

/* The configuration was read anew: from now on this one counts, and the view is given once more,
 * from inside this call, where there was one. False where it names another source than this: then
 * a new one is to be opened. */
bool source_set_config(struct source *source, const struct config *config);

struct source_state {
    const char *type;      /* "directory", "https", "etcd" */
    const char *location;  /* borrowed */
    const char *mode;      /* how changes come: "watch", "long-poll", "poll"; NULL: not known yet */
    const char *trouble;   /* NULL: none; borrowed */
    const char *unwatched; /* why it can only be polled; NULL: it is not so; borrowed */
    mono_ms last_contact;  /* with success; -1: never */
    mono_ms next_contact;  /* -1: not planned */
};

void source_describe(const struct source *source, struct source_state *ret);
/* Members of what GET /v1/agent tells of the source, besides those. */
void source_add_details(const struct source *source, struct json *json);

/* Calls fn for each document that is not taken: its application (NULL where it could not be read),
 * the file, URL or key, the lines that say why, and those of its warnings. All borrowed. */
typedef void source_problem_fn(void *arg, const char *application, const char *origin,
                               const struct strv *errors, const struct strv *warnings);
void source_each_problem(const struct source *source, source_problem_fn *fn, void *arg);

/* Only sets signed by a trusted key are taken from it. */
bool source_is_signed(const struct source *source);

/* NULL where the source is none: then nothing can be deployed through the agent. */
const struct source_directory *source_as_directory(const struct source *source);

#endif
