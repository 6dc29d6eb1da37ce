/*
 * loop: the event loop. All callbacks run on the thread that calls loop_run(); only
 * loop_async_send() may be called from other threads.
 *
 * Watchers may be freed in any callback, their own included. Times are milliseconds of
 * CLOCK_MONOTONIC.
 */
#ifndef EDGIBLE_LOOP_H
#define EDGIBLE_LOOP_H

#include "edgible/err.h"
#include "edgible/mem.h"
#include "edgible/parse.h"

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_io;
struct loop_timer;
struct loop_signal;
struct loop_async;

/* Whether the callback got anything done: one that makes no progress 1,000 times in a row is
 * paused for a second, so that a descriptor that stays readable never takes the whole CPU. */
typedef bool (*loop_io_fn)(void *arg);
typedef void (*loop_fn)(void *arg);

struct loop *loop_new(struct err *err);
/* All watchers must have been freed. */
void loop_free(struct loop *loop);
DEFINE_CLEANUP(loop, struct loop, loop_free)
/* Runs until loop_stop(). */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);
/* So long one kind of work may go on in a turn; then others have theirs. */
#define LOOP_SHARE_MS 20
mono_ms loop_now(void);

/* Any process of the agent's user, whatever its sandbox, can take all of the user's epoll watches.
 * The loop needs none; logs and API, which use epoll, go on without as well, ten times a second. */
#define LOOP_LACKS_EPOLL                                                                           \
    "no epoll watch is left to the agent's user, and logs and API are slow: raise "                \
    "fs.epoll.max_user_watches"
bool loop_lacks_epoll(void);

#define LOOP_BUCKETS 7
/* The upper bounds of the buckets. */
extern const int64_t loop_bucket_ns[LOOP_BUCKETS];

/* How long turns took: from when the loop wakes up until it sleeps again, while nothing else is
 * served. The longest are those since the loop was made. */
struct loop_turns {
    uint64_t buckets[LOOP_BUCKETS]; /* each without those below; longer ones are in none */
    uint64_t count;
    int64_t sum_ns, longest_ns;
    int64_t longest_cpu_ns; /* in CPU time of the thread */
};
/* The turn that runs is not counted yet. */
const struct loop_turns *loop_turns(const struct loop *loop);

/* What one kind of work has of a turn, where several calls share it; zeroed at first. */
struct loop_share {
    uint64_t turn; /* its number; 0: none yet */
    mono_ms until;
};
/* Whether time is left of it. It begins anew with the first call of a turn. */
bool loop_share_lasts(const struct loop *loop, struct loop_share *share);

/* Calls fn when fd is readable; fd stays the caller's and must outlive the watcher. */
struct loop_io *loop_io_new(struct loop *loop, int fd, loop_io_fn fn, void *arg);
/* The same once fd can be written to, or its connection is made or refused. */
struct loop_io *loop_io_new_for_writing(struct loop *loop, int fd, loop_io_fn fn, void *arg);
void loop_io_free(struct loop_io *io);

/* Not armed at first. */
struct loop_timer *loop_timer_new(struct loop *loop, loop_fn fn, void *arg);
void loop_timer_free(struct loop_timer *timer);
/* Fires once at time `at` (in the past: with the next turn); replaces an earlier arming. */
void loop_timer_arm(struct loop_timer *timer, mono_ms at);
void loop_timer_disarm(struct loop_timer *timer);
bool loop_timer_is_armed(const struct loop_timer *timer);

/* Calls fn for each signal of that number: it is blocked from here on, also after
 * loop_signal_free(), and stays pending in the kernel until just before the call. A signal that has
 * not been told of is so not lost by an exec. One loop_signal a number. */
struct loop_signal *loop_signal_new(struct loop *loop, int signal_number, loop_fn fn, void *arg);
void loop_signal_free(struct loop_signal *sig);

/* Calls fn on the loop's thread after loop_async_send(); sends may be merged. */
struct loop_async *loop_async_new(struct loop *loop, loop_fn fn, void *arg);
void loop_async_free(struct loop_async *async);
/* From any thread. */
void loop_async_send(struct loop_async *async);

#endif
