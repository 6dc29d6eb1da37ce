/*
 * clock_record: what the time of day cannot be before is kept over restarts.
 */
#ifndef EDGIBLE_CLOCK_RECORD_H
#define EDGIBLE_CLOCK_RECORD_H

#include "edgible/persist.h"

#include <stdint.h>

/* Of an earlier agent; says so where the clock is not set. */
void clock_record_restore(struct persist *persist);
/* Puts what a control plane has told of the time, where the record is more than a day older. */
void clock_record_keep(struct persist *persist);
/* A signed set was accepted; at: when it was signed, in seconds since 1970, 0: not known.
 * persist: NULL where nothing is kept. */
void clock_record_put_set(struct persist *persist, int64_t at);

#endif
