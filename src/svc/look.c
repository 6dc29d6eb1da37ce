#include "look.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

/* An exec of the agent has to wait for every thread. */
#define LONG_MS 1000

/* A thread that is under way. */
static struct {
    _Atomic uint32_t who; /* the user's ID and one; 0: none */
    mono_ms since;        /* the loop's */
} slots[LOOKS_MAX];

struct look {
    struct work_params params;
    _Atomic uint32_t *slot;
};

static void run(void *arg)
{
    const struct look *look = arg;
    look->params.run(look->params.arg);
    atomic_store(look->slot, 0); /* what it found may be kept for long */
}

static void done(void *arg)
{
    const struct look *look = arg;
    look->params.done(look->params.arg);
}

static void free_look(void *arg)
{
    struct look *look = arg;
    look->params.free_arg(look->params.arg);
    free(look);
}

/* A free one, LOOKS_MAX where the user may have no more. */
static size_t find_slot(uint32_t who, struct err *err)
{
    size_t free_slot = LOOKS_MAX;
    unsigned own = 0, own_young = 0, all_young = 0;
    mono_ms now = loop_now();
    for (size_t i = 0; i < LOOKS_MAX; i++) {
        uint32_t other = atomic_load(&slots[i].who);
        unsigned young = other != 0 && now - slots[i].since < LOOK_MS;
        free_slot = other == 0 ? i : free_slot;
        own += other == who;
        own_young += other == who ? young : 0;
        all_young += young;
    }
    bool is_users = own >= LOOKS_OF_USER_MAX;
    if (!is_users && free_slot < LOOKS_MAX) {
        return free_slot;
    }
    (void) err_set(err, (is_users ? own_young : all_young) > 0 ? EBUSY : ERR_HOST,
                   "%d paths of workloads%s have not answered for %d s, and no more are looked up: "
                   "find out which file system hangs, or who keeps the lock of a folder",
                   is_users ? LOOKS_OF_USER_MAX : LOOKS_MAX, is_users ? " of its user" : "",
                   LOOK_MS / 1000);
    return LOOKS_MAX;
}

struct work *look_start(const struct work_params *params, uid_t user, mono_ms wait, bool *ret_over,
                        struct err *err)
{
    size_t slot = find_slot((uint32_t) user + 1, err);
    if (slot == LOOKS_MAX) {
        return NULL;
    }
    struct look *look = xcalloc(1, sizeof(*look));
    look->params = *params;
    look->slot = &slots[slot].who;
    const struct work_params own = {
        .loop = params->loop, .run = run, .done = done, .free_arg = free_look, .arg = look};
    slots[slot].since = loop_now();
    atomic_store(look->slot, (uint32_t) user + 1);
    struct work *work = work_start(&own, err);
    if (work == NULL) {
        atomic_store(look->slot, 0);
        free(look);
        return NULL;
    }
    *ret_over = work_wait(work, wait);
    return work;
}

bool look_any_hangs(void)
{
    for (size_t i = 0; i < LOOKS_MAX; i++) {
        if (atomic_load(&slots[i].who) != 0 && loop_now() - slots[i].since >= LONG_MS) {
            return true;
        }
    }
    return false;
}
