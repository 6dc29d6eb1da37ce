#include "edgible/killtree.h"

#include "edgible/proc.h"
#include "killtree_priv.h"
#include "orphan.h"
#include "proc_priv.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* killtree_round: rounds in all, how many in a row may only stop what is new, and after how many
 * kills in a row, with nothing new in between, the rest is left to the next call. */
#define ROUNDS_MAX 8
#define STOP_ROUNDS_MAX 5
#define KILL_ROUNDS_MAX 2

/* One search: the target's processes as they are found. */
struct search {
    const struct census *census;
    const struct killtree_target *target;
    size_t *found; /* positions, in the order found; owned */
    size_t count;
    bool *is_found;    /* by position; owned */
    bool has_leader;   /* the leader was there, a zombie at least */
    bool has_stranger; /* the leader's number is another process's by now */
    pid_t *leaders;    /* of the others, sorted; owned; made when first needed */
    size_t leader_count;
};

static void search_fini(struct search *search)
{
    free(search->found);
    free(search->is_found);
    free(search->leaders);
}

static const struct proc_stat *proc_at(const struct search *search, size_t position)
{
    return &search->census->procs[position];
}

static bool is_protected(const struct census *census, pid_t pid)
{
    return pid <= 1 || pid == census->self;
}

static void add(struct search *search, size_t position)
{
    const struct proc_stat *stat = proc_at(search, position);
    if (search->is_found[position] || is_protected(search->census, stat->pid)) {
        return;
    }
    search->is_found[position] = true;
    search->found[search->count++] = position;
}

/* Adds all descendants of what was found from position `from` of the list on. */
static void add_descendants(struct search *search, size_t from)
{
    for (size_t i = from; i < search->count; i++) {
        const struct proc_stat *parent = proc_at(search, search->found[i]);
        struct census_run run = census_find_run(search->census, CENSUS_BY_PARENT, parent->pid);
        for (size_t k = 0; k < run.count; k++) {
            if (killtree_can_make(search->target, proc_at(search, run.positions[k]))) {
                add(search, run.positions[k]);
            }
        }
    }
}

static void look_at_leader(struct search *search)
{
    const struct killtree_target *target = search->target;
    size_t position = census_find_pid(search->census, target->leader);
    if (position == search->census->count) {
        return;
    }
    const struct proc_stat *stat = proc_at(search, position);
    bool is_it = false;
    if (target->start_ticks != 0) {
        is_it = stat->start_ticks == target->start_ticks;
    } else {
        const struct census_cookie *cookie = NULL;
        is_it = census_is_descendant(search->census, position) ||
                ((cookie = census_cookie(search->census, position)) != NULL &&
                 killtree_is_named(target, cookie));
    }
    search->has_leader = is_it;
    search->has_stranger = !is_it;
    if (is_it) {
        add(search, position);
    }
}

static void add_cgroup(struct search *search)
{
    const struct killtree_target *target = search->target;
    if (target->cgroups == NULL || target->cgroup == NULL) {
        return;
    }
    size_t max = search->census->count + 64;
    CLEANUP(free) pid_t *pids = xcalloc(max, sizeof(*pids));
    size_t count = cgroup_list_pids(target->cgroups, target->cgroup, pids, max);
    for (size_t i = 0; i < count; i++) {
        size_t position = census_find_pid(search->census, pids[i]);
        if (position < search->census->count) {
            add(search, position);
        }
    }
}

/*
 * The kernel gives a number to no new process while a session or group bears it. So with the leader
 * there its members are ours; with a stranger of that number there, none are. With neither, number,
 * session and group may have been through a whole life of a stranger's in the meantime: then a
 * member has to show more.
 */
static bool is_trusted_member(const struct search *search, size_t position)
{
    if (!killtree_can_make(search->target, proc_at(search, position))) {
        return false;
    }
    if (search->has_leader || census_is_descendant(search->census, position)) {
        return true;
    }
    const struct census_cookie *cookie = census_cookie(search->census, position);
    return cookie != NULL && killtree_is_named(search->target, cookie);
}

