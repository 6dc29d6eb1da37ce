#include "edgible/clock.h"

#include <time.h>

int64_t clock_unix_ms(void)
{
    struct timespec ts;
    (void) clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

struct clock_moment clock_moment_now(void)
{
    struct timespec ts;
    (void) clock_gettime(CLOCK_BOOTTIME, &ts);
    return (struct clock_moment){
        .unix_ms = clock_unix_ms(),
        .boot_ms = (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000,
    };
}

int64_t clock_moment_shown(const struct clock_moment *moment, const struct clock_moment *now)
{
    if (moment->boot_ms == 0) {
        return moment->unix_ms;
    }
    int64_t by_boot = now->unix_ms - now->boot_ms + moment->boot_ms;
    int64_t difference = by_boot - moment->unix_ms;
    return difference > -1000 && difference < 1000 ? moment->unix_ms : by_boot;
}

int64_t clock_moment_unix_ms(const struct clock_moment *moment)
{
    const struct clock_moment now = clock_moment_now();
    return clock_moment_shown(moment, &now);
}
