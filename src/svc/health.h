/*
 * health: the health checks of workloads: when one is due, what it says, and what is made of it.
 * One that runs has at most one check under way; a workload without a check has nothing of this.
 */
#ifndef EDGIBLE_SVC_HEALTH_H
#define EDGIBLE_SVC_HEALTH_H

#include "edgible/workload.h"

struct health;

/* It runs from now on, and is checked; was_healthy: an earlier agent saw it pass. */
struct health *health_new(struct workload *workload, bool was_healthy);
/* A check that is under way is ended; NULL is fine. */
void health_free(struct health *health);

/* The policy is another one: a program that was not started yet is judged anew. */
void health_follow_policy(struct health *health);
bool health_is_healthy(const struct health *health);
bool health_is_unhealthy(const struct health *health);
/* Checks that failed, in a row. */
int64_t health_failures(const struct health *health);
/* What the last check that failed said; NULL: none did since one passed. */
const char *health_trouble(const struct health *health);
/* Why no check can be made just now: "cannot be checked: …"; NULL: one can. Borrowed. */
const char *health_uncheckable(const struct health *health);
/* The process of the check under way, 0: none. Who made it reaps it. */
pid_t health_pid(const struct health *health);
int64_t health_number(const struct health *health);

#endif
