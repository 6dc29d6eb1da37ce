/*
 * What a kind of source is made of.
 */
#ifndef EDGIBLE_SOURCE_PRIVATE_H
#define EDGIBLE_SOURCE_PRIVATE_H

#include "edgible/source.h"
#include "source_docs.h"

struct source_ops {
    void (*free)(struct source *source);
    void (*stop)(struct source *source);
    /* As source_end(); NULL: nothing is reported. */
    bool (*end)(struct source *source, loop_fn done, void *arg);
    /* The configuration in params is another one, of the same source. */
    void (*reload)(struct source *source);
    void (*describe)(const struct source *source, struct source_state *ret);
    void (*add_details)(const struct source *source, struct json *json); /* NULL: none */
    void (*each_problem)(const struct source *source, source_problem_fn *fn, void *arg);
};

/* Stands first in each kind's struct. */
struct source {
    const struct source_ops *ops;
    struct source_params params;
    struct source_trust *trust; /* NULL: what comes need not be signed */
    struct source_load load;    /* of all its documents */
    bool wait_said;
};

/* The set is not taken: an event that says why, once a reason. */
void source_say_untrusted(const struct source *source, const char *origin, const char *sentence);

/* With trusted keys nothing is known before a signed set was accepted, neither what is there nor
 * what is not: no view is to be given. Said once; place is where the set is looked for. */
bool source_waits_for_set(struct source *source, const char *place);

struct source *source_directory_open(const struct source_params *params);
struct source *source_https_open(const struct source_params *params, struct err *err);
struct source *source_etcd_open(const struct source_params *params, struct err *err);

#endif
