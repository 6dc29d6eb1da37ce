/*
 * pump: carries what workloads print from their pipes to their log files, on threads of its own.
 *
 * The loop's thread owns the struct pump and calls every function here; none of them blocks or
 * touches a file. What happens comes back as events: `notify` is called from a pump thread when
 * there are some, and the loop's thread then drains them with pump_next_event().
 *
 * Normally there is one thread. When it hangs in a file operation, the other channels move to new
 * ones within about a second, up to PUMP_MAX_LANES. Those on the same device do so until a second
 * thread hangs there: then they wait with it, where both logs are not of one other user.
 */
#ifndef EDGIBLE_PUMP_H
#define EDGIBLE_PUMP_H

#include "edgible/err.h"
#include "edgible/log_owner.h"
#include "edgible/log_place.h"
#include "edgible/mem.h"
#include "edgible/strv.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define PUMP_MAX_LANES 8
#define PUMP_PIPE_BYTES (1024 * 1024)
#define PUMP_TAIL_LINES 20
#define PUMP_TAIL_BYTES 8192

struct pump;
struct pump_channel; /* one workload's log */

/* As a log's file: what is printed is read and dropped, and nothing is opened by that path. */
#define PUMP_NO_LOG "/dev/null"

/* Where a log goes. Strings are copied. */
struct pump_log {
    const char *file; /* absolute */
    uint64_t max_size_bytes;
    unsigned max_files;         /* rotated ones kept; 0: the file is cut off instead */
    struct log_owner owner;     /* with whose rights */
    const struct strv *allowed; /* patterns of the resolved path, one of which must match at each
                                   open; NULL: any path; copied */
};

enum pump_event_type {
    PUMP_EV_OPENED,      /* the file is open (or the disk is full and output is dropped for now) */
    PUMP_EV_OPEN_FAILED, /* error and message; pump_reopen() tries again */
    PUMP_EV_TAIL,        /* lines: answer to pump_tail() */
    PUMP_EV_ROTATED,
    PUMP_EV_REOPENED,  /* the file had been removed, moved or cut off by somebody else */
    PUMP_EV_DISK_FULL, /* from now on output is dropped */
    PUMP_EV_DROPPED,   /* there is room again: bytes is what was dropped meanwhile */
    PUMP_EV_STALLED, /* its file system hangs; the workload may come to a halt when its pipe is full
                      */
    PUMP_EV_RESUMED,
    PUMP_EV_LOST,      /* of no channel: bytes that an earlier pump left could not be written; error
                          and message say why */
    PUMP_EV_UNWATCHED, /* of no channel, once: epoll has no room (loop_lacks_epoll()), and pipes are
                          read ten times a second instead */
    PUMP_EV_CLOSED,    /* answer to pump_close(); the channel is gone after this event */
};

struct pump_event {
    enum pump_event_type type;
    struct pump_channel *channel;
    void *owner;       /* as given to pump_open() */
    uint64_t run;      /* of PUMP_EV_TAIL */
    uint64_t bytes;    /* of PUMP_EV_DROPPED, PUMP_EV_LOST */
    int error;         /* errno of PUMP_EV_OPEN_FAILED, PUMP_EV_DISK_FULL, PUMP_EV_LOST */
    char message[256]; /* of PUMP_EV_OPEN_FAILED, PUMP_EV_DISK_FULL, PUMP_EV_LOST: what failed,
                          without errno's text */
    struct strv lines; /* of PUMP_EV_TAIL; the receiver finishes it */
};

struct pump_counters {
    uint64_t bytes_written, bytes_dropped, rotations;
};

/* journal_dir (of this agent alone; on tmpfs) keeps what is between pipe and file while it is, so
 * that a later pump loses no line of a process that is killed; NULL: it is in memory only. What an
 * earlier pump left there is written first, where the log is outside the agent's folder only to
 * what `allowed` (NULL: anything; copied) matches.
 * notify(arg) must be callable from any thread and must not call the pump; it may be called more
 * than once an event. */
struct pump *pump_new(const char *journal_dir, const struct strv *allowed,
                      void (*notify)(void *arg), void *arg, struct err *err);
/* Ends the threads, after what the pipes hold has been written, for at most max_wait_ms in all.
 * Threads that hang in the kernel are left behind (and what they use is not freed). */
void pump_free(struct pump *pump, int max_wait_ms);

/* From now on pump_free() leaves what the pipes hold in them: the workloads go on without us. */
void pump_leave(struct pump *pump);
/* All threads stand still, with nothing between pipe and file, until pump_unpause(); -1 where one
 * does not within the time: it hangs in a file operation. */
int pump_pause(struct pump *pump, int max_wait_ms, struct err *err) MUST_CHECK;
void pump_unpause(struct pump *pump);
/* The pipe's read end, -1 where there is none; the channel's, and for a paused pump only. */
int pump_channel_fd(const struct pump_channel *channel);

/* Opens the log; answered by PUMP_EV_OPENED or PUMP_EV_OPEN_FAILED. */
struct pump_channel *pump_open(struct pump *pump, const struct pump_log *log, void *owner);
/* Tries once more after PUMP_EV_OPEN_FAILED, with the same answers. */
void pump_reopen(struct pump_channel *channel);
/* Changes file or rotation; the pipe's content so far goes to the old file. Where the file, its
 * owner or what is allowed changes, it is opened anew, which is answered like pump_open(), and the
 * result is true. */
bool pump_configure(struct pump_channel *channel, const struct pump_log *log);
/* Reads from take_fd (non-blocking) from now on. What the pipe before holds is written first; then
 * that one is closed. `run` numbers the workload's runs: a tail is of one run. One that continues
 * goes on where an earlier pump left it, perhaps within a line. */
void pump_attach(struct pump_channel *channel, int take_fd, uint64_t run, bool continues);
/* Asks for the last lines that the current run printed: what the pipe holds now is written
 * first. Answered by PUMP_EV_TAIL, late where the disk is slow. */
void pump_tail(struct pump_channel *channel);
/* Writes what the pipe holds now, closes everything; answered by PUMP_EV_CLOSED. */
void pump_close(struct pump_channel *channel);

/* What it was opened or configured with last; the channel's. */
const struct pump_log *pump_channel_log(const struct pump_channel *channel);
/* Where its file stands; the channel's: log_place_ref() it to keep it. */
struct log_place *pump_channel_place(const struct pump_channel *channel);
struct pump_counters pump_channel_counters(const struct pump_channel *channel);

/* The next event; false where there is none. */
bool pump_next_event(struct pump *pump, struct pump_event *ret);

/* A pipe for one run: its reading end, non-blocking, for pump_attach(). PUMP_PIPE_BYTES large, or
 * as large as the user's pipe quota allows. The caller closes. */
int pump_make_pipe(int *ret_read, struct err *err) MUST_CHECK;
/* The workload's end of that pipe, or -1. Where no other process holds the reading end (is_held),
 * it is open for reading as well, so that an agent that is gone means back-pressure and not
 * SIGPIPE. The pipe becomes the user's (-1: it does not), who can then open /dev/stdout by that
 * name. The caller closes. */
int pump_open_pipe_end(int read_end, bool is_held, uid_t user, struct err *err) MUST_CHECK;

#endif
