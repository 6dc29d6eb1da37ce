/* The end of the agent: once all workloads are gone, no child of its own stays behind, whoever made
 * it. In any case this is over after a few seconds. */
#include "edgible/buf.h"
#include "edgible/killtree.h"
#include "edgible/log.h"
#include "edgible/proc.h"
#include "supervisor_private.h"

#include <signal.h>

/* From SIGTERM to SIGKILL, and to the end. */
#define TERM_MS 1000
#define WHOLE_MS 10000
#define FIRST_LOOK_MS 5
#define LOOK_MAX_MS 250
#define LEFT_MAX 4096
#define NAMED_MAX 10

static void name_left(const pid_t *pids, size_t count)
{
    CLEANUP(buf) struct buf names = {0};
    for (size_t i = 0; i < count && i < NAMED_MAX; i++) {
        char wchan[64];
        proc_read_wchan(pids[i], wchan, sizeof(wchan));
        buf_printf(&names, "%sPID %d (in '%s')", i > 0 ? ", " : "", (int) pids[i],
                   wchan[0] != '\0' ? wchan : "?");
    }
    if (count > NAMED_MAX) {
        buf_printf(&names, " and %zu more", count - NAMED_MAX);
    }
    log_error("supervisor", "processes outlive the agent, as they do not die of SIGKILL: %s",
              names.data);
}

/* True where nothing is left that the agent can or will wait for. */
static bool is_over(struct supervisor *sup, mono_ms now)
{
    struct err err = {0};
    pid_t left[LEFT_MAX];
    CLEANUP(census) struct census *census = census_take(&err);
    bool is_late = now - sup->end_began >= WHOLE_MS;
    if (census == NULL) {
        if (is_late) {
            log_warn("supervisor", "cannot look at the processes: %s", err.msg);
        }
        return is_late;
    }
    size_t count = killtree_find_descendants(census, left, LEFT_MAX);
    if (count == 0) {
        return true;
    }
    if (is_late) {
        name_left(left, count);
    } else if (sup->end_hurries || now - sup->end_began >= TERM_MS) {
        (void) killtree_kill_descendants();
    } else if (!sup->end_term_sent) {
        sup->end_term_sent = true;
        log_info("supervisor", "stops %zu processes that no workload owns", count);
        killtree_signal_pids(census, left, count, SIGTERM, 0);
    }
    return is_late;
}

static void on_look(void *arg)
{
    struct supervisor *sup = arg;
    mono_ms now = loop_now();
    if (is_over(sup, now)) {
        sup->params.on_empty(sup->params.arg);
        return;
    }
    loop_timer_arm(sup->end_timer, now + sup->end_pause_ms);
    sup->end_pause_ms = sup->end_pause_ms * 2 < LOOK_MAX_MS ? sup->end_pause_ms * 2 : LOOK_MAX_MS;
}

void end_sweep_begin(struct supervisor *sup)
{
    sup->end_timer = loop_timer_new(sup->params.loop, on_look, sup);
    sup->end_began = loop_now();
    sup->end_pause_ms = FIRST_LOOK_MS;
    loop_timer_arm(sup->end_timer, sup->end_began);
}

void end_sweep_hurry(struct supervisor *sup)
{
    sup->end_hurries = true;
    if (sup->end_timer != NULL && loop_timer_is_armed(sup->end_timer)) {
        loop_timer_arm(sup->end_timer, loop_now());
    }
}

void end_sweep_fini(struct supervisor *sup)
{
    loop_timer_free(sup->end_timer);
}
