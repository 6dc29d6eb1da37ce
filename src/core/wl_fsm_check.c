/* What holds of a machine between any two steps. */
#include "edgible/wl_fsm.h"

#include <stddef.h>

static bool needs_process(enum wl_state state)
{
    return state == WL_RUNNING || state == WL_STOPPING || state == WL_ENDING || state == WL_KILLING;
}

static bool needs_deadline(enum wl_state state)
{
    return state == WL_STOPPING || state == WL_ENDING || state == WL_KILLING || state == WL_BACKOFF;
}

bool wl_fsm_uses_deadline(const struct wl_fsm *fsm)
{
    return needs_deadline(fsm->state) || fsm->state == WL_FAILED ||
           (fsm->state == WL_STARTING && !fsm->alive);
}

const char *wl_fsm_broken(const struct wl_fsm *fsm)
{
    if (needs_process(fsm->state) && !fsm->alive) {
        return "a state that needs a process has none";
    }
    if (fsm->alive && !needs_process(fsm->state) && fsm->state != WL_STARTING) {
        return "a process in a state without one";
    }
    if (fsm->leader_exited && !fsm->alive) {
        return "an exit without a process";
    }
    if (needs_deadline(fsm->state) && fsm->deadline == 0) {
        return "a state without a way out: no deadline";
    }
    if (!wl_fsm_uses_deadline(fsm) && fsm->deadline != 0) {
        return "a deadline in a state that waits for none";
    }
    if (fsm->state == WL_STOPPED && fsm->wanted) {
        return "wanted, but at rest";
    }
    if (!fsm->wanted && (fsm->state == WL_STARTING || fsm->state == WL_RUNNING ||
                         fsm->state == WL_BACKOFF || fsm->state == WL_FAILED)) {
        return "not wanted, but not stopping";
    }
    return NULL;
}

bool wl_fsm_is_at_rest(const struct wl_fsm *fsm)
{
    return fsm->state == WL_STOPPED || fsm->state == WL_COMPLETED || fsm->state == WL_FAILED;
}
