#include "health.h"

#include "edgible/backoff.h"
#include "edgible/log.h"
#include "health_probe.h"
#include "workload_private.h"

#include <stdlib.h>
#include <string.h>

/* One that was never healthy is looked at sooner at first, so that what waits for it starts soon.
 */
#define FIRST_MS 100
/* Where as many checks are under way as may be: so long later. */
#define POSTPONE_MS 50

enum health_state { HEALTH_UNKNOWN, HEALTH_PASSES, HEALTH_FAILS };

struct health {
    struct workload *workload;
    struct loop_timer *timer;
    struct health_probe *probe; /* NULL: none is under way */
    enum health_state state;
    mono_ms counted_at; /* when a failure was counted last: they count an interval apart */
    mono_ms delay_ms;   /* until the next one, while it was never healthy */
    int64_t failures, successes;
    uint32_t random;
    char *trouble;     /* of the last check that failed; NULL: none did since one passed */
    char *uncheckable; /* why it cannot be checked just now; NULL: it can */
};

static const struct health_check *check_of(const struct health *health)
{
    return &health->workload->spec.health;
}

/* A whole interval from about now on, plus or minus part of it. */
static mono_ms spread(struct health *health, int64_t parts)
{
    mono_ms interval = check_of(health)->interval_ms;
    mono_ms width = interval / parts;
    uint32_t random = backoff_random(&health->random);
    return interval - width + (width > 0 ? (mono_ms) (random % (uint64_t) (2 * width + 1)) : 0);
}

/* Of a check that runs a program, as the policy has it. */
static mono_ms shortest(const struct health *health)
{
    mono_ms least = health->workload->ctx->policy->min_restart_delay_ms;
    return check_of(health)->kind == HEALTH_EXEC && least != UNSET ? least : 0;
}

static void plan_next(struct health *health)
{
    mono_ms delay = 0;
    if (health->state == HEALTH_UNKNOWN) {
        delay = health->delay_ms;
        mono_ms longer = 2 * health->delay_ms;
        health->delay_ms =
            longer < check_of(health)->interval_ms ? longer : check_of(health)->interval_ms;
    } else {
        delay = spread(health, 10);
    }
    delay = delay > shortest(health) ? delay : shortest(health);
    loop_timer_arm(health->timer, loop_now() + delay);
}

static void end_probe(struct health *health)
{
    if (health->probe != NULL) {
        health_probe_free(steal_ptr(&health->probe));
        health->workload->ctx->health->under_way--;
    }
}

static void passed(struct health *health)
{
    health->failures = 0;
    free(steal_ptr(&health->trouble));
    if (health->state == HEALTH_PASSES || ++health->successes < check_of(health)->successes) {
        plan_next(health);
        return;
    }
    health->state = HEALTH_PASSES;
    /* The first pause is of any length, so that those that began together do not stay so. */
    loop_timer_arm(health->timer, loop_now() + spread(health, 2));
    workload_on_health(health->workload);
}

static bool counts(const struct health *health, mono_ms now)
{
    const struct health_check *check = check_of(health);
    bool is_starting = health->state == HEALTH_UNKNOWN &&
                       now < health->workload->fsm.started_at + check->start_period_ms;
    /* Those that come sooner, as they do at first, are not more proof. */
    return !is_starting && now - health->counted_at >= check->interval_ms * 8 / 10;
}

static void failed(struct health *health, const char *trouble)
{
    mono_ms now = loop_now();
    health->successes = 0;
    free(health->trouble);
    health->trouble = xstrdup(trouble);
    if (counts(health, now)) {
        health->counted_at = now;
        health->failures++;
    }
    plan_next(health);
    if (health->state != HEALTH_FAILS && health->failures >= check_of(health)->failures) {
        health->state = HEALTH_FAILS;
        workload_on_health(health->workload); /* may free us */
    }
}

/* The machine's fault says nothing of the workload, nor does a policy that has become stricter:
 * that stops nothing that runs. */