static void add_members(struct search *search, enum census_key key)
{
    if (search->has_stranger || search->target->leader <= 1) {
        return;
    }
    struct census_run run = census_find_run(search->census, key, search->target->leader);
    for (size_t i = 0; i < run.count; i++) {
        if (is_trusted_member(search, run.positions[i])) {
            add(search, run.positions[i]);
        }
    }
}

static int compare_pids(const void *a, const void *b)
{
    const pid_t *left = a;
    const pid_t *right = b;
    return (*left > *right) - (*left < *right);
}

static void list_leaders(struct search *search, const struct killtree_target *others, size_t count)
{
    search->leaders = xcalloc(count, sizeof(*search->leaders));
    for (size_t i = 0; i < count; i++) {
        if (others[i].leader > 0 && !killtree_is_same(&others[i], search->target)) {
            search->leaders[search->leader_count++] = others[i].leader;
        }
    }
    if (search->leader_count > 1) {
        qsort(search->leaders, search->leader_count, sizeof(*search->leaders), compare_pids);
    }
}

static bool is_leader_of_others(const struct search *search, pid_t pid)
{
    return search->leader_count > 0 &&
           bsearch(&pid, search->leaders, search->leader_count, sizeof(pid), compare_pids) != NULL;
}

static bool bears_mark_of_others(const struct search *search, const struct proc_stat *stat)
{
    return is_leader_of_others(search, stat->pid) || is_leader_of_others(search, stat->sid) ||
           is_leader_of_others(search, stat->pgid);
}

static bool is_own_orphan(const struct search *search, size_t position,
                          const struct killtree_target *others, size_t other_count)
{
    const struct proc_stat *stat = proc_at(search, position);
    if (search->is_found[position] || proc_stat_is_dead(stat) ||
        !killtree_can_make(search->target, stat) || bears_mark_of_others(search, stat)) {
        return false;
    }
    /* In the agent's own session it is a child between clone and setsid, or a helper. */
    return stat->sid != getsid(0) && orphan_find_owner(search->census, position, search->target,
                                                       others, other_count) == ORPHAN_OF_TARGET;
}

/* Orphans come to this process, the subreaper, as children. */
static void add_orphans(struct search *search, const struct killtree_target *others,
                        size_t other_count)
{
    struct census_run run = census_find_run(search->census, CENSUS_BY_PARENT, search->census->self);
    if (run.count == 0) {
        return;
    }
    list_leaders(search, others, other_count);
    for (size_t i = 0; i < run.count; i++) {
        if (is_own_orphan(search, run.positions[i], others, other_count)) {
            size_t from = search->count;
            add(search, run.positions[i]);
            add_descendants(search, from);
        }
    }
}

/* --- orphans of an earlier agent ---------------------------------------------------------------
 *
 * When an agent dies, its orphans go to init or to another subreaper, so the parent chain of what
 * escaped from an adopted workload says nothing. What is left is the log pipe, which nobody else's
 * processes have, and the cookie, which another agent's workload of the same names may bear as
 * well.
 */

/* An agent's own children are that agent's, whatever they are called. */
static bool is_below_an_agent(const struct search *search, size_t position)
{
    for (int steps = 0; steps < 64; steps++) {
        pid_t parent = proc_at(search, position)->ppid;
        position = census_find_pid(search->census, parent);
        if (parent <= 1 || position == search->census->count) {
            return false;
        }
        if (census_is_agent(search->census, position)) {
            return true;
        }
    }
    return false;
}

/* Whether it prints to a log pipe of another agent, as an adopted leader does. */
static bool prints_for_another(const struct search *search, size_t position)
{
    uint64_t pipe = census_log_pipe(search->census, position);
    return pipe != 0 && pipe != search->target->log_pipe;
}

