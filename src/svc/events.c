#include "edgible/events.h"

#include "edgible/clock.h"
#include "edgible/json_doc.h"
#include "edgible/list.h"
#include "edgible/log_quota.h"
#include "edgible/loop.h"
#include "edgible/parse.h"
#include "edgible/report.h"
#include "edgible/state_doc.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* So many numbers are set aside with one write to the disk: a new boot begins behind them. */
#define SEQ_BLOCK 1000000
#define SEQ_RECORD "device/events.json"
#define EVENT_MAX_BYTES (256UL * 1024)

struct events {
    struct event_store *store;
    struct persist *persist;
    char *boot_id;
    uint64_t last_seq;
    uint64_t seq_limit; /* no number above it may be given out */
    uint64_t lost;
    uint64_t counts[EVENT_TYPE_COUNT];
    struct list watches;
    struct log_quota *quota;
    struct loop_timer *tell_timer; /* armed while lines were left out of the log */
};

struct events_watch {
    struct list link;
    void (*fn)(void *arg);
    void *arg;
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
        [EVENT_HEALTHY] = "healthy",
        [EVENT_UNHEALTHY] = "unhealthy",
        [EVENT_POLICY_REFUSED] = "policy-refused",
    };
    return names[type];
}

/* --- the log ------------------------------------------------------------------------------------
 */

static void tell_left_out(const char *application, const char *workload, uint64_t count,
                          mono_ms during)
{
    char text[24];
    char time[48];
    (void) snprintf(text, sizeof(text), "%" PRIu64, count);
    struct log_field fields[] = {
        {"application", application},
        {"workload",             workload},
        {"leftOut",text},
        {0    },
    };
    CLEANUP(free)
    char *about = application == NULL ? xstrdup("the device")
                  : workload == NULL  ? xstrdup(application)
                                      : xasprintf("%s/%s", application, workload);
    log_line(LOG_WARN, "agent", fields,
             "left out %s lines about %s in the last %s; 'edgible application events%s%s' has them",
             text, about, format_duration(during, time, sizeof(time)),
             application != NULL ? " -i " : "", application != NULL ? application : "");
}

static void arm_tell_timer(void *arg)
{
    struct events *events = arg;
    mono_ms next = log_quota_tell_due(events->quota, loop_now());
    if (next >= 0) {
        loop_timer_arm(events->tell_timer, next);
    }
}

/* What a program that restarts again and again makes of lines. */
static bool repeats(enum event_type type)
{
    return type == EVENT_STARTING || type == EVENT_STARTED || type == EVENT_EXITED ||
           type == EVENT_BACKOFF;
}

static bool goes_to_log(struct events *events, const struct event *event)
{
    if (event->level > log_get_level()) {
        return false;
    }
    bool is_of_workload = event->application != NULL && event->workload != NULL;
    if (log_quota_take(events->quota, event->application, event->workload, !repeats(event->type),
                       loop_now())) {
        if (is_of_workload && (event->type == EVENT_FAILED || event->type == EVENT_STOPPED)) {
            /* what repeated is over */
            log_quota_flush(events->quota, event->application, event->workload, loop_now());
        }
        return true;
    }
    if (!loop_timer_is_armed(events->tell_timer)) {
        arm_tell_timer(events);
    }
    return false;
}

/* --- numbers ------------------------------------------------------------------------------------
 */

struct seq_record {
    int64_t limit;
};

static void take_limit(void *arg, const char *name, const char *text, size_t len,
                       const struct err *err)
{
    (void) err;
    static const struct doc_field fields[] = {
        DOC_FIELD_OF_ALL("version", docread_any),
        DOC_FIELD(struct seq_record, limit, "seqLimit", docread_int, .is_required = true, .min = 0,
                  .max = INT64_MAX),
        DOC_FIELDS_END,
    };
    struct events *events = arg;
    struct seq_record record = {0};
    /* One that cannot be read costs no more than numbers that begin anew. */
    if (text != NULL && strcmp(name, SEQ_RECORD) == 0 &&
        state_doc_read(name, text, len, fields, &record, NULL) == STATE_DOC_READ) {
        events->seq_limit = (uint64_t) record.limit;
    }
}

static void set_aside(struct events *events)
{
    events->seq_limit = events->last_seq + SEQ_BLOCK;
    CLEANUP(json) struct json *json = state_doc_new();
    json_set_int(json, "seqLimit", (int64_t) events->seq_limit);
    CLEANUP(free) char *text = json_text(json);
    persist_put(events->persist, SEQ_RECORD, text);
}

