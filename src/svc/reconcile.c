#include "edgible/admission.h"
#include "edgible/buf.h"
#include "edgible/creds.h"
#include "edgible/fault.h"
#include "edgible/map.h"
#include "edgible/spec_diff.h"
#include "reconcile_private.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* An application whose removal is under way. */
struct leaving {
    struct app_spec *app;
    int64_t generation;
};

struct reconcile *reconcile_new(struct supervisor *supervisor, struct events *events,
                                struct persist *persist, const struct config *config,
                                struct loop *loop)
{
    struct reconcile *rec = xcalloc(1, sizeof(*rec));
    rec->supervisor = supervisor;
    rec->events = events;
    rec->persist = persist;
    rec->config = config;
    rec->apps = map_new();
    rec->leaving = map_new();
    CLEANUP(creds) struct creds *self = creds_lookup(NULL, NULL, NULL);
    trial_init(rec, loop);
    pass_init(rec, loop);
    rec->own_user = xstrdup(self != NULL ? self->user : "");
    return rec;
}

static void free_leaving(struct leaving *leaving)
{
    if (leaving != NULL) {
        app_spec_free(leaving->app);
        free(leaving);
    }
}

void reconcile_free_accepted(struct accepted *a)
{
    app_spec_free(a->running);
    free(a->refused);
    free(a->refused_at);
    free(a->blocked);
    trial_free(a);
    free(a);
}

void reconcile_free(struct reconcile *rec)
{
    if (rec == NULL) {
        return;
    }
    size_t at = 0;
    void *value = NULL;
    while (map_next(rec->apps, &at, NULL, &value)) {
        reconcile_free_accepted(value);
    }
    map_free(rec->apps);
    at = 0;
    while (map_next(rec->leaving, &at, NULL, &value)) {
        free_leaving(value);
    }
    map_free(rec->leaving);
    trial_fini(rec);
    pass_fini(rec);
    free(rec->own_user);
    free(rec);
}

void reconcile_set_config(struct reconcile *rec, const struct config *config)
{
    rec->config = config;
}

void reconcile_new_source(struct reconcile *rec)
{
    reconcile_drop_views(rec);
    size_t at = 0;
    void *value = NULL;
    while (map_next(rec->apps, &at, NULL, &value)) {
        struct accepted *a = value;
        a->was_seen = false;
        a->is_of_other_source = true;
    }
}

/* --- saying ------------------------------------------------------------------------------------
 */

static void refuse(struct reconcile *rec, struct accepted *a, const char *name,
                   enum event_type type, const char *sentence)
{
    if (a->refused != NULL && strcmp(a->refused, sentence) == 0) {
        return;
    }
    bool is_ignored = a->is_elsewhere || a->blocked != NULL;
    free(a->refused);
    a->refused = xstrdup(sentence);
    struct event event = {
        .type = type,
        .level = is_ignored ? LOG_INFO : LOG_ERROR,
        .application = name,
        .fields = (struct log_field[]){{"status", "rejected"}, {"reason", sentence}, {0}},
    };
    events_emit(rec->events, &event, "%s is %s: %s", name, is_ignored ? "ignored" : "refused",
                sentence);
}

static void refuse_document(struct reconcile *rec, struct accepted *a, const struct app_spec *app,
                            enum event_type type, const char *sentence)
{
    free(a->refused_at);
    a->refused_at = xasprintf("%s:%zu", app->file, app->line);
    refuse(rec, a, app->name, type, sentence);
}

/* One line, however many they are. */
static void say_unsupported(const struct app_spec *app)
{
    const struct workload_spec *first = NULL;
    size_t count = 0;
    for (size_t i = app->workload_count; i-- > 0;) {
        bool is_one = !app->workloads[i].supported;
        first = is_one ? &app->workloads[i] : first;
        count += is_one ? 1 : 0;
    }
    if (first != NULL) {
        log_warn("reconcile",
                 "%s/%s: workloads of type '%s' are not run by this agent (%zu in all)", app->name,
                 first->name, first->type, count);
    }
}

static void say_accepted(struct reconcile *rec, const struct app_spec *app,
                         const struct accepted *a)
{
    char generation[24];
    char workloads[24];
    (void) snprintf(generation, sizeof(generation), "%" PRId64, a->generation);
    (void) snprintf(workloads, sizeof(workloads), "%zu", app->workload_count);
    struct event event = {
        .type = a->generation == 1 ? EVENT_DEPLOYED : EVENT_UPDATED,
        .level = LOG_INFO,
        .application = app->name,
        .fields =
            (struct log_field[]){
                                 {"generation", generation}, {"workloads", workloads}, {"source", app->file}, {0}},
    };
    events_emit(rec->events, &event, "%s is %s, generation %" PRId64 ", %zu workloads", app->name,
                a->generation == 1 ? "deployed" : "updated", a->generation, app->workload_count);
    say_unsupported(app);
}