static bool is_stray(const struct search *search, size_t position)
{
    const struct killtree_target *target = search->target;
    const struct proc_stat *stat = proc_at(search, position);
    uid_t uid = 0;
    if (search->is_found[position] || proc_stat_is_dead(stat) || !killtree_can_make(target, stat) ||
        !census_read_uid(search->census, position, &uid) || !killtree_can_run_as(target, uid)) {
        return false;
    }
    if (target->log_pipe != 0 && census_log_pipe(search->census, position) == target->log_pipe) {
        return true;
    }
    const struct census_cookie *cookie = census_cookie(search->census, position);
    if (cookie == NULL || !killtree_is_named(target, cookie) ||
        is_below_an_agent(search, position) || prints_for_another(search, position)) {
        return false;
    }
    /* Its session may be led by the leader of another agent's workload of the same names. */
    size_t session = census_find_pid(search->census, stat->sid);
    return session == search->census->count || !prints_for_another(search, session);
}

static void add_strays(struct search *search)
{
    for (size_t i = 0; i < search->census->count; i++) {
        if (is_stray(search, i)) {
            size_t from = search->count;
            add(search, i);
            add_descendants(search, from);
        }
    }
}

size_t killtree_find(const struct census *census, const struct killtree_target *target,
                     const struct killtree_target *others, size_t other_count, pid_t *pids,
                     size_t max)
{
    struct search search = {
        .census = census,
        .target = target,
        .found = xcalloc(census->count, sizeof(*search.found)),
        .is_found = xcalloc(census->count, sizeof(*search.is_found)),
    };
    look_at_leader(&search);
    add_cgroup(&search);
    add_members(&search, CENSUS_BY_SESSION);
    add_members(&search, CENSUS_BY_GROUP);
    add_descendants(&search, 0);
    add_orphans(&search, others, other_count);
    if (target->adopted) {
        add_strays(&search);
    }
    size_t living = 0;
    for (size_t i = 0; i < search.count; i++) {
        const struct proc_stat *stat = proc_at(&search, search.found[i]);
        if (proc_stat_is_dead(stat)) {
            continue;
        }
        if (max == 0 || living < max) {
            if (max > 0) {
                pids[living] = stat->pid;
            }
            living++;
        }
    }
    search_fini(&search);
    return living;
}

size_t killtree_find_descendants(const struct census *census, pid_t *pids, size_t max)
{
    pid_t own_session = getsid(0);
    size_t count = 0;
    for (size_t i = 0; i < census->count && count < max; i++) {
        const struct proc_stat *stat = &census->procs[i];
        if (!proc_stat_is_dead(stat) && stat->sid != own_session &&
            !is_protected(census, stat->pid) && census_is_descendant(census, i)) {
            pids[count++] = stat->pid;
        }
    }
    return count;
}

bool killtree_signal_group(pid_t pgid, int signal)
{
    if (pgid <= 1 || pgid == getpgrp()) {
        return false;
    }
    /* EPERM: it has members, all of them of other users. */
    bool has_member = kill(-pgid, signal) == 0 || errno == EPERM;
    if (has_member && signal != 0 && signal != SIGKILL && signal != SIGSTOP) {
        (void) kill(-pgid, SIGCONT);
    }
    return has_member;
}

static void signal_one(pid_t pid, uint64_t start_ticks, int signal, pid_t skip_pgid)
{
    /* First the pidfd, then the look at who it is: in this order it cannot become another. */
    CLEANUP(close_fd) int pidfd = proc_open_pidfd(pid, NULL);
    if (pidfd < 0 && errno == ESRCH) {
        return;
    }
    struct proc_stat now;
    if (proc_read_stat(pid, &now, NULL) < 0 || now.start_ticks != start_ticks) {
        return;
    }
    if (now.state == 'Z' && now.threads > 1) {
        proc_reap_threads(pid);
    }
    if (skip_pgid != 0 && now.pgid == skip_pgid) {
        return;
    }
    proc_signal(pidfd, pid, signal);
    if (signal != SIGKILL && signal != SIGSTOP && signal != 0) {
        proc_signal(pidfd, pid, SIGCONT);
    }
}

void killtree_signal_pids(const struct census *census, const pid_t *pids, size_t count, int signal,
                          pid_t skip_pgid)
{
    for (size_t i = 0; i < count; i++) {
        size_t position = census_find_pid(census, pids[i]);
        if (position < census->count && !is_protected(census, pids[i])) {
            signal_one(pids[i], census->procs[position].start_ticks, signal, skip_pgid);
        }
    }
}

