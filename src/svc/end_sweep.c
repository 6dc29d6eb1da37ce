/* The end of the agent: workloads that cannot be ended are given up after a while, and once all
 * others are gone, every child of the agent is ended, whoever made it. */
#include "edgible/buf.h"
#include "edgible/killtree.h"
#include "edgible/log.h"
#include "edgible/proc.h"
#include "supervisor_private.h"

#include <signal.h>
#include <stdlib.h>

/* From SIGTERM to SIGKILL. */
#define TERM_MS 1000
/* From SIGTERM until the agent ends in any case; less where a workload was given up, since its
 * processes have had their time. */
#define WHOLE_MS 10000
#define WHOLE_AFTER_GIVING_UP_MS 2000
/* How long SIGKILL, or closing the log, may take for one workload. */
#define MEMBER_MS 10000
/* How long the look that names them may take at the most. */
#define LAST_LOOK_MS 1000
#define MEMBERS_LOOK_MS 500
#define FIRST_LOOK_MS 5
#define LOOK_MAX_MS 250
#define LEFT_MAX 4096
#define NAMED_MAX 10

/* "PID 12 (in 'do_wait'), PID 13 (of uid 0, which the agent is not allowed to signal) and 3 more";
 * the caller frees. */
static char *name_processes(const pid_t *pids, size_t count)
{
    CLEANUP(buf) struct buf names = {0};
    for (size_t i = 0; i < count && i < NAMED_MAX; i++) {
        char wchan[64];
        buf_printf(&names, "%sPID %d ", i > 0 ? ", " : "", (int) pids[i]);
        if (proc_is_out_of_reach(pids[i])) {
            buf_printf(&names, "(of uid %u, which the agent is not allowed to signal)",
                       (unsigned) proc_read_uid(pids[i]));
            continue;
        }
        proc_read_wchan(pids[i], wchan, sizeof(wchan));
        buf_printf(&names, "(in '%s')", wchan[0] != '\0' ? wchan : "?");
    }
    if (count > NAMED_MAX) {
        buf_printf(&names, " and %zu more", count - NAMED_MAX);
    }
    return buf_steal(&names);
}

/* --- workloads that cannot be ended --------------------------------------------------------------
 */

bool end_sweep_has_awaited(const struct supervisor *sup)
{
    list_each (it, &sup->members) {
        if (!list_entry(it, struct member, link)->given_up) {
            return true;
        }
    }
    return false;
}

static void give_up(struct supervisor *sup, struct member *m)
{
    size_t count = 0;
    const pid_t *left = workload_left(m->workload, &count);
    m->given_up = true;
    sup->has_given_up = true;
    if (workload_is_at_rest(m->workload)) {
        log_error("supervisor", "%s is waited for no longer: its log cannot be closed", m->key);
    } else {
        CLEANUP(free) char *names = name_processes(left, count);
        log_error("supervisor", "%s is waited for no longer: the agent cannot end %s", m->key,
                  count > 0 ? names : "its first process");
    }
    supervisor_bury_soon(sup);
}

static void on_look_at_members(void *arg)
{
    struct supervisor *sup = arg;
    mono_ms now = loop_now();
    list_each (it, &sup->members) {
        struct member *m = list_entry(it, struct member, link);
        mono_ms since = workload_killing_since(m->workload);
        since = since == 0 && workload_is_at_rest(m->workload) ? m->closing_since : since;
        /* A workload that was stuck before the shutdown gets the same time. */
        mono_ms begin = since > sup->shutdown_began ? since : sup->shutdown_began;
        if (!m->given_up && since != 0 && now - begin >= MEMBER_MS) {
            give_up(sup, m);
        }
    }
    loop_timer_arm(sup->give_up_timer, now + MEMBERS_LOOK_MS);
}

/* One after the other, workloads that wait for each other would take as often as long. */
static void on_grace_over(void *arg)
{
    struct supervisor *sup = arg;
    if (end_sweep_has_awaited(sup)) {
        log_warn("supervisor", "policy.maxGracePeriod is over: what is left is killed");
        supervisor_shutdown(sup);
    }
}

