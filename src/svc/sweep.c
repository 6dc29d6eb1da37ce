/* Looking at processes, for all workloads at once: what is left of those that stop, and orphans
 * of any of them that have ended and wait to be reaped. */
#include "edgible/check_mark.h"
#include "edgible/killtree.h"
#include "edgible/proc.h"
#include "log_keeper.h"
#include "supervisor_private.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define LEFT_MAX 256
#define CHILDREN_MAX 65536
/* Orphans that end are reaped at most this often: each time costs a look at all children. */
#define ORPHANS_EVERY_MS 200

void cleanup_sweep_targets(struct sweep_targets *t)
{
    free(t->items);
    free(t->children);
    free(t->is_asked);
    strv_fini(&t->texts);
    cgroup_root_free(t->cgroups);
}

static int compare_pids(const void *a, const void *b)
{
    pid_t x = *(const pid_t *) a;
    pid_t y = *(const pid_t *) b;
    return (x > y) - (x < y);
}

void sweep_collect_targets(const struct supervisor *sup, struct sweep_targets *t)
{
    size_t max = map_count(sup->by_key);
    t->items = xcalloc(2 * max, sizeof(*t->items));
    t->children = xcalloc(2 * max, sizeof(*t->children));
    t->is_asked = xcalloc(2 * max, sizeof(*t->is_asked));
    list_each (it, &sup->members) {
        const struct member *m = list_entry(it, struct member, link);
        if (workload_kill_target(m->workload, &t->items[t->count])) {
            t->children[t->child_count++] = t->items[t->count].leader;
            t->is_asked[t->count] = !list_is_empty(&m->sweep_link);
            t->count++;
        }
        if (workload_check_target(m->workload, &t->items[t->count])) {
            t->children[t->child_count++] = t->items[t->count].leader;
            t->count++;
        }
    }
    qsort(t->children, t->child_count, sizeof(*t->children), compare_pids);
}

/* Clears the target after its sweep where that process is gone. A member that has no process any
 * more is no possible maker of the orphans that later sweeps find; one that started again is
 * younger than the look. */
static void follow_target(struct sweep_targets *t, const struct killtree_target *was,
                          const struct member *m)
{
    for (size_t i = 0; i < t->count; i++) {
        if (t->items[i].leader == was->leader && workload_pid(m->workload) != was->leader) {
            t->items[i] = (struct killtree_target){0};
        }
    }
}

static bool is_watched(const struct sweep_targets *t, pid_t pid)
{
    return bsearch(&pid, t->children, t->child_count, sizeof(pid), compare_pids) != NULL;
}

/* --- orphans -----------------------------------------------------------------------------------
 */

static bool is_check_under_way(const struct supervisor *sup, int64_t number)
{
    list_each (it, &sup->members) {
        const struct member *m = list_entry(it, struct member, link);
        if (workload_check_number(m->workload) == number) {
            return true;
        }
    }
    return false;
}

/* A child that is not reaped yet, so the number is its own. True where it was of a check that has
 * ended. */
static bool kill_left_of_check(const struct supervisor *sup, pid_t child)
{
    int64_t number = check_mark_of(child);
    if (number < 0 || is_check_under_way(sup, number)) {
        return false;
    }
    (void) kill(child, SIGKILL);
    return true;
}

static bool is_orphan(const struct supervisor *sup, const struct sweep_targets *t, pid_t child)
{
    return child != sup->helper && child != log_keeper_pid(sup->log_keeper) &&
           !is_watched(t, child);
}

/* Reaps the orphans that have ended, in order of their pids, as far as this turn's share goes, and
 * the rest in the next turns. False where certainly none is left. */
static bool reap_orphans(struct supervisor *sup, const struct sweep_targets *t)
{
    struct health_shared *health = &sup->health;
    bool any_lives = sup->reap_from > 0;
    if (!any_lives) {
        sup->has_child_signal = false;
        sup->reads_marks = health->has_ended;
        health->has_ended = false;
    }
    CLEANUP(free) pid_t *children = xcalloc(CHILDREN_MAX, sizeof(*children));
    size_t count = proc_list_children(children, CHILDREN_MAX);
    qsort(children, count, sizeof(*children), compare_pids);
    for (size_t i = 0; i < count; i++) {
        if (children[i] < sup->reap_from || !is_orphan(sup, t, children[i])) {
            continue;
        }
        if (!loop_share_lasts(sup->params.loop, &sup->reap_share)) {
            sup->reap_from = children[i];
            loop_timer_arm(sup->orphan_timer, loop_now());
            return true;
        }
        if (proc_reap(children[i]) == 0) {
            any_lives = true;
            /* Its children come to us with its end. */
            bool is_killed = sup->reads_marks && kill_left_of_check(sup, children[i]);
            health->has_ended = health->has_ended || is_killed;
        }
    }
    if (sup->reap_from > 0 && sup->has_child_signal) {
        sweep_orphans_soon(sup); /* it may be of one before the place where this turn began */
    }
    sup->reap_from = 0;
    return any_lives;
}