/* --- one view ------------------------------------------------------------------------------------
 */

static struct accepted *get_accepted(struct reconcile *rec, const char *name)
{
    struct accepted *a = map_get(rec->apps, name);
    if (a == NULL) {
        a = xcalloc(1, sizeof(*a));
        map_put(rec->apps, name, a);
    }
    return a;
}

void reconcile_write_record(struct reconcile *rec, const struct accepted *a,
                            const struct app_spec *app, bool removing)
{
    struct app_record record = {
        .generation = a->generation,
        .last_generation = a->last_generation,
        .removing = removing,
        .suspended = a->suspended && !removing,
        /* borrowed, as are the next */
        // NOLINTNEXTLINE(performance-no-int-to-ptr)
        .app = (struct app_spec *) (uintptr_t) app,
        .source = app->file,
        .good = a->good,
        .good_generation = a->good_generation,
        .rolled_back = a->rolled_back,
    };
    CLEANUP(free) char *name = xasprintf("applications/%s.json", app->name);
    CLEANUP(free) char *text = app_record_text(&record);
    persist_put(rec->persist, name, text);
}

/* Those of all applications but the one of that name. */
static struct admission_load other_load(const struct reconcile *rec, const char *name)
{
    struct admission_load load = {0};
    size_t at = 0;
    const char *other = NULL;
    void *value = NULL;
    while (map_next(rec->apps, &at, &other, &value)) {
        const struct accepted *a = value;
        if (a->running != NULL && !a->is_held_back && strcmp(other, name) != 0) {
            admission_add_load(&load, a->running, a->good);
        }
    }
    return load;
}

static char *policy_refusal(const struct reconcile *rec, const struct app_spec *complete)
{
    struct admission_load others = other_load(rec, complete->name);
    return admission_refusal_in_time(&rec->config->policy, complete, rec->own_user, &others);
}

char *reconcile_restart_refusal(const struct reconcile *rec, const char *name, const char *workload)
{
    const struct accepted *a = map_get(rec->apps, name);
    if (a == NULL || a->running == NULL) {
        return NULL;
    }
    CLEANUP(app_spec) struct app_spec *asked = app_spec_copy(a->running);
    for (size_t i = 0; i < asked->workload_count; i++) {
        struct workload_spec *w = &asked->workloads[i];
        w->supported = w->supported && (workload == NULL || strcmp(w->name, workload) == 0);
        w->health.kind = HEALTH_NONE;
    }
    /* What bounds an application as a whole keeps none from being started again, nor do limits. */
    struct policy_config policy = rec->config->policy;
    policy.max_workloads = policy.max_log_bytes = UNSET;
    policy.limits = (struct limits_spec){UNSET, UNSET, UNSET, UNSET};
    struct admission_load none = {0};
    return admission_refusal_in_time(&policy, asked, rec->own_user, &none);
}

/* Of what runs and stays: as it runs, or where its turn is yet to come, as the view has it. */
static char *log_refusal(const struct reconcile *rec, const struct app_spec *app)
{
    CLEANUP(map) struct map *others = map_new();
    size_t at = 0;
    const char *name = NULL;
    void *value = NULL;
    while (map_next(rec->apps, &at, &name, &value)) {
        const struct accepted *a = value;
        void *wanted = map_get(rec->pass->known, name);
        if (a->running != NULL && wanted != NULL) {
            map_put(others, name, a->seen || wanted == rec->pass->known ? a->running : wanted);
        }
    }
    return admission_log_refusal(rec->config->log_dir, app, others);
}

/* One that the policy refused when this agent began, and does not refuse any more. */
static void set_going(struct reconcile *rec, struct accepted *a)
{
    if (a->is_held_back) {
        a->is_held_back = false;
        supervisor_apply(rec->supervisor, a->running, a->generation, a->suspended);
        trial_resume(rec, a);
    }
}

