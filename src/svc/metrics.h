/*
 * metrics: the device in the text format of Prometheus. Labels are names of applications and
 * workloads, statuses and reasons: as many as there are workloads, times a fixed number.
 */
#ifndef EDGIBLE_METRICS_H
#define EDGIBLE_METRICS_H

#include "edgible/buf.h"
#include "edgible/events.h"
#include "edgible/loop.h"
#include "edgible/overview.h"
#include "edgible/persist.h"

struct metrics_params {
    struct loop *loop;
    const struct device_report *device; /* with resources */
    const struct supervisor *supervisor;
    const struct events *events;
    struct persist *persist;
    const struct source *source; /* NULL: none */
    int64_t started_unix_ms;
};

void metrics_print(const struct metrics_params *params, struct buf *out);

#endif