static void on_orphans(void *arg)
{
    struct supervisor *sup = arg;
    CLEANUP(sweep_targets) struct sweep_targets t = {0};
    sweep_collect_targets(sup, &t);
    (void) reap_orphans(sup, &t);
    sup->last_orphans = loop_now();
    if (sup->health.has_ended) {
        sweep_orphans_soon(sup);
    }
}

void sweep_orphans_soon(void *arg)
{
    struct supervisor *sup = arg;
    if (!loop_timer_is_armed(sup->orphan_timer)) {
        loop_timer_arm(sup->orphan_timer, sup->last_orphans + ORPHANS_EVERY_MS);
    }
}

/* SIGCHLD is a hint that some child ended. Leaders are told by their pidfds. */
static void on_child_signal(void *arg)
{
    struct supervisor *sup = arg;
    sup->has_child_signal = true;
    sweep_orphans_soon(sup);
}

/* --- looks ------------------------------------------------------------------------------------
 */

void sweep_look(struct work **slot, const struct work_params *params)
{
    *slot = work_start(params, NULL);
    if (*slot == NULL) {
        params->run(params->arg);
        params->done(params->arg);
        params->free_arg(params->arg);
    }
}

/* A look for all members in sup->swept. */
struct look {
    struct supervisor *sup; /* for the loop's thread */
    struct killtree_orders orders;
    struct sweep_targets targets; /* those there were when it began */
    struct census *census;        /* NULL: none was taken */
    struct err err;
};

static void free_look(void *arg)
{
    struct look *look = arg;
    cleanup_killtree_orders(&look->orders);
    cleanup_sweep_targets(&look->targets);
    census_free(look->census);
    free(look);
}

static void own_text(struct sweep_targets *t, const char **text)
{
    if (*text != NULL) {
        strv_add(&t->texts, *text);
        *text = t->texts.items[t->texts.count - 1];
    }
}

/* Makes the targets independent of the workloads. */
static void own_texts(struct sweep_targets *t)
{
    if (t->texts.count > 0) {
        return;
    }
    for (size_t i = 0; i < t->count; i++) {
        own_text(t, &t->items[i].application);
        own_text(t, &t->items[i].workload);
        own_text(t, &t->items[i].device);
        own_text(t, &t->items[i].cgroup);
    }
}

static void run_look(void *arg)
{
    struct look *look = arg;
    const struct sweep_targets *t = &look->targets;
    killtree_orders_send(&look->orders);
    look->census = census_take(&look->err);
    /* What is found is of no use: by now the agent may have started others. But the census keeps
     * what had to be read for it. */
    for (size_t i = 0; look->census != NULL && i < t->count; i++) {
        if (t->is_asked[i]) {
            (void) killtree_find(look->census, &t->items[i], t->items, t->count, NULL, 0);
        }
    }
}

/* --- sweeps ------------------------------------------------------------------------------------
 */

static void end_sweep_of(struct member *m, const struct census *census, const pid_t *left,
                         size_t count)
{
    cleanup_killtree_rounds(&m->rounds);
    m->rounds = (struct killtree_rounds){0};
    workload_swept(m->workload, census, left, count);
}

/* After the leader's end what is left of its tree are orphans of this process (of an adopted one:
 * of anybody), and in its cgroup: the cheap looks come first. */
static bool is_certainly_gone(const struct member *m, bool has_orphans)
{
    struct killtree_target target;
    return !workload_kill_target(m->workload, &target) ||
           (m->leader_ended && !has_orphans && !target.adopted &&
            !(workload_has_cgroup(m->workload) &&
              cgroup_is_populated(target.cgroups, target.cgroup)));
}

static void sweep_one(struct supervisor *sup, struct member *m)
{
    struct sweep_targets *t = &sup->seen_targets;
    struct killtree_target target;
    pid_t left[LEFT_MAX];
    size_t count = 1;
    if (!workload_kill_target(m->workload, &target)) {
        end_sweep_of(m, NULL, NULL, 0);
        return;
    }
    left[0] = target.leader; /* without a look what was there may be there still */
    if (sup->seen != NULL && workload_is_stubborn(m->workload) &&
        killtree_round(&m->rounds, sup->seen, &target, t->items, t->count, &sup->orders)) {
        list_add_tail(&sup->sweeps, &m->sweep_link);
        return;
    }
    if (sup->seen != NULL) {
        count = killtree_find(sup->seen, &target, t->items, t->count, left, LEFT_MAX);
    }
    end_sweep_of(m, sup->seen, left, count);
    follow_target(t, &target, m);
}

