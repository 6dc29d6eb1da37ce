/*
 * events: what happened, in order. Each event is numbered, becomes one line of the log (log_quota:
 * unless there were very many about its workload), and is kept for a while (event_store). Numbers
 * only grow, over restarts of the agent and reboots, too.
 */
#ifndef EDGIBLE_EVENTS_H
#define EDGIBLE_EVENTS_H

#include "edgible/event_store.h"
#include "edgible/log.h"
#include "edgible/loop.h"
#include "edgible/mem.h"
#include "edgible/persist.h"

#include <stdint.h>

enum event_type {
    EVENT_DEPLOYED,
    EVENT_UPDATED,
    EVENT_REMOVED,
    EVENT_REJECTED,
    EVENT_STARTING,
    EVENT_STARTED,
    EVENT_EXITED,
    EVENT_BACKOFF,
    EVENT_FAILED,
    EVENT_HEALTHY,
    EVENT_UNHEALTHY,
    EVENT_STOPPING,
    EVENT_STOPPED,
    EVENT_KILLED,
    EVENT_ADOPTED,
    EVENT_LOG_ROTATED,
    EVENT_LOG_DROPPED,
    EVENT_DISK_FULL,
    EVENT_SOURCE_LOST,
    EVENT_SOURCE_BACK,
    EVENT_POLICY_REFUSED,
    EVENT_TYPE_COUNT
};

#define EVENT_MAX_FIELDS 12

struct event {
    enum event_type type;
    enum log_level level;
    const char *application; /* NULL where it does not apply */
    const char *workload;
    const struct log_field *fields; /* more of it; NULL or ended by a NULL key */
};

struct events;

/* Keeps events below runtime_dir. loop and persist are borrowed and outlive it; persist
 * remembers up to which number events may have been given out. */
struct events *events_new(struct loop *loop, const char *runtime_dir, const char *boot_id,
                          struct persist *persist, struct err *err);
void events_free(struct events *events);
DEFINE_CLEANUP(events, struct events, events_free)

void events_emit(struct events *events, const struct event *event, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

uint64_t events_last_seq(const struct events *events);
/* What is kept. */
const struct event_store *events_store(const struct events *events);
/* Events that could not be kept, as the file system was full. */
uint64_t events_lost(const struct events *events);
/* How many of a type there were since this agent began. */
uint64_t events_count(const struct events *events, enum event_type type);

/* fn is called from the loop's thread after each event, until events_unwatch(). */
struct events_watch;
struct events_watch *events_watch(struct events *events, void (*fn)(void *arg), void *arg);
void events_unwatch(struct events_watch *watch);

/* "log-rotated" … */
const char *event_type_name(enum event_type type);

#endif
