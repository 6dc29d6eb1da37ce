/*
 * link_fsm: when a control plane is asked next: the first contact, intervals, a server that holds
 * requests until something changes, and what is waited after a failure. Pure: times are arguments,
 * and chance comes from a seed.
 *
 * A fleet must not beat in step: every wait carries chance.
 */
#ifndef EDGIBLE_LINK_FSM_H
#define EDGIBLE_LINK_FSM_H

#include "edgible/parse.h"

#include <stdbool.h>
#include <stdint.h>

#define LINK_WAIT_S 50 /* that a server is asked to hold a request (RFC 7240) */
#define LINK_MAX_RETRY_AFTER_MS 3600000

enum link_waits { LINK_WAITS_UNKNOWN, LINK_WAITS_NOT, LINK_WAITS };

struct link_fsm {
    uint64_t chance;       /* state of its generator */
    unsigned failures;     /* in a row */
    enum link_waits waits; /* the server holds requests */
    unsigned hasty;        /* changes in a row that came at once */
    unsigned rereads;      /* in a row that were due soon after one another */
    bool is_phased;        /* the first interval is over */
};

void link_fsm_init(struct link_fsm *fsm, uint64_t seed);

/* Milliseconds to wait in all that follow. */

/* At the start: at once where there is nothing to run yet. */
mono_ms link_fsm_first(struct link_fsm *fsm, mono_ms interval_ms, bool has_work);
/* ±10 %. */
mono_ms link_fsm_spread(struct link_fsm *fsm, mono_ms interval_ms);
/* Any part of an interval: for the first one, as what began together would else stay together. */
mono_ms link_fsm_phase(struct link_fsm *fsm, mono_ms interval_ms);
/* Between 0 and 1 s, doubling to 5 min; no sooner than the server asks, up to an hour
 * (retry_after_ms, -1: it does not). */
mono_ms link_fsm_on_failure(struct link_fsm *fsm, mono_ms retry_after_ms);

struct link_answer {
    bool is_changed;      /* other than the one before */
    bool is_wait_applied; /* it says so */
    mono_ms took_ms;
};
/* After an answer to a request that asked to be held. */
mono_ms link_fsm_on_answer(struct link_fsm *fsm, const struct link_answer *answer,
                           mono_ms interval_ms);
/* All must be read again, this long after it was read: at once where that is the first time for ten
 * minutes, else 10 s, doubling to 5 min; 5 s where it was read just now. No chance in it yet. */
mono_ms link_fsm_on_reread(struct link_fsm *fsm, mono_ms since_ms);
/* After any other success. */
void link_fsm_on_success(struct link_fsm *fsm);

#endif
