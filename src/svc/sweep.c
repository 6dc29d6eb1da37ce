/* Looking at processes, for all workloads at once: what is left of those that stop, and orphans
 * of any of them that have ended and wait to be reaped. */
#include "edgible/check_mark.h"
#include "edgible/killtree.h"
#include "edgible/proc.h"
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
    list_each (it, &sup->members) {
        const struct member *m = list_entry(it, struct member, link);
        if (workload_kill_target(m->workload, &t->items[t->count])) {
            t->children[t->child_count++] = t->items[t->count].leader;
            t->count++;
        }
        if (workload_check_target(m->workload, &t->items[t->count])) {
            t->children[t->child_count++] = t->items[t->count].leader;
            t->count++;
        }
    }
    qsort(t->children, t->child_count, sizeof(*t->children), compare_pids);
}

/* Updates the target after its sweep. A member that has no process any more is no possible maker of
 * the orphans that later sweeps find; one that started again is younger than these orphans. */
static void follow_target(struct sweep_targets *t, const struct killtree_target *was,
                          const struct member *m)
{
    for (size_t i = 0; i < t->count; i++) {
        if (t->items[i].leader == was->leader && !workload_kill_target(m->workload, &t->items[i])) {
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

/* Reaps the orphans that have ended; returns how many others live. */
static size_t reap_orphans(struct supervisor *sup, const struct sweep_targets *t)
{
    bool has_ended = sup->health.has_ended;
    sup->health.has_ended = false;
    CLEANUP(free) pid_t *children = xcalloc(CHILDREN_MAX, sizeof(*children));
    size_t count = proc_list_children(children, CHILDREN_MAX);
    size_t living = 0;
    for (size_t i = 0; i < count; i++) {
        if (children[i] != sup->helper && !is_watched(t, children[i]) &&
            proc_reap(children[i]) == 0) {
            living++;
            /* Its children come to us with its end. */
            sup->health.has_ended =
                (has_ended && kill_left_of_check(sup, children[i])) || sup->health.has_ended;
        }
    }
    return living;
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
    sweep_orphans_soon(arg);
}

/* --- sweeps ------------------------------------------------------------------------------------
 */

static size_t find_left(const struct member *m, const struct killtree_target *target,
                        const struct sweep_targets *t, struct census **census, pid_t *left)
{
    if (workload_is_stubborn(m->workload)) {
        (void) killtree_kill(target, t->items, t->count);
        census_free(steal_ptr(census));
    }
    if (*census == NULL) {
        struct err err = {0};
        *census = census_take(&err);
        if (*census == NULL) {
            /* Without a look nothing is known: what was there may be there still. */
            log_warn("supervisor", "cannot look at the processes: %s", err.msg);
            left[0] = target->leader;
            return 1;
        }
    }
    return killtree_find(*census, target, t->items, t->count, left, LEFT_MAX);
}

static void sweep_one(struct member *m, struct sweep_targets *t, bool has_orphans,
                      struct census **census)
{
    struct killtree_target target;
    pid_t left[LEFT_MAX];
    size_t count = 0;
    if (!workload_kill_target(m->workload, &target)) {
        return;
    }
    /* After the leader's end what is left of its tree are orphans of this process (of an adopted
     * one: of anybody), and in its cgroup: the cheap looks come first. */
    bool certainly_gone =
        m->leader_ended && !has_orphans && !target.adopted &&
        !(workload_has_cgroup(m->workload) && cgroup_is_populated(target.cgroups, target.cgroup));
    if (!certainly_gone) {
        count = find_left(m, &target, t, census, left);
    }
    workload_swept(m->workload, *census, left, count);
    follow_target(t, &target, m);
}

/* Moves all requested sweeps to a list of their own: requests made meanwhile wait for the next
 * pass. Notes which leaders have ended before the orphans are counted, since each end can make
 * orphans. */
static void take_requests(struct supervisor *sup, struct list *now)
{
    list_init(now);
    while (!list_is_empty(&sup->sweeps)) {
        struct member *m = list_entry(sup->sweeps.next, struct member, sweep_link);
        struct killtree_target target;
        m->leader_ended = workload_kill_target(m->workload, &target) && proc_is_dead(target.leader);
        list_remove(&m->sweep_link);
        list_add_tail(now, &m->sweep_link);
    }
}

static void on_sweep(void *arg)
{
    struct supervisor *sup = arg;
    CLEANUP(sweep_targets) struct sweep_targets t = {0};
    CLEANUP(census) struct census *census = NULL;
    struct list now;
    take_requests(sup, &now);
    sweep_collect_targets(sup, &t);
    bool has_orphans = reap_orphans(sup, &t) > 0;
    while (!list_is_empty(&now)) {
        struct member *m = list_entry(now.next, struct member, sweep_link);
        list_remove(&m->sweep_link);
        sweep_one(m, &t, has_orphans, &census);
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
        if (!loop_timer_is_armed(sup->sweep_timer)) {
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
    loop_timer_free(sup->sweep_timer);
    loop_timer_free(sup->orphan_timer);
    loop_signal_free(sup->child_signal);
}
