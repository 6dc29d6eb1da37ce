#include "edgible/wl_fsm.h"

const char *wl_state_name(enum wl_state state)
{
    static const char *const names[WL_STATE_COUNT] = {
        [WL_STOPPED] = "stopped",   [WL_STARTING] = "starting",   [WL_RUNNING] = "running",
        [WL_STOPPING] = "stopping", [WL_ENDING] = "ending",       [WL_KILLING] = "killing",
        [WL_BACKOFF] = "backoff",   [WL_COMPLETED] = "completed", [WL_FAILED] = "failed",
    };
    return names[state];
}

const char *wl_event_name(enum wl_event event)
{
    static const char *const names[WL_EVENT_COUNT] = {
        [WL_EV_START] = "start",
        [WL_EV_STOP] = "stop",
        [WL_EV_RESTART] = "restart",
        [WL_EV_RENEW] = "renew",
        [WL_EV_KILL] = "kill",
        [WL_EV_SPAWNED] = "spawned",
        [WL_EV_NOT_STARTED] = "not-started",
        [WL_EV_STARTED] = "started",
        [WL_EV_EXITED] = "exited",
        [WL_EV_GONE] = "gone",
        [WL_EV_LEFT] = "left",
        [WL_EV_UNHEALTHY] = "unhealthy",
        [WL_EV_DEADLINE] = "deadline",
    };
    return names[event];
}