struct events *events_new(struct loop *loop, const char *runtime_dir, const char *boot_id,
                          struct persist *persist, struct err *err)
{
    CLEANUP(free) char *dir = xasprintf("%s/events", runtime_dir);
    CLEANUP(events) struct events *events = xcalloc(1, sizeof(*events));
    list_init(&events->watches);
    events->quota = log_quota_new(tell_left_out);
    events->tell_timer = loop_timer_new(loop, arm_tell_timer, events);
    events->persist = persist;
    events->boot_id = xstrdup(boot_id);
    events->store = event_store_open(dir, err);
    if (events->store == NULL) {
        return NULL;
    }
    persist_each(persist, "device", take_limit, events);
    events->last_seq = event_store_last_seq(events->store);
    if (events->last_seq == 0 || events->last_seq > events->seq_limit) {
        events->last_seq =
            events->last_seq > events->seq_limit ? events->last_seq : events->seq_limit;
        set_aside(events);
    }
    return steal_ptr(&events);
}

void events_free(struct events *events)
{
    if (events != NULL) {
        loop_timer_free(events->tell_timer);
        log_quota_free(events->quota, loop_now());
        event_store_close(events->store);
        free(events->boot_id);
        free(events);
    }
}

uint64_t events_last_seq(const struct events *events)
{
    return events->last_seq;
}

const struct event_store *events_store(const struct events *events)
{
    return events->store;
}

uint64_t events_lost(const struct events *events)
{
    return events->lost;
}

uint64_t events_count(const struct events *events, enum event_type type)
{
    return events->counts[type];
}

struct events_watch *events_watch(struct events *events, void (*fn)(void *arg), void *arg)
{
    struct events_watch *watch = xcalloc(1, sizeof(*watch));
    watch->fn = fn;
    watch->arg = arg;
    list_add_tail(&events->watches, &watch->link);
    return watch;
}

void events_unwatch(struct events_watch *watch)
{
    if (watch != NULL) {
        list_remove(&watch->link);
        free(watch);
    }
}

/* --- keeping -------------------------------------------------------------------------------------
 */

static bool is_number(const char *key)
{
    static const char *const numbers[] = {"pid",   "code",       "restarts",  "delay_ms",
                                          "bytes", "generation", "workloads", "rotations"};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        if (strcmp(key, numbers[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void set_lines(struct json *data, const char *key, const char *text)
{
    struct json *lines = json_array();
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");
        CLEANUP(free) char *line = xasprintf("%.*s", (int) len, text);
        json_add_string(lines, line);
        text += len + (text[len] == '\n' ? 1 : 0);
    }
    json_set(data, key, lines);
}

static struct json *data_json(const struct log_field *fields)
{
    struct json *data = json_object();
    for (const struct log_field *f = fields; f != NULL && f->key != NULL; f++) {
        if (f->value != NULL && is_number(f->key)) {
            json_set_int(data, f->key, strtoll(f->value, NULL, 10));
        } else if (f->value != NULL && strcmp(f->key, "output") == 0) {
            set_lines(data, f->key, f->value);
        } else {
            json_set_string(data, f->key, f->value);
        }
    }
    return data;
}

/* Begins with the number: event_store finds it there. */
static char *event_text(const struct events *events, const struct event *event, const char *message,
                        bool with_data)
{
    CLEANUP(json) struct json *json = json_object();
    json_set_int(json, "seq", (int64_t) events->last_seq);
    json_set_time(json, "at", clock_unix_ms());
    json_set_string(json, "bootId", events->boot_id);
    json_set_string(json, "application", event->application);
    json_set_string(json, "workload", event->workload);
    json_set_string(json, "type", event_type_name(event->type));
    json_set_string(json, "message", message);
    if (with_data && event->fields != NULL) {
        json_set(json, "data", data_json(event->fields));
    }
    return json_text(json);
}

static void keep(struct events *events, const struct event *event, const char *message)
{
    CLEANUP(free) char *text = event_text(events, event, message, true);
    if (strlen(text) > EVENT_MAX_BYTES) {
        CLEANUP(free) char *cut = xasprintf("%.*s …", 4096, message);
        free(text);
        text = event_text(events, event, cut, false);
    }
    if (event_store_add(events->store, events->last_seq, text, strlen(text) - 1, NULL) < 0) {
        events->lost++;
    }
    list_each (it, &events->watches) {
        struct events_watch *watch = list_entry(it, struct events_watch, link);
        watch->fn(watch->arg);
    }
}

void events_emit(struct events *events, const struct event *event, const char *fmt, ...)
{
    if (events->last_seq >= events->seq_limit) {
        set_aside(events);
    }
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
    if (goes_to_log(events, event)) {
        log_line(event->level, "event", all, "%s", message);
    }
    events->counts[event->type]++;
    keep(events, event, message);
}
