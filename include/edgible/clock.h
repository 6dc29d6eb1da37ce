/*
 * clock: the time of day, for what is shown to people. Decisions are taken by loop_now().
 */
#ifndef EDGIBLE_CLOCK_H
#define EDGIBLE_CLOCK_H

#include <stdint.h>

/* Milliseconds since 1970. */
int64_t clock_unix_ms(void);

/* A moment by both clocks: a device without a battery for its clock begins in 1970, and is set
 * later. */
struct clock_moment {
    int64_t unix_ms; /* as the time of day was then */
    int64_t boot_ms; /* CLOCK_BOOTTIME; 0: not known */
};

struct clock_moment clock_moment_now(void);
/* The moment's time of day as the clock is set at `now`. What it was then stays while both clocks
 * agree within a second, so that it does not waver. Pure. */
int64_t clock_moment_shown(const struct clock_moment *moment, const struct clock_moment *now);
/* clock_moment_shown() as the clock is set at present. */
int64_t clock_moment_unix_ms(const struct clock_moment *moment);

#endif