/* Whether the group of that number is still the target's; without the leader a census decides. */
static bool is_group_pinned(const struct killtree_target *target)
{
    struct proc_stat stat;
    if (target->leader <= 1 || proc_read_stat(target->leader, &stat, NULL) < 0) {
        return false;
    }
    return target->start_ticks != 0 ? stat.start_ticks == target->start_ticks
                                    : stat.ppid == getpid();
}

void killtree_kill_group(const struct killtree_target *target)
{
    if (is_group_pinned(target)) {
        (void) killtree_signal_group(target->leader, SIGKILL);
    }
    if (target->cgroups != NULL && target->cgroup != NULL) {
        struct err ignored;
        /* Before Linux 5.14 the rounds do it. */
        (void) !cgroup_kill(target->cgroups, target->cgroup, &ignored);
    }
}

void killtree_orders_send(const struct killtree_orders *orders)
{
    for (size_t i = 0; i < orders->count; i++) {
        const struct killtree_order *order = &orders->items[i];
        signal_one(order->pid, order->start_ticks, order->signal, 0);
    }
}

void cleanup_killtree_orders(struct killtree_orders *orders)
{
    free(orders->items);
}

void cleanup_killtree_rounds(struct killtree_rounds *rounds)
{
    free(rounds->found);
}

/* Orders for all of `pids`, or for those that are not in the sorted list `known` alone; how many.
 */
static size_t give_orders(const struct census *census, const pid_t *pids, size_t count, int signal,
                          const struct killtree_rounds *known, struct killtree_orders *orders)
{
    size_t before = orders->count;
    orders->items = xrealloc(orders->items, before + count, sizeof(*orders->items));
    for (size_t i = 0; i < count; i++) {
        if (known == NULL || known->count == 0 ||
            bsearch(&pids[i], known->found, known->count, sizeof(pid_t), compare_pids) == NULL) {
            orders->items[orders->count++] = (struct killtree_order){
                .pid = pids[i],
                .start_ticks = census->procs[census_find_pid(census, pids[i])].start_ticks,
                .signal = signal};
        }
    }
    return orders->count - before;
}

bool killtree_round(struct killtree_rounds *rounds, const struct census *census,
                    const struct killtree_target *target, const struct killtree_target *others,
                    size_t other_count, struct killtree_orders *orders)
{
    CLEANUP(free) pid_t *pids = xcalloc(census->count, sizeof(*pids));
    size_t count = target == NULL
                       ? killtree_find_descendants(census, pids, census->count)
                       : killtree_find(census, target, others, other_count, pids, census->count);
    if (count > 0) {
        qsort(pids, count, sizeof(*pids), compare_pids);
        if (give_orders(census, pids, count, SIGSTOP, rounds, orders) > 0 &&
            ++rounds->stops < STOP_ROUNDS_MAX) {
            rounds->kills = 0;
        } else {
            (void) give_orders(census, pids, count, SIGKILL, NULL, orders);
            rounds->stops = 0;
            rounds->kills++;
        }
    }
    free(rounds->found);
    rounds->found = steal_ptr(&pids);
    rounds->count = count;
    return count > 0 && ++rounds->all < ROUNDS_MAX && rounds->kills < KILL_ROUNDS_MAX;
}

size_t killtree_kill_descendants(void)
{
    CLEANUP(killtree_rounds) struct killtree_rounds rounds = {0};
    bool goes_on = true;
    while (goes_on) {
        CLEANUP(killtree_orders) struct killtree_orders orders = {0};
        CLEANUP(census) struct census *census = census_take(NULL);
        if (census == NULL) {
            /* Out of descriptors or memory: nothing is known, so nothing is over. */
            return rounds.count > 0 ? rounds.count : 1;
        }
        goes_on = killtree_round(&rounds, census, NULL, NULL, 0, &orders);
        killtree_orders_send(&orders);
    }
    return rounds.count;
}
