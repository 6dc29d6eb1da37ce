/*
 * reconcile: brings what runs to what the source says, within the device owner's policy.
 */
#ifndef EDGIBLE_RECONCILE_H
#define EDGIBLE_RECONCILE_H

#include "edgible/appspec.h"
#include "edgible/config.h"
#include "edgible/events.h"
#include "edgible/supervisor.h"

struct reconcile;

/* All borrowed; outlive it. */
struct reconcile *reconcile_new(struct supervisor *supervisor, struct events *events,
                                const struct config *config);
void reconcile_free(struct reconcile *rec);
DEFINE_CLEANUP(reconcile, struct reconcile, reconcile_free)

/* From now on this configuration counts; call reconcile_view() next. */
void reconcile_set_config(struct reconcile *rec, const struct config *config);

/* As source_view_fn; arg is the struct reconcile. */
void reconcile_view(void *arg, const struct app_spec *const *apps, size_t count);

/* Nothing is left of the application: says so where it was removed. */
void reconcile_on_app_gone(struct reconcile *rec, const char *name);

/* There are descriptors again for workloads that were refused for want of them. */
void reconcile_on_room(struct reconcile *rec);

/* NULL where the document is for this device, else why not. The caller frees. */
char *reconcile_not_for_device(const struct config *config, const struct app_spec *app);

/* NULL where the policy allows it, else the sentence that refuses it, with the rule. app is
 * complete (defaults applied); own_user is who the agent is. The caller frees. */
char *reconcile_policy_refusal(const struct config *config, const struct app_spec *app,
                               const char *own_user);

/* A copy of app with the configuration's defaults filled in. */
struct app_spec *reconcile_complete(const struct config *config, const struct app_spec *app);

#endif
