/*
 * killtree: finds and signals all that is left of a workload: its process group, its session, its
 * cgroup, and descendants that left them all (double fork and setsid).
 *
 * A census is one look at all processes; it serves any number of workloads, so that stopping a
 * thousand costs one walk of /proc each few milliseconds and not a thousand.
 */
#ifndef EDGIBLE_KILLTREE_H
#define EDGIBLE_KILLTREE_H

#include "edgible/cgroup.h"
#include "edgible/err.h"
#include "edgible/mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What is known of a workload's processes. */
struct killtree_target {
    pid_t leader;         /* its first process, which may be a zombie; also pgid and sid */
    uint64_t start_ticks; /* of the leader, 0 where not known: nothing older can be a descendant */
    uid_t uid;            /* who it runs as */
    const char *application, *workload, *device; /* what its environment says (the cookie) */
    bool adopted;      /* an earlier agent made it: its orphans are not children of this process */
    bool is_foreign;   /* it is not below this process, and cannot make children of it */
    uint64_t log_pipe; /* inode of the pipe it prints to; 0: not known */
    const struct cgroup_root *cgroups; /* NULL: none */
    const char *cgroup;                /* its name in there, NULL: none */
};

struct census;

/* Looks at all processes now: some 50 µs a process. What a search reads beyond that of a process it
 * reads once, and keeps; so a thread may take the census and search for the targets it knows, and
 * the loop then searches for those that there are by now, without reading it all again. */
struct census *census_take(struct err *err);
/* Of all environments, searches wait for at most 0.5 s (environ(5) is read under a lock that its
 * process can hold); from now on for at most 50 ms, since the loop searches. */
void census_hurry(const struct census *census);
void census_free(struct census *census);
DEFINE_CLEANUP(census, struct census, census_free)

/*
 * The living processes of the target, the leader included; no zombies, never PID 1 and never this
 * process. At most max are written, the count written is returned; with max 0 it only counts.
 *
 * Who belongs is told by, in this order: cgroup, session, process group, parent chain, the
 * orphans' evidence and the environment's cookie (only of descendants of this process, so that
 * another agent's workloads of the same name are never taken). Session and group count for a leader
 * that is gone, and whose number may be another's by now, only with a parent chain to this process
 * or the cookie.
 * `others` are the further targets of this agent; the target itself and items whose leader is 0 are
 * ignored there. A child of this process that is in no session and group of the others belongs to a
 * target that can have made it, whatever its environment says. Evidence (cgroup, log pipe, cookie)
 * chooses among several; without evidence the child belongs to the last of them. So a caller that
 * stops several targets clears those that are gone. What the agent starts for itself in a session
 * of its own (a health check) must be among `others` as well.
 */
size_t killtree_find(const struct census *census, const struct killtree_target *target,
                     const struct killtree_target *others, size_t other_count, pid_t *pids,
                     size_t max);

/* The living descendants of this process, whoever made them, except those in its own session. At
 * most max are written; the count written is returned. */
size_t killtree_find_descendants(const struct census *census, pid_t *pids, size_t max);

/* Sends signal, then SIGCONT (neither where signal is 0), to the process group. True where the
 * group has a member (zombies count). The leader must be unreaped or known to live: nothing else
 * keeps the number from being another's. */
bool killtree_signal_group(pid_t pgid, int signal);

/* Sends signal, then SIGCONT (not after SIGKILL and SIGSTOP), to each process by itself, except
 * those of group `skip_pgid` (0: none), through pidfds: a pid that was reused meanwhile is not
 * signalled. */
void killtree_signal_pids(const struct census *census, const pid_t *pids, size_t count, int signal,
                          pid_t skip_pgid);

/* The cheap part of killtree_kill, without any look at /proc: SIGKILL to the group, where its
 * number is certainly the target's still, and cgroup.kill. Who stops many at a time sends this to
 * all, takes one census a moment later, and goes on to killtree_round only for those of which
 * killtree_find finds something again and again. */
void killtree_kill_group(const struct killtree_target *target);

/*
 * SIGKILL to all that is left, in rounds of census, SIGSTOP to what is new and, once nothing is,
 * SIGKILL to all (a stopped process can neither fork nor, by its end, cut the parent chain of its
 * children: this catches a fork bomb), a bounded number of them. Does not wait for the dying.
 */
struct killtree_rounds {
    pid_t *found; /* in the last round: sorted; owned */
    size_t count;
    int all, stops, kills;
};
void cleanup_killtree_rounds(struct killtree_rounds *rounds);

/* Signals to processes, which are not sent where the number is another's by then. */
struct killtree_order {
    pid_t pid;
    uint64_t start_ticks;
    int signal;
};
struct killtree_orders {
    struct killtree_order *items; /* owned */
    size_t count;
};
void cleanup_killtree_orders(struct killtree_orders *orders);
/* On any thread. */
void killtree_orders_send(const struct killtree_orders *orders);

/*
 * One round, by a census that was taken after the orders of the round before were sent; adds its
 * orders. rounds: zeroed before the first. True where another round is to follow; else
 * rounds->count processes live still, and where that is not 0 another series may follow later.
 * target NULL: all that killtree_find_descendants() finds.
 */
bool killtree_round(struct killtree_rounds *rounds, const struct census *census,
                    const struct killtree_target *target, const struct killtree_target *others,
                    size_t other_count, struct killtree_orders *orders);

/* All rounds for what killtree_find_descendants() finds; how many processes live still. */
size_t killtree_kill_descendants(void);

#endif
