#include "edgible/events.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct events {
    uint64_t last_seq;
};

const char *event_type_name(enum event_type type)
{
    static const char *const names[EVENT_TYPE_COUNT] = {
        [EVENT_DEPLOYED] = "deployed",
        [EVENT_UPDATED] = "updated",
        [EVENT_REMOVED] = "removed",
        [EVENT_REJECTED] = "rejected",
        [EVENT_STARTING] = "starting",
        [EVENT_STARTED] = "started",
        [EVENT_EXITED] = "exited",
        [EVENT_BACKOFF] = "backoff",
        [EVENT_FAILED] = "failed",
        [EVENT_STOPPING] = "stopping",
        [EVENT_STOPPED] = "stopped",
        [EVENT_KILLED] = "killed",
        [EVENT_ADOPTED] = "adopted",
        [EVENT_LOG_ROTATED] = "log-rotated",
        [EVENT_LOG_DROPPED] = "log-dropped",
        [EVENT_DISK_FULL] = "disk-full",
        [EVENT_SOURCE_LOST] = "source-lost",
        [EVENT_SOURCE_BACK] = "source-back",
        [EVENT_POLICY_REFUSED] = "policy-refused",
    };
    return names[type];
}

struct events *events_new(void)
{
    return xcalloc(1, sizeof(struct events));
}

void events_free(struct events *events)
{
    free(events);
}

void events_emit(struct events *events, const struct event *event, const char *fmt, ...)
{
    char seq[24];
    (void) snprintf(seq, sizeof(seq), "%" PRIu64, ++events->last_seq);
    struct log_field all[EVENT_MAX_FIELDS + 5] = {
        {"seq",         seq                         },
        {"type",        event_type_name(event->type)},
        {"application", event->application          },
        {"workload",    event->workload             },
    };
    size_t count = 4;
    for (const struct log_field *f = event->fields; f != NULL && f->key != NULL; f++) {
        assert(count < ARRAY_LEN(all) - 1);
        all[count++] = *f;
    }
    va_list ap;
    va_start(ap, fmt);
    CLEANUP(free) char *message = xvasprintf(fmt, ap);
    va_end(ap);
    log_line(event->level, "event", all, "%s", message);
}
