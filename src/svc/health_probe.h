/*
 * health_probe: one health check that is under way.
 */
#ifndef EDGIBLE_SVC_HEALTH_PROBE_H
#define EDGIBLE_SVC_HEALTH_PROBE_H

#include "edgible/err.h"
#include "edgible/workload.h"

struct health_probe;

/* trouble is NULL where it passed, else a sentence; borrowed. err: it could not be made after all;
 * else NULL. The probe may be freed here. */
typedef void health_probe_fn(void *arg, const char *trouble, const struct err *err);

/* done is called once, from the loop, at the latest after the check's timeout, unless the probe is
 * freed before. NULL where it cannot be made now: the machine's fault, or the specification's
 * (ERR_SPEC). */
struct health_probe *health_probe_new(const struct workload *workload, health_probe_fn *done,
                                      void *arg, struct err *err);
void health_probe_free(struct health_probe *probe);
/* What it is to run is being looked up, and judged by the policy of its beginning. */
bool health_probe_looks(const struct health_probe *probe);
/* The process of one that runs a command; 0: none. */
pid_t health_probe_pid(const struct health_probe *probe);
/* Its number where it is a command that runs; else -1. */
int64_t health_probe_number(const struct health_probe *probe);

#endif
