/*
 * clock: the time of day, for what is shown to people. Decisions are taken by loop_now().
 */
#ifndef EDGIBLE_CLOCK_H
#define EDGIBLE_CLOCK_H

#include <stdint.h>

/* Milliseconds since 1970. */
int64_t clock_unix_ms(void);

#endif