static void could_not_check(struct health *health, const struct err *err)
{
    char text[ERR_MSG_MAX];
    if (err->code == ERR_SPEC && health->state != HEALTH_PASSES) {
        failed(health, err->msg);
        return;
    }
    CLEANUP(free)
    char *reason = xasprintf("cannot be checked: %s", err_text(err, text, sizeof(text)));
    if (health->uncheckable == NULL || strcmp(health->uncheckable, reason) != 0) {
        log_warn("health", "%s/%s %s; this is tried again at each interval",
                 health->workload->application, health->workload->spec.name, reason);
        free(health->uncheckable);
        health->uncheckable = steal_ptr(&reason);
    }
    loop_timer_arm(health->timer, loop_now() + spread(health, 10));
}

static void on_probe(void *arg, const char *trouble, const struct err *err)
{
    struct health *health = arg;
    CLEANUP(free) char *copy = xstrdup_or_null(trouble);
    end_probe(health);
    if (err == NULL) {
        free(steal_ptr(&health->uncheckable));
    }
    if (err != NULL) {
        could_not_check(health, err);
    } else if (copy == NULL) {
        passed(health);
    } else {
        failed(health, copy);
    }
}

static void on_due(void *arg)
{
    struct health *health = arg;
    struct health_shared *shared = health->workload->ctx->health;
    struct err err = {0};
    if (shared->under_way >= shared->max_under_way) {
        mono_ms more = (mono_ms) (backoff_random(&health->random) % POSTPONE_MS);
        loop_timer_arm(health->timer, loop_now() + POSTPONE_MS + more);
        return;
    }
    /* What it runs is opened and judged like a start, and takes as long. */
    const struct workload_ctx *ctx = health->workload->ctx;
    if (!loop_share_lasts(ctx->loop, ctx->launches)) {
        loop_timer_arm(health->timer, loop_now()); /* in one of the next turns */
        return;
    }
    health->probe = health_probe_new(health->workload, on_probe, health, &err);
    if (health->probe != NULL) {
        shared->under_way++;
    } else {
        could_not_check(health, &err);
    }
}

struct health *health_new(struct workload *workload, bool was_healthy)
{
    struct health *health = xcalloc(1, sizeof(*health));
    const struct health_check *check = &workload->spec.health;
    health->workload = workload;
    health->state = was_healthy ? HEALTH_PASSES : HEALTH_UNKNOWN;
    health->counted_at = loop_now();
    health->delay_ms = FIRST_MS < check->interval_ms ? FIRST_MS : check->interval_ms;
    health->random = (uint32_t) ((uintptr_t) health >> 4) ^ (uint32_t) loop_now();
    health->timer = loop_timer_new(workload->ctx->loop, on_due, health);
    if (was_healthy) {
        loop_timer_arm(health->timer, loop_now() + spread(health, 1));
    } else {
        plan_next(health);
    }
    return health;
}

void health_free(struct health *health)
{
    if (health != NULL) {
        end_probe(health);
        loop_timer_free(health->timer);
        free(health->trouble);
        free(health->uncheckable);
        free(health);
    }
}

void health_follow_policy(struct health *health)
{
    if (health->probe != NULL && health_probe_looks(health->probe)) {
        end_probe(health);
        plan_next(health);
    }
}

bool health_is_healthy(const struct health *health)
{
    return health->state == HEALTH_PASSES;
}

bool health_is_unhealthy(const struct health *health)
{
    return health->state == HEALTH_FAILS;
}

int64_t health_failures(const struct health *health)
{
    return health->failures;
}

const char *health_trouble(const struct health *health)
{
    return health->trouble;
}

const char *health_uncheckable(const struct health *health)
{
    return health->uncheckable;
}

int64_t health_number(const struct health *health)
{
    return health->probe != NULL ? health_probe_number(health->probe) : -1;
}

pid_t health_pid(const struct health *health)
{
    return health->probe != NULL ? health_probe_pid(health->probe) : 0;
}