void reconcile_take(struct reconcile *rec, const struct app_spec *app)
{
    struct accepted *a = get_accepted(rec, app->name);
    a->present = true;
    a->was_seen = true;
    a->is_of_other_source = false;
    if (a->blocked != NULL) {
        a->seen = true;
        refuse_document(rec, a, app, EVENT_REJECTED, a->blocked);
        return;
    }
    CLEANUP(free) char *elsewhere = admission_not_for_device(rec->config, app);
    a->is_elsewhere = elsewhere != NULL;
    if (elsewhere != NULL) {
        refuse_document(rec, a, app, EVENT_REJECTED, elsewhere);
        return; /* not seen: what ran under the name is removed */
    }
    a->seen = true;
    CLEANUP(app_spec) struct app_spec *complete = admission_complete(rec->config, app);
    CLEANUP(free) char *refusal = policy_refusal(rec, complete);
    if (refusal != NULL) {
        refuse_document(rec, a, app, EVENT_POLICY_REFUSED, refusal);
        return;
    }
    if (a->running != NULL && !spec_diff_app_is_different(a->running, complete)) {
        free(steal_ptr(&a->refused));
        trial_forget_given_up(rec, a, app);
        set_going(rec, a);
        return;
    }
    CLEANUP(free) char *misses = admission_depends_refusal(app, rec->pass->known);
    if (misses == NULL) {
        misses = log_refusal(rec, app);
    }
    if (misses != NULL) {
        refuse_document(rec, a, app, EVENT_REJECTED, misses);
        return;
    }
    free(steal_ptr(&a->refused));
    if (trial_is_given_up(a, app)) {
        return;
    }
    trial_begin(rec, a, complete, app);
    a->is_held_back = false;
    a->generation = ++a->last_generation;
    app_spec_free(a->running);
    a->running = steal_ptr(&complete);
    free_leaving(map_remove(rec->leaving, app->name));
    reconcile_write_record(rec, a, app, false);
    say_accepted(rec, a->running, a);
    FAULT_POINT("accepted");
    supervisor_apply(rec->supervisor, a->running, a->generation, a->suspended);
    FAULT_POINT("applied");
}

void reconcile_on_app_gone(struct reconcile *rec, const char *name)
{
    struct leaving *leaving = map_remove(rec->leaving, name);
    if (leaving != NULL) {
        free_leaving(leaving);
        CLEANUP(free) char *record = xasprintf("applications/%s.json", name);
        persist_remove(rec->persist, record);
        struct event event = {.type = EVENT_REMOVED, .level = LOG_INFO, .application = name};
        events_emit(rec->events, &event, "%s is removed; nothing of it is left", name);
    }
}

void reconcile_on_room(struct reconcile *rec)
{
    size_t at = 0;
    void *value = NULL;
    while (map_next(rec->apps, &at, NULL, &value)) {
        const struct accepted *a = value;
        if (a->running != NULL && !a->suspended && !a->is_held_back) {
            supervisor_fill(rec->supervisor, a->running, a->generation);
        }
    }
}

void reconcile_leave(struct reconcile *rec, const char *name, struct accepted *a)
{
    struct leaving *leaving = xcalloc(1, sizeof(*leaving));
    leaving->app = steal_ptr(&a->running);
    leaving->generation = a->generation;
    a->suspended = false;
    free_leaving(map_remove(rec->leaving, name));
    map_put(rec->leaving, name, leaving);
}

/* --- what an earlier agent left
 * -------------------------------------------------------------------
 */

void reconcile_restore(struct reconcile *rec, const struct app_record *record)
{
    struct accepted *a = get_accepted(rec, record->app->name);
    a->running = admission_complete(rec->config, record->app);
    a->generation = record->generation;
    a->last_generation =
        record->last_generation > record->generation ? record->last_generation : record->generation;
    if (record->good != NULL) {
        a->good = admission_complete(rec->config, record->good);
        a->good_generation = record->good_generation;
    }
    a->rolled_back = record->rolled_back;
    a->rolled_back.reason = xstrdup_or_null(record->rolled_back.reason);
    a->rolled_back.document = xstrdup_or_null(record->rolled_back.document);
    a->removing = record->removing;
    a->suspended = record->suspended;
    a->has_record = true;
}

/* Adds the unit to the application that is put together from units. */
static void extend(struct app_spec *app, const struct unit *unit)
{
    size_t count = app->workload_count;
    app->workloads = xrealloc(app->workloads, count + 1, sizeof(*app->workloads));
    app->workloads[count] = (struct workload_spec){0};
    workload_spec_copy(&app->workloads[count], unit->spec);
    app->workload_count++;
    if (app->depends_on.count == 0) {
        strv_copy(&app->depends_on, &unit->app_depends_on);
    }
}

void reconcile_restore_unit(struct reconcile *rec, const struct unit *unit)
{
    struct accepted *a = get_accepted(rec, unit->application);
    if (a->has_record) {
        return;
    }
    if (a->running == NULL) {
        a->running = xcalloc(1, sizeof(*a->running));
        a->running->name = xstrdup(unit->application);
        a->running->healthy_after_ms = UNSET;
    }
    a->generation = a->generation > unit->generation ? a->generation : unit->generation;
    a->last_generation = a->generation;
    extend(a->running, unit);
}

