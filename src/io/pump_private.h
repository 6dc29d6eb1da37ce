/*
 * pump, shared between its parts.
 *
 * One lock guards the lists, the command and event queues and which lane a channel is on; nobody
 * holds it while touching a file. A lane works on one channel at a time: it takes the channel
 * (lane->current, lock released), does what may block, and releases it (lock held again). What
 * only the holder uses needs no lock, and since a channel changes lanes under the lock and never
 * while it is held, no two threads ever use one at once.
 */
#ifndef EDGIBLE_IO_PUMP_PRIVATE_H
#define EDGIBLE_IO_PUMP_PRIVATE_H

#include "edgible/list.h"
#include "edgible/logfile.h"
#include "edgible/pump.h"
#include "pump_journal.h"
#include "pump_log.h"

#include <pthread.h>
#include <stdatomic.h>

#define PUMP_BATCH_BYTES ((size_t) 256 * 1024)
#define PUMP_STALLED_MS 1000
#define PUMP_WATCHDOG_MS 250
/* From the news that a log file may be gone to the look. */
#define PUMP_LOOK_AFTER_MS 200

enum pump_command_type {
    PUMP_CMD_OPEN,
    PUMP_CMD_CONFIGURE,
    PUMP_CMD_ATTACH,
    PUMP_CMD_TAIL,
    PUMP_CMD_CLOSE,
};

struct pump_command {
    struct list link;
    enum pump_command_type type;
    struct pump_log_copy log; /* of CONFIGURE */
    bool is_anew;             /* of CONFIGURE: the file is to be opened anew */
    int fd;                   /* of ATTACH; owned */
    uint64_t run;
    bool continues; /* of ATTACH */
};

struct pump_queued_event {
    struct list link;
    struct pump_event event;
};

struct pump_channel {
    struct pump *pump;
    void *owner;

    /* the loop's own: what was asked for last */
    struct pump_log_copy asked;

    /* guarded by the lock */
    struct pump_lane *lane;
    struct list link;     /* in lane->channels */
    struct list todo;     /* in lane->todo where there are commands or a watch is wanted */
    struct list timed;    /* in lane->timed where due_ms is not -1 */
    struct list hot;      /* in lane->hot while it streams */
    struct list commands; /* struct pump_command */
    int64_t due_ms;
    dev_t device;    /* that the file is on; 0: not known yet */
    uid_t uid;       /* the workload's, who can hold the file up */
    unsigned queued; /* a bit for each event type that is queued once at most */
    bool wants_watch;
    bool stalled;
    bool is_unwatched; /* epoll has no room for its pipe: in lane->hot, but read seldom */

    /* used by the lane that holds it; fd and wd also under the lock to change lanes */
    struct log_place *place; /* of whatever file it is */
    struct logfile *file;
    int fd; /* -1: no pipe, or its writers are gone */
    int wd; /* watch on the file's folder in the lane's inotify; -1: none */
    bool is_open;
    int64_t check_ms; /* when to look whether the file is still there; -1: no need */
    uint64_t run;
    struct logfile_counters before; /* of the files before this one */

    atomic_uint_fast64_t bytes_written;
    atomic_uint_fast64_t bytes_dropped;
    atomic_uint_fast64_t rotations;
};

enum pump_lane_state {
    PUMP_LANE_FREE,
    PUMP_LANE_RUNNING,
    PUMP_LANE_FINISHED, /* the thread is ending and wants to be joined */
};

struct pump_lane {
    struct pump *pump;
    pthread_t thread;
    int epoll_fd;
    int wake_fd;
    int inotify_fd; /* -1: there is none, and removed files are noticed at the next write only */

    /* guarded by the lock */
    enum pump_lane_state state;
    struct list channels;
    struct list todo;
    struct list timed;
    struct list hot;              /* not in the epoll set, but read each round */
    int64_t look_ms;              /* when the unwatched ones of `hot` are read */
    bool is_deaf;                 /* epoll has no room for wake_fd or inotify_fd */
    struct pump_channel *current; /* being worked on, lock released */
    int64_t busy_since_ms;
    unsigned turns;      /* counts how often a channel was taken */
    unsigned seen_turns; /* turns at the watchdog's last look */
    unsigned moves;      /* counts how often channels were taken away by the watchdog */
    bool stalled;
    bool is_trial; /* for logs on a device that another lane hangs on */

    /* the thread's own */
    struct pump_journal journal; /* holds the batch; mapped while there is work */
    size_t moved_bytes;
    bool had_full_batch;
    int64_t last_turn_us;
    unsigned streak;
};