void end_sweep_watch_members(struct supervisor *sup)
{
    sup->shutdown_began = loop_now();
    sup->give_up_timer = loop_timer_new(sup->params.loop, on_look_at_members, sup);
    loop_timer_arm(sup->give_up_timer, sup->shutdown_began + MEMBERS_LOOK_MS);
    if (sup->ctx.policy->max_grace_ms != UNSET) {
        sup->grace_timer = loop_timer_new(sup->params.loop, on_grace_over, sup);
        loop_timer_arm(sup->grace_timer, sup->shutdown_began + sup->ctx.policy->max_grace_ms);
    }
}

/* --- what is left --------------------------------------------------------------------------------
 */

/* One look at what is left. */
struct end_look {
    struct supervisor *sup; /* for the loop's thread */
    enum { LOOK_ONLY, SEND_TERM, SEND_KILL } what;
    bool is_late;
    bool is_blind; /* it could not look */
    struct err err;
    pid_t left[LEFT_MAX];
    size_t count;
};

static mono_ms end_bound(const struct supervisor *sup)
{
    return sup->has_given_up ? WHOLE_AFTER_GIVING_UP_MS : WHOLE_MS;
}

static void run_look(void *arg)
{
    struct end_look *look = arg;
    CLEANUP(census) struct census *census = census_take(&look->err);
    look->is_blind = census == NULL;
    if (census == NULL) {
        return;
    }
    look->count = killtree_find_descendants(census, look->left, LEFT_MAX);
    if (look->count > 0 && look->what == SEND_KILL) {
        (void) killtree_kill_descendants();
    } else if (look->what == SEND_TERM) {
        killtree_signal_pids(census, look->left, look->count, SIGTERM, 0);
    }
}

static void end_look(void *arg)
{
    struct end_look *look = arg;
    struct supervisor *sup = look->sup;
    bool is_over = look->is_late || (!look->is_blind && look->count == 0);
    if (look->is_late && look->is_blind) {
        log_warn("supervisor", "cannot look at the processes: %s", look->err.msg);
    } else if (look->is_late && look->count > 0) {
        CLEANUP(free) char *names = name_processes(look->left, look->count);
        log_error("supervisor", "the agent cannot end %s, and ends without", names);
    } else if (look->what == SEND_TERM && look->count > 0) {
        sup->end_term_sent = true;
        log_info("supervisor", "stops %zu processes that no workload owns", look->count);
    }
    work_free(steal_ptr(&sup->end_look));
    if (is_over) {
        loop_timer_disarm(sup->end_timer);
        sup->params.on_empty(sup->params.arg);
        return;
    }
    loop_timer_arm(sup->end_timer, loop_now() + sup->end_pause_ms);
    sup->end_pause_ms = sup->end_pause_ms * 2 < LOOK_MAX_MS ? sup->end_pause_ms * 2 : LOOK_MAX_MS;
}

static void on_look(void *arg)
{
    struct supervisor *sup = arg;
    mono_ms last = sup->end_began + end_bound(sup) + LAST_LOOK_MS;
    mono_ms now = loop_now();
    if (sup->end_look != NULL && now >= last) {
        log_error("supervisor", "cannot look at the processes: %s", "takes too long");
        work_free(steal_ptr(&sup->end_look));
        sup->params.on_empty(sup->params.arg);
        return;
    }
    loop_timer_arm(sup->end_timer, last); /* however long the look takes */
    if (sup->end_look != NULL) {
        return;
    }
    struct end_look *look = xcalloc(1, sizeof(*look));
    look->sup = sup;
    look->is_late = now - sup->end_began >= end_bound(sup);
    if (!look->is_late && (sup->end_hurries || now - sup->end_began >= TERM_MS)) {
        look->what = SEND_KILL;
    } else if (!look->is_late && !sup->end_term_sent) {
        look->what = SEND_TERM;
    }
    struct work_params work = {
        .loop = sup->params.loop, .run = run_look, .done = end_look, .free_arg = free, .arg = look};
    sweep_look(&sup->end_look, &work);
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
    work_free(sup->end_look);
    loop_timer_free(sup->end_timer);
    loop_timer_free(sup->give_up_timer);
    loop_timer_free(sup->grace_timer);
}
