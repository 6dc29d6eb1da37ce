/*
 * The inside of reconcile, shared by reconcile.c (what is to run), reconcile_pass.c (a view, in
 * turns) and reconcile_trial.c (a new version on trial, and going back).
 */
#ifndef EDGIBLE_RECONCILE_PRIVATE_H
#define EDGIBLE_RECONCILE_PRIVATE_H

#include "edgible/loop.h"
#include "edgible/map.h"
#include "edgible/reconcile.h"

/* An application as it was last seen. */
struct accepted {
    struct app_spec *running; /* complete; NULL where it was never accepted */
    char *refused;            /* the sentence said last, so that it is not said again */
    char *refused_at;         /* file and line of that document; NULL: not known */
    bool is_elsewhere;        /* refused as it is for another device */
    char *blocked;            /* why nothing of it may be touched; NULL: it may */
    int64_t generation;
    int64_t last_generation; /* the highest that was given out */
    struct app_spec *good;   /* what it goes back to, complete; NULL: `running` is not on trial */
    int64_t good_generation;
    mono_ms trial_end;   /* of `running` */
    char *trial_failure; /* why it is given up */
    char *document;      /* a hash of the one that `running` is of; NULL: not known */
    struct rolled_back rolled_back;
    bool suspended;    /* targetState: nothing of it is to run */
    bool is_held_back; /* the policy refused `running` when this agent began: it was not started */
    bool has_record;   /* of an earlier agent: not put together from units */
    bool removing;     /* as an earlier agent left it */
    bool present;      /* in the view */
    bool is_of_other_source; /* taken from the one before that of now */
    bool was_seen;           /* in a view of this agent's */
    bool seen;               /* in the view, and for this device */
};

/* A view that is being brought about. */
struct pass {
    struct app_spec **apps;    /* shared with the source */
    size_t count, next;        /* next: the first that was not taken yet */
    struct map *kept, *unsure; /* as the view has them: sets */
    struct map *known;         /* as of admission_depends_refusal(); NULL: it has not begun */
};

struct reconcile {
    struct supervisor *supervisor;
    struct events *events;
    struct persist *persist;
    const struct config *config;
    char *own_user;
    struct loop_timer *trial_timer;
    struct map *apps;       /* name → struct accepted */
    struct map *leaving;    /* name → struct leaving */
    struct pass *pass;      /* under way; NULL: none */
    struct pass *next_pass; /* after that; NULL: none */
    struct loop_timer *pass_timer;
};

/* Writes down what is accepted of it, before anything is done about it: what is wanted is never
 * behind what runs. app is as it is to be written. */
void reconcile_write_record(struct reconcile *rec, const struct accepted *a,
                            const struct app_spec *app, bool removing);

/* An application of the view under way. */
void reconcile_take(struct reconcile *rec, const struct app_spec *app);
/* What runs of it is about to be removed. */
void reconcile_leave(struct reconcile *rec, const char *name, struct accepted *a);
void reconcile_free_accepted(struct accepted *a);

/* reconcile_pass.c */
void pass_init(struct reconcile *rec, struct loop *loop);
void pass_fini(struct reconcile *rec);

/* reconcile_trial.c */
void trial_init(struct reconcile *rec, struct loop *loop);
void trial_fini(struct reconcile *rec);
void trial_free(struct accepted *a);
/* The document is the one that was given up. */
bool trial_is_given_up(const struct accepted *a, const struct app_spec *document);
/* The source has a document of what runs: the one that was given up is over. */
void trial_forget_given_up(struct reconcile *rec, struct accepted *a,
                           const struct app_spec *document);
/* A new version is about to replace what runs: `running` is still the old one; next is complete,
 * document as it was given. */
void trial_begin(struct reconcile *rec, struct accepted *a, const struct app_spec *next,
                 const struct app_spec *document);
/* An agent before this one began it. */
void trial_resume(struct reconcile *rec, struct accepted *a);

#endif