/* Those in sup->swept, as far as this turn's share goes. */
static void go_through(struct supervisor *sup)
{
    while (!list_is_empty(&sup->swept)) {
        if (!loop_share_lasts(sup->params.loop, &sup->sweep_share)) {
            own_texts(&sup->seen_targets);
            loop_timer_arm(sup->sweep_timer, 0);
            return;
        }
        struct member *m = list_entry(sup->swept.next, struct member, sweep_link);
        list_remove(&m->sweep_link);
        sweep_one(sup, m);
    }
    census_free(steal_ptr(&sup->seen));
    cleanup_sweep_targets(&sup->seen_targets);
    sup->seen_targets = (struct sweep_targets){0};
    sup->goes_through = false;
    if (!list_is_empty(&sup->sweeps) || sup->orders.count > 0) {
        loop_timer_arm(sup->sweep_timer, 0);
    }
}

static void end_look(void *arg)
{
    struct look *look = arg;
    struct supervisor *sup = look->sup;
    sup->seen = steal_ptr(&look->census);
    if (sup->seen == NULL) {
        log_warn("supervisor", "cannot look at the processes: %s", look->err.msg);
    } else {
        census_hurry(sup->seen);
    }
    /* Those there are now: all that the agent had started when the census was taken. */
    sweep_collect_targets(sup, &sup->seen_targets);
    work_free(steal_ptr(&sup->look));
    sup->goes_through = true;
    go_through(sup);
}

void sweep_collect_for_thread(const struct supervisor *sup, struct sweep_targets *t)
{
    sweep_collect_targets(sup, t);
    own_texts(t);
    t->cgroups = sup->params.cgroups != NULL ? cgroup_root_copy(sup->params.cgroups) : NULL;
    for (size_t i = 0; i < t->count; i++) {
        t->items[i].cgroups = t->items[i].cgroups != NULL ? t->cgroups : NULL;
    }
}

static void begin_look(struct supervisor *sup)
{
    struct look *look = xcalloc(1, sizeof(*look));
    look->sup = sup;
    look->orders = sup->orders;
    sup->orders = (struct killtree_orders){0};
    sweep_collect_for_thread(sup, &look->targets);
    struct work_params work = {.loop = sup->params.loop,
                               .run = run_look,
                               .done = end_look,
                               .free_arg = free_look,
                               .arg = look};
    sweep_look(&sup->look, &work);
}

/* Moves all requested sweeps to a list of their own: requests made meanwhile wait for the next
 * pass. Notes which leaders have ended before the orphans are counted, since each end can make
 * orphans. */
static void take_requests(struct supervisor *sup)
{
    while (!list_is_empty(&sup->sweeps)) {
        struct member *m = list_entry(sup->sweeps.next, struct member, sweep_link);
        struct killtree_target target;
        m->leader_ended = workload_kill_target(m->workload, &target) && proc_is_dead(target.leader);
        list_remove(&m->sweep_link);
        list_add_tail(&sup->swept, &m->sweep_link);
    }
}

/* Without a look where that is certain. */
static void settle_gone(struct supervisor *sup)
{
    CLEANUP(sweep_targets) struct sweep_targets t = {0};
    sweep_collect_targets(sup, &t);
    bool has_orphans = reap_orphans(sup, &t);
    list_each (it, &sup->swept) {
        struct member *m = list_entry(it, struct member, sweep_link);
        if (is_certainly_gone(m, has_orphans)) {
            list_remove(&m->sweep_link);
            end_sweep_of(m, NULL, NULL, 0);
        }
    }
}

static void on_sweep(void *arg)
{
    struct supervisor *sup = arg;
    if (sup->look != NULL) {
        return; /* its end comes here again */
    }
    if (sup->goes_through) {
        go_through(sup);
        return;
    }
    take_requests(sup);
    settle_gone(sup);
    if (!list_is_empty(&sup->swept) || sup->orders.count > 0) {
        begin_look(sup);
    }
}

void sweep_request(void *arg, struct workload *workload)
{
    struct supervisor *sup = arg;
    CLEANUP(free)
    char *key = xasprintf("%s/%s", workload_application(workload), workload_spec(workload)->name);
    struct member *m = map_get(sup->by_key, key);
    if (m != NULL && list_is_empty(&m->sweep_link)) {
        list_add_tail(&sup->sweeps, &m->sweep_link);
        if (sup->look == NULL && !loop_timer_is_armed(sup->sweep_timer)) {
            loop_timer_arm(sup->sweep_timer, 0);
        }
    }
}

void sweep_init(struct supervisor *sup)
{
    sup->sweep_timer = loop_timer_new(sup->params.loop, on_sweep, sup);
    sup->orphan_timer = loop_timer_new(sup->params.loop, on_orphans, sup);
    sup->child_signal = loop_signal_new(sup->params.loop, SIGCHLD, on_child_signal, sup);
}

void sweep_fini(struct supervisor *sup)
{
    work_free(sup->look);
    census_free(sup->seen);
    cleanup_sweep_targets(&sup->seen_targets);
    cleanup_killtree_orders(&sup->orders);
    loop_timer_free(sup->sweep_timer);
    loop_timer_free(sup->orphan_timer);
    loop_signal_free(sup->child_signal);
}
