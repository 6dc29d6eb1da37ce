#include "deploy_private.h"
#include "edgible/admission.h"
#include "edgible/appspec_json.h"
#include "edgible/creds.h"
#include "edgible/deploy_plan.h"
#include "edgible/loop.h"
#include "edgible/source_directory.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void cleanup_deploy_refusal(struct deploy_refusal *refusal)
{
    free(refusal->detail);
    diag_fini(&refusal->errors);
}

void deploy_refuse(struct deploy_refusal *refusal, unsigned status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    free(refusal->detail);
    refusal->detail = xvasprintf(fmt, ap);
    refusal->status = status;
    va_end(ap);
}

/* --- may it be done ------------------------------------------------------------------------------
 */

/* What runs, or will, besides the documents. */
struct others {
    struct map *known;          /* as of admission_depends_refusal(), the documents included */
    struct admission_load load; /* of applications that are in no document */
    struct creds *self;
};

static void add_other(void *arg, const struct reconcile_app *app)
{
    struct others *others = arg;
    if (app->is_leaving || app->is_elsewhere || map_has(others->known, app->name)) {
        return;
    }
    map_put(others->known, app->name, others->known);
    if (app->spec != NULL) {
        // NOLINTNEXTLINE(performance-no-int-to-ptr)
        map_put(others->known, app->name, (void *) (uintptr_t) app->spec);
    }
    if (app->spec != NULL) {
        admission_add_load(&others->load, app->spec, NULL);
    }
}

static void look_at_others(const struct overview *view, const struct deploy *deploy,
                           struct others *others)
{
    *others = (struct others){.known = map_new(), .self = creds_lookup(NULL, NULL, NULL)};
    for (size_t i = 0; i < deploy->docs.count; i++) {
        map_put(others->known, deploy->docs.docs[i].spec->name, deploy->docs.docs[i].spec);
    }
    reconcile_each_app(view->reconcile, add_other, others);
}

static struct admission_load load_besides(const struct deploy *deploy, const struct others *others,
                                          size_t doc)
{
    struct admission_load load = others->load;
    for (size_t i = 0; i < deploy->docs.count; i++) {
        if (i != doc) {
            admission_join_load(&load, &deploy->loads[i]);
        }
    }
    return load;
}

/* What the agent would refuse later is refused now, as a whole. */
static bool is_acceptable(const struct deploy *deploy, const struct overview *view,
                          const struct others *others, size_t doc, struct deploy_refusal *refusal)
{
    const struct app_spec *app = deploy->docs.docs[doc].spec;
    struct reconcile_app now;
    CLEANUP(free) char *elsewhere = admission_not_for_device(view->config, app);
    if (elsewhere != NULL) {
        deploy_refuse(refusal, 422, "application '%s' is not for this device: %s", app->name,
                      elsewhere);
        return false;
    }
    struct admission_load besides = load_besides(deploy, others, doc);
    CLEANUP(free)
    char *against =
        admission_refusal_in_time(&view->config->policy, deploy->complete[doc],
                                  others->self != NULL ? others->self->user : "", &besides);
    if (against != NULL) {
        deploy_refuse(refusal, 403, "application '%s' is against this device's policy: %s",
                      app->name, against);
        return false;
    }
    if (reconcile_find_app(view->reconcile, app->name, &now) && now.is_blocked) {
        deploy_refuse(refusal, 409, "application '%s' cannot be changed: %s", app->name,
                      now.refused);
        return false;
    }
    CLEANUP(free) char *misses = admission_depends_refusal(app, others->known);
    if (misses == NULL) {
        misses = admission_log_refusal(view->config->log_dir, app, others->known);
    }
    if (misses != NULL) {
        deploy_refuse(refusal, 422, "application '%s': %s", app->name, misses);
        return false;
    }
    return true;
}

static bool are_valid(const struct deploy *deploy, struct deploy_refusal *refusal)
{
    const struct app_docs *docs = &deploy->docs;
    for (size_t i = 0; i < docs->count; i++) {
        diag_append(&refusal->errors, &docs->docs[i].diag);
    }
    diag_append(&refusal->errors, &docs->diag);
    if (refusal->errors.error_count > 0) {
        deploy_refuse(refusal, 422, "the documents are invalid, and nothing was changed");
        return false;
    }
    if (docs->count == 0) {
        deploy_refuse(refusal, 422, "there is no document to deploy");
        return false;
    }
    return true;
}

