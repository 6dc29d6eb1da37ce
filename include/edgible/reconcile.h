/*
 * reconcile: brings what runs to what the source says, within the device owner's policy.
 */
#ifndef EDGIBLE_RECONCILE_H
#define EDGIBLE_RECONCILE_H

#include "edgible/appspec.h"
#include "edgible/config.h"
#include "edgible/events.h"
#include "edgible/persist.h"
#include "edgible/source.h"
#include "edgible/state_doc.h"
#include "edgible/supervisor.h"

struct reconcile;

/* All borrowed; outlive it. */
struct reconcile *reconcile_new(struct supervisor *supervisor, struct events *events,
                                struct persist *persist, const struct config *config,
                                struct loop *loop);
void reconcile_free(struct reconcile *rec);
DEFINE_CLEANUP(reconcile, struct reconcile, reconcile_free)

/* From now on this configuration counts; call reconcile_view() next. */
void reconcile_set_config(struct reconcile *rec, const struct config *config);
/* The next view is of another source than the last: where that says something that cannot be read,
 * what was taken from the one before may be in it. */
void reconcile_new_source(struct reconcile *rec);

/* --- at the start, before any view --- */

/* An application as an earlier agent accepted it. */
void reconcile_restore(struct reconcile *rec, const struct app_record *record);
/* A workload that an earlier agent ran; of an application without a record it is all there is. */
void reconcile_restore_unit(struct reconcile *rec, const struct unit *unit);
/* The specification that a workload of a restored application has by its record; NULL where there
 * is none. */
const struct workload_spec *reconcile_find_workload(const struct reconcile *rec, const char *app,
                                                    const char *workload);
/* A newer agent's records say of the application what this one cannot read: it is refused, and
 * what runs of it is left alone. */
void reconcile_block(struct reconcile *rec, const char *app, const char *why);
bool reconcile_is_blocked(const struct reconcile *rec, const char *app);
/* After all of these, and after the supervisor has adopted what ran: goes on with them. */
void reconcile_resume(struct reconcile *rec);

/* As source_view_fn; arg is the struct reconcile. Takes what can be taken in a moment, and the
 * rest in the loop's next turns; then the last view that came meanwhile. */
void reconcile_view(void *arg, const struct source_view *view);
/* Something of a view is not taken yet. */
bool reconcile_is_busy(const struct reconcile *rec);
/* What was not taken yet is not taken any more. */
void reconcile_drop_views(struct reconcile *rec);

/* An application as it stands; all borrowed, until the loop's next turn. */
struct reconcile_app {
    const char *name;
    const struct app_spec *spec; /* complete; NULL where none was ever accepted */
    bool is_held_back;           /* what is accepted of it is refused, too: nothing is started */
    const char *refused;         /* why what the source says now is not taken; NULL: it is */
    const char *refused_at;      /* file and line of that document; NULL: not known */
    bool is_elsewhere;           /* as it is for another device */
    bool is_blocked;             /* a newer agent's record holds it */
    bool suspended;              /* targetState */
    bool is_leaving;             /* it is being removed */
    int64_t generation;          /* 0: none */
    const struct rolled_back *rolled_back; /* NULL: it was not */
};

bool reconcile_find_app(const struct reconcile *rec, const char *name, struct reconcile_app *ret);
typedef void reconcile_app_fn(void *arg, const struct reconcile_app *app);
void reconcile_each_app(const struct reconcile *rec, reconcile_app_fn *fn, void *arg);
/* targetState, for good. False where there is nothing to suspend or resume: never accepted, or
 * blocked. */
bool reconcile_set_suspended(struct reconcile *rec, const char *name, bool suspended);

/* Why the policy lets the workload, or where NULL any of the application, not be started again;
 * NULL: it does. The caller frees. */
char *reconcile_restart_refusal(const struct reconcile *rec, const char *name,
                                const char *workload);

/* Nothing is left of the application: says so where it was removed. */
void reconcile_on_app_gone(struct reconcile *rec, const char *name);

/* A workload of the application is in another state. */
void reconcile_on_change(struct reconcile *rec, const struct workload *workload);

/* There are descriptors again for workloads that were refused for want of them. */
void reconcile_on_room(struct reconcile *rec);

#endif
