#include "edgible/link_fsm.h"

#define FIRST_MAX_MS 30000
#define RETRY_FIRST_MS 1000
#define RETRY_MAX_MS 300000
#define RETRY_MIN_MS 50
/* An unchanged answer after so long was held. One of a server that answered at once before was
 * slow, more likely: taking that for holding would ask a server more that has too much to do. */
#define HELD_MS 5000
#define HELD_SURELY_MS 25000
/* Between the beginnings of two requests to a server that holds them, where all is changing. */
#define PACE_MS 500
/* A server whose answers differ each time, as by a time of day in them, does not hold them. */
#define HASTY_MAX 10

#define REREAD_MS 5000
#define REREAD_SELDOM_MS 600000

/* splitmix64: good enough to spread a fleet. */
static uint64_t next_chance(struct link_fsm *fsm)
{
    fsm->chance += 0x9e3779b97f4a7c15U;
    uint64_t z = fsm->chance;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

static mono_ms up_to(struct link_fsm *fsm, mono_ms max)
{
    return max > 0 ? (mono_ms) (next_chance(fsm) % ((uint64_t) max + 1)) : 0;
}

void link_fsm_init(struct link_fsm *fsm, uint64_t seed)
{
    *fsm = (struct link_fsm){.chance = seed};
}

mono_ms link_fsm_first(struct link_fsm *fsm, mono_ms interval_ms, bool has_work)
{
    mono_ms max = interval_ms < FIRST_MAX_MS ? interval_ms : FIRST_MAX_MS;
    return has_work ? up_to(fsm, max) : 0;
}

mono_ms link_fsm_spread(struct link_fsm *fsm, mono_ms interval_ms)
{
    return interval_ms - interval_ms / 10 + up_to(fsm, interval_ms / 5);
}

mono_ms link_fsm_phase(struct link_fsm *fsm, mono_ms interval_ms)
{
    return up_to(fsm, interval_ms);
}

void link_fsm_on_success(struct link_fsm *fsm)
{
    fsm->failures = 0;
}

mono_ms link_fsm_on_failure(struct link_fsm *fsm, mono_ms retry_after_ms)
{
    mono_ms max = RETRY_FIRST_MS;
    for (unsigned i = 0; i < fsm->failures && max < RETRY_MAX_MS; i++) {
        max *= 2;
    }
    fsm->failures++;
    mono_ms wait = up_to(fsm, max < RETRY_MAX_MS ? max : RETRY_MAX_MS);
    if (retry_after_ms >= 0) {
        mono_ms asked =
            retry_after_ms < LINK_MAX_RETRY_AFTER_MS ? retry_after_ms : LINK_MAX_RETRY_AFTER_MS;
        /* All who were told the same must not come back in the same moment. */
        mono_ms after = asked + up_to(fsm, asked / 10 + RETRY_FIRST_MS);
        wait = after > wait ? after : wait;
    }
    return wait > RETRY_MIN_MS ? wait : RETRY_MIN_MS;
}

mono_ms link_fsm_on_reread(struct link_fsm *fsm, mono_ms since_ms)
{
    mono_ms wait = REREAD_MS;
    fsm->rereads = since_ms < REREAD_SELDOM_MS ? fsm->rereads : 0;
    for (unsigned i = 0; i < fsm->rereads && wait < RETRY_MAX_MS; i++) {
        wait *= 2;
    }
    bool is_first = fsm->rereads++ == 0;
    if (is_first && since_ms > REREAD_MS) {
        return 0;
    }
    return wait < RETRY_MAX_MS ? wait : RETRY_MAX_MS;
}

static void learn(struct link_fsm *fsm, const struct link_answer *answer)
{
    fsm->hasty = answer->is_changed && answer->took_ms < PACE_MS ? fsm->hasty + 1 : 0;
    mono_ms held = fsm->waits == LINK_WAITS_NOT ? HELD_SURELY_MS : HELD_MS;
    if (answer->is_wait_applied || (!answer->is_changed && answer->took_ms >= held)) {
        fsm->waits = LINK_WAITS;
    } else if (!answer->is_changed || fsm->hasty > HASTY_MAX) {
        fsm->waits = LINK_WAITS_NOT;
    }
}

mono_ms link_fsm_on_answer(struct link_fsm *fsm, const struct link_answer *answer,
                           mono_ms interval_ms)
{
    fsm->failures = 0;
    learn(fsm, answer);
    if (fsm->waits == LINK_WAITS_NOT) {
        bool is_first = !fsm->is_phased;
        fsm->is_phased = true;
        return is_first ? link_fsm_phase(fsm, interval_ms) : link_fsm_spread(fsm, interval_ms);
    }
    return answer->took_ms < PACE_MS ? PACE_MS - answer->took_ms : 0;
}
