/*
 * A new version of an application that asks for `update.rollback` is on trial until it has run well
 * for healthyAfter. One that fails or is unhealthy until then is given up, once, for the version
 * before: here, without asking anybody.
 */
#include "edgible/appspec_json.h"
#include "edgible/crypto.h"
#include "edgible/workload.h"
#include "reconcile_private.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define HEALTHY_AFTER_MS 30000
/* One that neither runs well nor has failed by then is looked at again after so long. */
#define AGAIN_MS 1000

static char *hash_document(const struct app_spec *document)
{
    char hex[CRYPTO_SHA256_HEX_BYTES];
    CLEANUP(json) struct json *json = appspec_to_json(document);
    CLEANUP(free) char *text = json_text(json);
    crypto_sha256_hex(text, strlen(text), hex);
    return xstrdup(hex);
}

static void forget_trial(struct accepted *a)
{
    app_spec_free(steal_ptr(&a->good));
    a->good_generation = 0;
    a->trial_end = 0;
    free(steal_ptr(&a->trial_failure));
}

static void forget_rolled_back(struct accepted *a)
{
    free(a->rolled_back.reason);
    free(a->rolled_back.document);
    a->rolled_back = (struct rolled_back){0};
}

void trial_free(struct accepted *a)
{
    forget_trial(a);
    forget_rolled_back(a);
    free(a->document);
}

bool trial_is_given_up(const struct accepted *a, const struct app_spec *document)
{
    if (a->rolled_back.document == NULL) {
        return false;
    }
    CLEANUP(free) char *hash = hash_document(document);
    return strcmp(hash, a->rolled_back.document) == 0;
}

void trial_forget_given_up(struct reconcile *rec, struct accepted *a,
                           const struct app_spec *document)
{
    if (a->rolled_back.reason != NULL) {
        forget_rolled_back(a);
        free(a->document);
        a->document = hash_document(document);
        reconcile_write_record(rec, a, document, false);
    }
}

struct look {
    bool is_bad, is_settled;
};

static void look_at(void *arg, const struct workload *workload)
{
    struct look *look = arg;
    enum status status = workload_status(workload);
    look->is_bad = look->is_bad || status == STATUS_FAILED || status == STATUS_UNHEALTHY;
    look->is_settled = look->is_settled && (status == STATUS_RUNNING || status == STATUS_COMPLETED);
}

static struct look look_at_app(const struct reconcile *rec, const char *name)
{
    struct look look = {.is_settled = true};
    supervisor_each(rec->supervisor, name, look_at, &look);
    return look;
}

static mono_ms trial_length(const struct app_spec *app)
{
    return app->healthy_after_ms != UNSET ? app->healthy_after_ms : HEALTHY_AFTER_MS;
}

static void start_trial(struct reconcile *rec, struct accepted *a, const struct app_spec *app)
{
    a->trial_end = loop_now() + trial_length(app);
    free(steal_ptr(&a->trial_failure));
    if (!loop_timer_is_armed(rec->trial_timer)) {
        loop_timer_arm(rec->trial_timer, a->trial_end);
    }
}

void trial_begin(struct reconcile *rec, struct accepted *a, const struct app_spec *next,
                 const struct app_spec *document)
{
    forget_rolled_back(a);
    free(a->document);
    a->document = next->rollback ? hash_document(document) : NULL;
    /* What is itself on trial is nothing to go back to; what was before it is. */
    if (a->good == NULL && a->running != NULL && !a->suspended && next->rollback &&
        !look_at_app(rec, next->name).is_bad) {
        a->good = app_spec_copy(a->running);
        a->good_generation = a->generation;
    }
    if (!next->rollback || a->suspended) {
        forget_trial(a);
    } else if (a->good != NULL) {
        start_trial(rec, a, next);
    }
}

void trial_resume(struct reconcile *rec, struct accepted *a)
{
    if (a->good != NULL && !a->suspended) {
        start_trial(rec, a, a->running);
    }
}