bool deploy_check_source(const struct overview *view, struct deploy_refusal *refusal)
{
    if (view->source == NULL) {
        deploy_refuse(refusal, 409, "the agent is stopping");
        return false;
    }
    if (source_is_signed(view->source)) {
        deploy_refuse(
            refusal, 409,
            "this device takes signed sets only (controlPlane.trustedKeys): sign the set with "
            "minisign and put it where the agent reads it; docs/control-planes.md shows how");
        return false;
    }
    if (source_as_directory(view->source) == NULL) {
        struct source_state state;
        source_describe(view->source, &state);
        deploy_refuse(
            refusal, 409,
            "this device does what its control plane says, which is to be changed there (%s, "
            "'%s'): `edgible --config %s stack …` speaks to it",
            state.type, state.location, view->config->file);
        return false;
    }
    return true;
}

/* --- in turns ------------------------------------------------------------------------------------
 */

struct deploy *deploy_new(struct app_docs *take_docs, const char *text, size_t len)
{
    struct deploy *deploy = xcalloc(1, sizeof(*deploy));
    deploy->docs = *take_docs;
    *take_docs = (struct app_docs){0};
    size_t count = deploy->docs.count;
    deploy->text = xstrndup(text, len);
    deploy->loads = xcalloc(count, sizeof(*deploy->loads));
    deploy->complete = xcalloc(count, sizeof(struct app_spec *));
    deploy->plan = json_array();
    deploy->write = deploy_write_new(count);
    return deploy;
}

void deploy_free(struct deploy *deploy)
{
    if (deploy == NULL) {
        return;
    }
    for (size_t i = 0; i < deploy->docs.count; i++) {
        app_spec_free(deploy->complete[i]);
    }
    app_docs_fini(&deploy->docs);
    free(deploy->text);
    free(deploy->loads);
    free(deploy->complete);
    json_free(deploy->plan);
    deploy_write_free(deploy->write);
    free(deploy);
}

static void plan_one(struct deploy *deploy, const struct overview *view, size_t doc)
{
    const struct app_spec *app = deploy->docs.docs[doc].spec;
    CLEANUP(free) char *id = overview_app_id(view->config, app, app->name);
    struct reconcile_app now = {0};
    bool is_known =
        reconcile_find_app(view->reconcile, app->name, &now) && !now.is_leaving && now.spec != NULL;
    json_add(deploy->plan, deploy_plan_app(is_known ? now.spec : NULL, deploy->complete[doc], id));
}

static void add_to_write(struct deploy *deploy, size_t doc)
{
    const struct app_doc *from = &deploy->docs.docs[doc];
    CLEANUP(json) struct json *json = from->is_in_list ? appspec_to_json(from->spec) : NULL;
    char *text =
        json != NULL ? json_text(json) : xstrndup(deploy->text + from->offset, from->length);
    deploy_write_add(deploy->write, from->spec->name, text,
                     json != NULL ? strlen(text) : from->length);
}

/* Completes all before any is judged: that needs the loads of all. */
static int take_step(struct deploy *deploy, const struct overview *view,
                     const struct others *others, struct deploy_refusal *refusal)
{
    size_t count = deploy->docs.count;
    if (deploy->completed < count) {
        size_t doc = deploy->completed++;
        deploy->complete[doc] = admission_complete(view->config, deploy->docs.docs[doc].spec);
        admission_add_load(&deploy->loads[doc], deploy->complete[doc], NULL);
        return 0;
    }
    size_t doc = deploy->planned++;
    if (!is_acceptable(deploy, view, others, doc, refusal)) {
        return -1;
    }
    plan_one(deploy, view, doc);
    add_to_write(deploy, doc);
    return deploy->planned == count ? 1 : 0;
}

int deploy_go_on(struct deploy *deploy, const struct overview *view, struct deploy_refusal *refusal)
{
    if (deploy->completed == 0 && !are_valid(deploy, refusal)) {
        return -1;
    }
    /* Each turn anew: what else runs may be another by now. */
    struct others others;
    mono_ms until = loop_now() + LOOP_SHARE_MS;
    int rc = 0;
    look_at_others(view, deploy, &others);
    do {
        rc = take_step(deploy, view, &others, refusal);
    } while (rc == 0 && loop_now() < until);
    map_free(others.known);
    creds_free(others.self);
    return rc;
}

struct json *deploy_take_plan(struct deploy *deploy)
{
    return steal_ptr(&deploy->plan);
}

struct deploy_write *deploy_take_write(struct deploy *deploy, const struct overview *view)
{
    deploy_write_find_files(deploy->write, view);
    return steal_ptr(&deploy->write);
}