struct pump {
    void (*notify)(void *arg);
    void *arg;
    pthread_mutex_t lock;
    pthread_cond_t watchdog_wake; /* on CLOCK_MONOTONIC, as all_done */
    pthread_cond_t all_done;
    pthread_t watchdog;
    bool watchdog_sleeps;
    bool watchdog_done;
    char *journal_dir; /* owned; NULL: batches are in plain memory */
    bool is_limited;   /* what an earlier agent left goes to `allowed` alone */
    struct strv allowed;
    bool recovered;  /* of the first lane: what an earlier agent's batches held is written */
    bool quitting;   /* lanes write what the pipes hold and end */
    bool pausing;    /* lanes stop before their next batch */
    unsigned parked; /* lanes that have */
    pthread_cond_t unpaused;
    bool drains;   /* of quitting: what the pipes hold is written first */
    bool orphaned; /* pump_free() has given up: threads end as soon as they can and tell nobody */
    bool told_unwatched; /* that epoll has no room was said */
    unsigned stalled_lanes;
    struct list events; /* struct pump_queued_event */
    struct pump_lane lanes[PUMP_MAX_LANES];
};

int64_t pump_now_ms(void);

/* pump_event.c */
struct pump_queued_event *pump_event_new(struct pump_channel *ch, enum pump_event_type type);
/* Queues and notifies; lock held. */
void pump_post_locked(struct pump *pump, struct pump_queued_event *take_event);
/* The same, taking the lock. */
void pump_post(struct pump_channel *ch, struct pump_queued_event *take_event);
/* Events for LOGFILE_ bits; counters are published, too. Lock not held. */
void pump_report(struct pump_channel *ch, unsigned happened);

/* pump_lane.c */
/* Lock held. */
int pump_lane_start(struct pump *pump, struct pump_lane **ret_lane, struct err *err) MUST_CHECK;
/* A lane that works, other than `but`, or NULL; lock held. */
struct pump_lane *pump_lane_find_healthy(struct pump *pump, bool is_trial,
                                         const struct pump_lane *but);
/* A lane that hangs where this channel would hang, too, or NULL; lock held. One log that hangs may
 * be held up by its own workload: so two must, of the same user as this one's or of two users. */
struct pump_lane *pump_lane_find_hung(struct pump *pump, const struct pump_channel *ch);
void pump_lane_wake(const struct pump_lane *lane);
/* Puts a new or moved channel on a lane, or takes it off; lock held. */
void pump_lane_add(struct pump_lane *lane, struct pump_channel *ch);
void pump_lane_remove(struct pump_channel *ch);
/* The lane hears of what its pipe holds, which is new to it or streams no more; lock held. */
void pump_lane_listen(struct pump_lane *lane, struct pump_channel *ch);
/* A joined or finished lane's slot is made free; lock held. */
void pump_lane_join(struct pump_lane *lane);

/* pump_channel.c; the lane holds the channel, lock not held */
/* Carries one batch; returns its size. */
size_t pump_channel_carry(struct pump_lane *lane, struct pump_channel *ch);
/* Carries what the pipe holds at this moment. */
void pump_channel_drain(struct pump_lane *lane, struct pump_channel *ch);
/* Does what the clock asks for. */
void pump_channel_tick(struct pump_lane *lane, struct pump_channel *ch, int64_t now_ms);
/* Watches the file's folder, or the new one where it was made anew. */
void pump_channel_watch(struct pump_lane *lane, struct pump_channel *ch);
int64_t pump_channel_next_ms(const struct pump_channel *ch);
/* Frees the command. */
void pump_channel_do(struct pump_lane *lane, struct pump_channel *ch,
                     struct pump_command *take_cmd);
void pump_channel_hang_up(const struct pump_lane *lane, struct pump_channel *ch);
void pump_command_free(struct pump_command *cmd);
void pump_channel_free(struct pump_channel *ch);
DEFINE_CLEANUP(pump_command, struct pump_command, pump_command_free)

/* pump_watch.c */
/* Watches the file's folder; the lane holds the channel. Returns the watch or -1. */
int pump_watch_add(const struct pump_lane *lane, const struct pump_channel *ch);
/* Removes a watch that no channel of the lane uses any more; lock held. */
void pump_watch_drop(const struct pump_lane *lane, int wd);
/* Reads the lane's inotify and sets check_ms of those concerned; lock held. */
void pump_watch_read(struct pump_lane *lane, int64_t now_ms);

/* pump_watchdog.c */
void *pump_watchdog_main(void *arg);

/* pump_lane.c, for pump_watch.c: due_ms anew from check_ms and the file; lock held */
void pump_lane_set_timer(struct pump_channel *ch, int64_t due_ms);

#endif
