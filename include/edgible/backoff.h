/*
 * backoff: how long to wait before try number n. Pure.
 */
#ifndef EDGIBLE_BACKOFF_H
#define EDGIBLE_BACKOFF_H

#include "edgible/parse.h"

#include <stdint.h>

/* min(max_ms, initial_ms · 2ⁿ), then ± 20 % by `random`, any 32 random bits. Never negative. */
mono_ms backoff_delay(mono_ms initial_ms, mono_ms max_ms, unsigned n, uint32_t random);

/* The next of a sequence of pseudo-random numbers; *state is never 0 afterwards. */
uint32_t backoff_random(uint32_t *state);

#endif
