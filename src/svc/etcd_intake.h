/*
 * etcd_intake: answers of etcd and lines of its stream, one after the other. Long ones are taken
 * apart on a thread beside the loop, and what comes meanwhile waits, and is taken in turns.
 */
#ifndef EDGIBLE_ETCD_INTAKE_H
#define EDGIBLE_ETCD_INTAKE_H

#include "edgible/etcd_wire.h"
#include "edgible/loop.h"

struct work;

/* answer may be taken apart by who gets it; err: NULL, or why the text is none. */
typedef void etcd_intake_fn(void *arg, struct etcd_answer *answer, const struct err *err);

struct etcd_intake {
    struct loop *loop; /* borrowed */
    etcd_intake_fn *fn;
    void *arg;
    struct work *work;       /* the text that is taken apart; NULL: none */
    struct buf *waiting;     /* texts */
    size_t count, bytes;     /* of waiting */
    size_t begun_bytes;      /* of the text that is taken apart */
    bool is_held;            /* by etcd_intake_hold() */
    struct loop_timer *turn; /* the next, for what waits; NULL: there was none yet */
    struct loop_share share; /* of a turn, for what waits */
};

void etcd_intake_init(struct etcd_intake *intake, struct loop *loop, etcd_intake_fn *fn, void *arg);
/* Drops all that waits or is under way. Also at the end. */
void etcd_intake_clear(struct etcd_intake *intake);

/* Takes the text over. fn is called for a short one inside this call, else from the loop. EFBIG
 * where what is taken apart and what waits are together longer than one text may be. */
int etcd_intake_add(struct etcd_intake *intake, struct buf *take_text, struct err *err) MUST_CHECK;
/* From fn: what waits goes on waiting until it is released; then fn is called inside that call for
 * what fits into this turn, else from the loop. */
void etcd_intake_hold(struct etcd_intake *intake);
void etcd_intake_release(struct etcd_intake *intake);
bool etcd_intake_is_idle(const struct etcd_intake *intake);

#endif