static void go_back(struct reconcile *rec, struct accepted *a)
{
    char from[24];
    char to[24];
    a->rolled_back.from = a->generation;
    a->rolled_back.to = a->good_generation;
    a->rolled_back.reason = steal_ptr(&a->trial_failure);
    a->rolled_back.document = steal_ptr(&a->document);
    if (a->rolled_back.document == NULL) {
        a->rolled_back.document = hash_document(a->running);
    }
    app_spec_free(a->running);
    a->running = steal_ptr(&a->good);
    a->generation = a->good_generation;
    forget_trial(a);
    reconcile_write_record(rec, a, a->running, false);
    (void) snprintf(from, sizeof(from), "%" PRId64, a->rolled_back.from);
    (void) snprintf(to, sizeof(to), "%" PRId64, a->rolled_back.to);
    struct event event = {
        .type = EVENT_UPDATED,
        .level = LOG_WARN,
        .application = a->running->name,
        .fields = (struct log_field[]){{"generation", to},
                                       {"rolledBackFrom", from},
                                       {"rolledBackTo", to},
                                       {"reason", a->rolled_back.reason},
                                       {0}},
    };
    events_emit(rec->events, &event,
                "%s is rolled back from generation %s to %s: %s; generation %s is not tried again "
                "until its document changes",
                a->running->name, from, to, a->rolled_back.reason, from);
    supervisor_apply(rec->supervisor, a->running, a->generation, a->suspended);
}

/* The next look at it; 0: none is needed. */
static mono_ms judge(struct reconcile *rec, struct accepted *a, mono_ms now)
{
    if (a->trial_failure != NULL) {
        go_back(rec, a);
        return 0;
    }
    if (now < a->trial_end) {
        return a->trial_end;
    }
    if (!look_at_app(rec, a->running->name).is_settled) {
        return now + AGAIN_MS;
    }
    forget_trial(a);
    reconcile_write_record(rec, a, a->running, false);
    return 0;
}

static void on_trial(void *arg)
{
    struct reconcile *rec = arg;
    mono_ms now = loop_now();
    mono_ms next = 0;
    size_t at = 0;
    void *value = NULL;
    while (map_next(rec->apps, &at, NULL, &value)) {
        struct accepted *a = value;
        if (a->good == NULL || a->running == NULL || a->suspended || a->blocked != NULL) {
            continue;
        }
        mono_ms look = judge(rec, a, now);
        next = look != 0 && (next == 0 || look < next) ? look : next;
    }
    if (next != 0) {
        loop_timer_arm(rec->trial_timer, next);
    }
}

/* Noted at once, as it may be in another state a moment later; done from the loop, as this is
 * called from within the workload. */
void reconcile_on_change(struct reconcile *rec, const struct workload *workload)
{
    struct accepted *a = map_get(rec->apps, workload_application(workload));
    if (a == NULL || a->good == NULL || a->suspended || a->trial_failure != NULL) {
        return;
    }
    enum status status = workload_status(workload);
    bool is_of_it = workload_generation(workload) == a->generation;
    if (is_of_it && (status == STATUS_FAILED || status == STATUS_UNHEALTHY)) {
        CLEANUP(free) char *reason = workload_reason(workload);
        a->trial_failure = xasprintf("workload '%s' is %s: %s", workload_spec(workload)->name,
                                     status_name(status), reason != NULL ? reason : "");
        loop_timer_arm(rec->trial_timer, 0);
    } else if (is_of_it && status == STATUS_BACKOFF) {
        /* One that ends and is restarted does not run well: from here on it has all the time again,
         * or it would be taken for good between two crashes. */
        a->trial_end = loop_now() + trial_length(a->running);
    }
}

void trial_init(struct reconcile *rec, struct loop *loop)
{
    rec->trial_timer = loop_timer_new(loop, on_trial, rec);
}

void trial_fini(struct reconcile *rec)
{
    loop_timer_free(rec->trial_timer);
}
