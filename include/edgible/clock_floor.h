/*
 * clock_floor: what the time of day cannot be before. A device without a battery for its clock
 * begins in 1970; what cannot wait until it is set, such as the validity of certificates, is judged
 * at the floor. Any thread may call these.
 */
#ifndef EDGIBLE_CLOCK_FLOOR_H
#define EDGIBLE_CLOCK_FLOOR_H

#include <stdbool.h>
#include <stdint.h>

enum clock_floor_source {
    CLOCK_FLOOR_BUILD,  /* the version's date */
    CLOCK_FLOOR_RECORD, /* the newest record in stateDir */
    CLOCK_FLOOR_DATE,   /* the last Date of the control plane, by verified TLS */
    CLOCK_FLOOR_SET,    /* the newest signed set */
    CLOCK_FLOOR_SOURCES,
};

/* Milliseconds since 1970. What a source says replaces what it said before; what is before the
 * build, or after 2099, is passed over. */
void clock_floor_put(enum clock_floor_source source, int64_t unix_ms);
/* 0: it has said nothing. */
int64_t clock_floor_of(enum clock_floor_source source);
/* The newest of all. */
int64_t clock_floor_ms(enum clock_floor_source *ret_source);

/* False where the time of day is more than CLOCK_FLOOR_SLACK_MS before the floor: two clocks that
 * are set are never quite the same. */
#define CLOCK_FLOOR_SLACK_MS (INT64_C(3600) * 1000)
bool clock_is_set(void);
/* The time of day, or the floor where that is later. */
int64_t clock_at_least_floor_ms(void);
/* A sentence on a clock that is not set; NULL where it is. The caller frees. */
char *clock_floor_explain(void);

#endif
