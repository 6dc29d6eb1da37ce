#include "edgible/backoff.h"

mono_ms backoff_delay(mono_ms initial_ms, mono_ms max_ms, unsigned n, uint32_t random)
{
    mono_ms delay = initial_ms;
    for (unsigned i = 0; i < n && delay < max_ms; i++) {
        delay *= 2;
    }
    if (delay > max_ms) {
        delay = max_ms;
    }
    if (delay <= 0) {
        return 0;
    }
    /* A fifth either way, in steps of a thousandth, so that a fleet does not beat in step. */
    mono_ms permille = 800 + (mono_ms) (random % 401);
    return delay / 1000 * permille + delay % 1000 * permille / 1000;
}

uint32_t backoff_random(uint32_t *state)
{
    /* xorshift32: spread is wanted here, not secrecy. */
    uint32_t x = *state != 0 ? *state : 2463534242U;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    *state = x;
    return x;
}
