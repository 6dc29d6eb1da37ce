#include "deploy.h"

#include "edgible/admission.h"
#include "edgible/appspec_json.h"
#include "edgible/creds.h"
#include "edgible/deploy_plan.h"
#include "edgible/source_directory.h"
#include "source_deploy.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void cleanup_deploy_refusal(struct deploy_refusal *refusal)
{
    free(refusal->detail);
    diag_fini(&refusal->errors);
}

static void refuse(struct deploy_refusal *refusal, unsigned status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void refuse(struct deploy_refusal *refusal, unsigned status, const char *fmt, ...)
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
    const struct app_docs *docs;
    struct map *known;          /* as of admission_depends_refusal(), the documents included */
    struct admission_load load; /* of applications that are in no document */
    struct admission_load *doc_loads; /* of each document; owned */
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

static void look_at_others(const struct overview *view, const struct app_docs *docs,
                           struct others *others)
{
    *others = (struct others){.docs = docs,
                              .known = map_new(),
                              .doc_loads = xcalloc(docs->count, sizeof(*others->doc_loads))};
    for (size_t i = 0; i < docs->count; i++) {
        CLEANUP(app_spec)
        struct app_spec *complete = admission_complete(view->config, docs->docs[i].spec);
        admission_add_load(&others->doc_loads[i], complete, NULL);
        map_put(others->known, docs->docs[i].spec->name, docs->docs[i].spec);
    }
    reconcile_each_app(view->reconcile, add_other, others);
}

static struct admission_load load_besides(const struct others *others, size_t doc)
{
    struct admission_load load = others->load;
    for (size_t i = 0; i < others->docs->count; i++) {
        if (i != doc) {
            admission_join_load(&load, &others->doc_loads[i]);
        }
    }
    return load;
}

/* What the agent would refuse later is refused now, as a whole. */
static bool is_acceptable(const struct overview *view, const struct others *others, size_t doc,
                          struct deploy_refusal *refusal)
{
    const struct app_spec *app = others->docs->docs[doc].spec;
    struct reconcile_app now;
    CLEANUP(free) char *elsewhere = admission_not_for_device(view->config, app);
    if (elsewhere != NULL) {
        refuse(refusal, 422, "application '%s' is not for this device: %s", app->name, elsewhere);
        return false;
    }
    CLEANUP(creds) struct creds *self = creds_lookup(NULL, NULL, NULL);
    CLEANUP(app_spec) struct app_spec *complete = admission_complete(view->config, app);
    struct admission_load besides = load_besides(others, doc);
    CLEANUP(free)
    char *against =
        admission_policy_refusal(view->config, complete, self != NULL ? self->user : "", &besides);
    if (against != NULL) {
        refuse(refusal, 403, "application '%s' is against this device's policy: %s", app->name,
               against);
        return false;
    }
    if (reconcile_find_app(view->reconcile, app->name, &now) && now.is_blocked) {
        refuse(refusal, 409, "application '%s' cannot be changed: %s", app->name, now.refused);
        return false;
    }
    CLEANUP(free) char *misses = admission_depends_refusal(app, others->known);
    if (misses != NULL) {
        refuse(refusal, 422, "application '%s': %s", app->name, misses);
        return false;
    }
    return true;
}

static bool check_documents(const struct overview *view, const struct app_docs *docs,
                            struct deploy_refusal *refusal)
{
    for (size_t i = 0; i < docs->count; i++) {
        diag_append(&refusal->errors, &docs->docs[i].diag);
    }
    diag_append(&refusal->errors, &docs->diag);
    if (refusal->errors.error_count > 0) {
        refuse(refusal, 422, "the documents are invalid, and nothing was changed");
        return false;
    }
    if (docs->count == 0) {
        refuse(refusal, 422, "there is no document to deploy");
        return false;
    }
    struct others others;
    bool all = true;
    look_at_others(view, docs, &others);
    for (size_t i = 0; i < docs->count && all; i++) {
        all = is_acceptable(view, &others, i, refusal);
    }
    map_free(others.known);
    free(others.doc_loads);
    return all;
}

/* --- what it changes -----------------------------------------------------------------------------
 */

static struct json *plan_one(const struct overview *view, const struct app_spec *app)
{
    CLEANUP(app_spec) struct app_spec *to = admission_complete(view->config, app);
    CLEANUP(free) char *id = overview_app_id(view->config, app, app->name);
    struct reconcile_app now = {0};
    bool is_known =
        reconcile_find_app(view->reconcile, app->name, &now) && !now.is_leaving && now.spec != NULL;
    return deploy_plan_app(is_known ? now.spec : NULL, to, id);
}

/* --- doing it ------------------------------------------------------------------------------------
 */

static bool refuse_for(struct deploy_refusal *refusal, const struct err *err)
{
    char text[ERR_MSG_MAX];
    unsigned status = 500;
    if (err->code == EEXIST || err->code == EBUSY || err->code == ERR_SPEC) {
        status = 409;
    } else if (err->code == EACCES || err->code == EPERM || err->code == EROFS) {
        status = 403;
    }
    /* "File exists" behind a sentence that says it all would only confuse. */
    struct err said = *err;
    said.code = status == 409 ? ERR_HOST : said.code;
    refuse(refusal, status, "%s", err_text(&said, text, sizeof(text)));
    return false;
}

static bool check_source(const struct overview *view, struct deploy_refusal *refusal)
{
    if (view->source == NULL) {
        refuse(refusal, 409, "the agent is stopping");
        return false;
    }
    if (source_is_signed(view->source)) {
        refuse(refusal, 409,
               "this device takes signed sets only (controlPlane.trustedKeys): sign the set with "
               "minisign and put it where the agent reads it; docs/control-planes.md shows how");
        return false;
    }
    if (source_as_directory(view->source) == NULL) {
        struct source_state state;
        source_describe(view->source, &state);
        refuse(refusal, 409,
               "this device does what its control plane says, which is to be changed there (%s, "
               "'%s'): `edgible --config %s stack …` speaks to it",
               state.type, state.location, view->config->file);
        return false;
    }
    return true;
}

static bool write_documents(const struct overview *view, const struct app_docs *docs,
                            const char *text, struct deploy_refusal *refusal)
{
    CLEANUP(source_deploy)
    struct source_deploy *deploy = source_deploy_new(view->config->directory);
    struct err err = {0};
    for (size_t i = 0; i < docs->count; i++) {
        const struct app_doc *doc = &docs->docs[i];
        const char *file =
            source_directory_file_of(source_as_directory(view->source), doc->spec->name);
        CLEANUP(json) struct json *json = doc->is_in_list ? appspec_to_json(doc->spec) : NULL;
        CLEANUP(free) char *item = json != NULL ? json_text(json) : NULL;
        const char *from = item != NULL ? item : text + doc->offset;
        size_t len = item != NULL ? strlen(item) : doc->length;
        if (source_deploy_set(deploy, doc->spec->name, file, from, len, &err) < 0) {
            return refuse_for(refusal, &err);
        }
    }
    return source_deploy_commit(deploy, &err) == 0 || refuse_for(refusal, &err);
}

struct json *deploy_documents(const struct overview *view, const char *text, size_t len,
                              bool dry_run, struct deploy_refusal *refusal)
{
    CLEANUP(app_docs) struct app_docs docs = {0};
    appspec_parse("<request>", text, len, &docs);
    if (!check_source(view, refusal) || !check_documents(view, &docs, refusal)) {
        return NULL;
    }
    CLEANUP(json) struct json *plan = json_array();
    for (size_t i = 0; i < docs.count; i++) {
        json_add(plan, plan_one(view, docs.docs[i].spec));
    }
    if (!dry_run && !write_documents(view, &docs, text, refusal)) {
        return NULL;
    }
    return steal_ptr(&plan);
}

int deploy_remove(const struct overview *view, const char *application,
                  struct deploy_refusal *refusal)
{
    struct err err = {0};
    struct reconcile_app now = {0};
    if (!check_source(view, refusal)) {
        return -1;
    }
    if (reconcile_find_app(view->reconcile, application, &now) && now.is_blocked) {
        refuse(refusal, 409, "application '%s' cannot be changed: %s", application, now.refused);
        return -1;
    }
    const char *file = source_directory_file_of(source_as_directory(view->source), application);
    if (file == NULL && now.is_leaving) {
        return 0;
    }
    if (file == NULL) {
        refuse(refusal, 409,
               "no valid document of application '%s' is in '%s'; remove or correct the file by "
               "hand",
               application, view->config->directory);
        return -1;
    }
    CLEANUP(source_deploy)
    struct source_deploy *deploy = source_deploy_new(view->config->directory);
    if (source_deploy_set(deploy, application, file, NULL, 0, &err) < 0 ||
        source_deploy_commit(deploy, &err) < 0) {
        return refuse_for(refusal, &err) ? 0 : -1;
    }
    return 0;
}