const struct workload_spec *reconcile_find_workload(const struct reconcile *rec, const char *app,
                                                    const char *workload)
{
    const struct accepted *a = map_get(rec->apps, app);
    return a != NULL && a->running != NULL ? app_spec_find_workload(a->running, workload) : NULL;
}

void reconcile_block(struct reconcile *rec, const char *app, const char *why)
{
    struct accepted *a = get_accepted(rec, app);
    if (a->blocked == NULL) {
        a->blocked = xstrdup(why);
        refuse(rec, a, app, EVENT_REJECTED, why);
    }
}

bool reconcile_is_blocked(const struct reconcile *rec, const char *app)
{
    const struct accepted *a = map_get(rec->apps, app);
    return a != NULL && a->blocked != NULL;
}

static void resume_one(struct reconcile *rec, const char *name, struct accepted *a)
{
    if (a->removing) {
        reconcile_leave(rec, name, a);
        supervisor_remove(rec->supervisor, &name, 1);
        return;
    }
    CLEANUP(free) char *refusal = policy_refusal(rec, a->running);
    if (refusal != NULL) {
        a->is_held_back = true;
        refuse(rec, a, name, EVENT_POLICY_REFUSED, refusal);
        return;
    }
    supervisor_apply(rec->supervisor, a->running, a->generation, a->suspended);
    trial_resume(rec, a);
}

void reconcile_resume(struct reconcile *rec)
{
    size_t at = 0;
    const char *name = NULL;
    void *value = NULL;
    while (map_next(rec->apps, &at, &name, &value)) {
        struct accepted *a = value;
        if (a->blocked == NULL && a->running != NULL) {
            resume_one(rec, name, a);
        }
    }
}

/* --- what is asked and told ----------------------------------------------------------------------
 */

static void fill_app(const char *name, const struct accepted *a, struct reconcile_app *ret)
{
    *ret = (struct reconcile_app){
        .name = name,
        .spec = a->running,
        .refused = a->refused,
        .refused_at = a->refused_at,
        .is_elsewhere = a->is_elsewhere,
        .is_blocked = a->blocked != NULL,
        .is_held_back = a->is_held_back,
        .generation = a->generation,
        .suspended = a->suspended,
        .rolled_back = a->rolled_back.reason != NULL ? &a->rolled_back : NULL,
    };
}

static void fill_leaving(const char *name, const struct leaving *leaving, struct reconcile_app *ret)
{
    *ret = (struct reconcile_app){
        .name = name,
        .spec = leaving->app,
        .generation = leaving->generation,
        .is_leaving = true,
    };
}

bool reconcile_find_app(const struct reconcile *rec, const char *name, struct reconcile_app *ret)
{
    const struct accepted *a = map_get(rec->apps, name);
    const struct leaving *leaving = map_get(rec->leaving, name);
    if (a != NULL && (a->running != NULL || leaving == NULL)) {
        fill_app(name, a, ret);
    } else if (leaving != NULL) {
        fill_leaving(name, leaving, ret);
    }
    return a != NULL || leaving != NULL;
}

void reconcile_each_app(const struct reconcile *rec, reconcile_app_fn *fn, void *arg)
{
    struct reconcile_app app;
    size_t at = 0;
    const char *name = NULL;
    void *value = NULL;
    while (map_next(rec->apps, &at, &name, &value)) {
        const struct accepted *a = value;
        if (a->running != NULL || !map_has(rec->leaving, name)) {
            fill_app(name, a, &app);
            fn(arg, &app);
        }
    }
    at = 0;
    while (map_next(rec->leaving, &at, &name, &value)) {
        fill_leaving(name, value, &app);
        fn(arg, &app);
    }
}

bool reconcile_set_suspended(struct reconcile *rec, const char *name, bool suspended)
{
    struct accepted *a = map_get(rec->apps, name);
    if (a == NULL || a->running == NULL || a->blocked != NULL) {
        return false;
    }
    if (a->suspended != suspended) {
        a->suspended = suspended;
        reconcile_write_record(rec, a, a->running, false);
        struct event event = {
            .type = EVENT_UPDATED,
            .level = LOG_INFO,
            .application = name,
            .fields =
                (struct log_field[]){{"targetState", suspended ? "suspended" : "running"}, {0}},
        };
        events_emit(rec->events, &event, "%s is to be %s", name,
                    suspended ? "suspended" : "running");
        if (!a->is_held_back) {
            supervisor_apply(rec->supervisor, a->running, a->generation, suspended);
        }
    }
    return true;
}
