/*
 * events: what happened, in order. Each event is numbered and becomes one line of the log.
 */
#ifndef EDGIBLE_EVENTS_H
#define EDGIBLE_EVENTS_H

#include "edgible/log.h"
#include "edgible/mem.h"

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

struct events *events_new(void);
void events_free(struct events *events);
DEFINE_CLEANUP(events, struct events, events_free)

void events_emit(struct events *events, const struct event *event, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* "log-rotated" … */
const char *event_type_name(enum event_type type);

#endif
