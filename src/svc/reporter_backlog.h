/*
 * backlog: the events that the control plane has not been told of. They lie in the event store
 * (runtimeDir); while reports fail, the last ones are kept in stateDir as well, for a reboot takes
 * the store away. What is lost by these bounds is counted and told.
 */
#ifndef EDGIBLE_REPORTER_BACKLOG_H
#define EDGIBLE_REPORTER_BACKLOG_H

#include "edgible/source.h"

#define BACKLOG_MAX_EVENTS 500 /* of one report, and of those kept in stateDir */

struct backlog;

/* params is borrowed, and outlives it. *ret_sequence: the number of the last report of this boot
 * that was taken; 0: none. */
struct backlog *backlog_new(const struct source_params *params, int64_t *ret_sequence);
/* Keeps what is left for the next agent. */
void backlog_free(struct backlog *backlog);

/* Members "events", the oldest ones that were not told, max of them, and no further one after
 * max_bytes, and "eventsLost" where some cannot be. */
void backlog_add_events(struct backlog *backlog, size_t max, size_t max_bytes, struct json *report);
/* The report with those was taken. Returns whether there are more. */
bool backlog_on_taken(struct backlog *backlog, int64_t sequence);
/* Nobody wants them: forgets all up to now. */
void backlog_drop(struct backlog *backlog);
/* There is something new, and reports go through or not. */
void backlog_on_event(struct backlog *backlog, bool is_failing);

#endif
