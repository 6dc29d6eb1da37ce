#include "edgible/clock_floor.h"

#include "edgible/clock.h"
#include "edgible/mem.h"
#include "edgible/parse.h"

#include <stdatomic.h>
#include <stddef.h>

#define BUILD_MS ((int64_t) EDGIBLE_BUILD_TIME * 1000)
/* A clock or a server that says more is broken. */
#define MAX_MS (INT64_C(4102444800) * 1000)

/* There is one time of day for all of a process. */
static _Atomic int64_t floors[CLOCK_FLOOR_SOURCES] = {[CLOCK_FLOOR_BUILD] = BUILD_MS};

static const char *const names[] = {
    [CLOCK_FLOOR_BUILD] = "this version of the agent was made",
    [CLOCK_FLOOR_RECORD] = "the newest record in stateDir was written",
    [CLOCK_FLOOR_DATE] = "the control plane last told its time",
    [CLOCK_FLOOR_SET] = "the newest signed set was signed",
};

void clock_floor_put(enum clock_floor_source source, int64_t unix_ms)
{
    if (unix_ms >= BUILD_MS && unix_ms < MAX_MS) {
        atomic_store(&floors[source], unix_ms);
    }
}

int64_t clock_floor_of(enum clock_floor_source source)
{
    return atomic_load(&floors[source]);
}

int64_t clock_floor_ms(enum clock_floor_source *ret_source)
{
    int64_t floor_ms = 0;
    for (int i = 0; i < CLOCK_FLOOR_SOURCES; i++) {
        int64_t ms = atomic_load(&floors[i]);
        if (ms > floor_ms) {
            floor_ms = ms;
            *ret_source = (enum clock_floor_source) i;
        }
    }
    return floor_ms;
}

bool clock_is_set(void)
{
    enum clock_floor_source unused;
    return clock_unix_ms() >= clock_floor_ms(&unused) - CLOCK_FLOOR_SLACK_MS;
}

int64_t clock_at_least_floor_ms(void)
{
    enum clock_floor_source unused;
    int64_t floor_ms = clock_floor_ms(&unused);
    int64_t now_ms = clock_unix_ms();
    return now_ms > floor_ms ? now_ms : floor_ms;
}

char *clock_floor_explain(void)
{
    enum clock_floor_source source = CLOCK_FLOOR_BUILD;
    char now[48];
    char floor[48];
    int64_t floor_ms = clock_floor_ms(&source);
    if (clock_is_set()) {
        return NULL;
    }
    return xasprintf("clock: unset: it says %s, which is before %s, when %s; set it (NTP); until "
                     "then certificates are judged as of %s",
                     format_rfc3339(clock_unix_ms(), now, sizeof(now)),
                     format_rfc3339(floor_ms, floor, sizeof(floor)), names[source], floor);
}
