#include "reporter_backlog.h"

#include "edgible/log.h"

#include <stdlib.h>
#include <string.h>

/* Of stateDir: soon after the first event that cannot be told, and then seldom, as flash wears. */
#define SAVE_FIRST_MS 2000
#define SAVE_GAP_MS 30000
/* One record a folder. */
#define SAVED_RECORD "report/unreported.json"
#define TAKEN_RECORD "report.json"

struct backlog {
    const struct source_params *params;
    struct loop_timer *timer;
    struct strv old;    /* events of before the reboot */
    uint64_t next_seq;  /* the oldest of the store that was not told */
    uint64_t lost;      /* that cannot be told */
    size_t told_old;    /* in the report that is under way: so many of old */
    uint64_t told_next; /* and up to before this one of the store */
    uint64_t told_lost;
    bool is_saved;        /* there is a record in stateDir */
    uint64_t saved_until; /* next number when it was written */
    mono_ms saved_at;
};

static const struct event_store *store_of(const struct backlog *b)
{
    return events_store(b->params->events);
}

/* --- what is kept in stateDir --------------------------------------------------------------------
 */

/* The last ones, and how many there were before. */
static void save(struct backlog *b)
{
    const struct event_store *store = store_of(b);
    struct event_cursor cursor = {.next_seq = b->next_seq};
    CLEANUP(strv) struct strv lines = {0};
    size_t len = 0;
    strv_copy(&lines, &b->old);
    for (const char *line = event_store_next(store, &cursor, &len); line != NULL;
         line = event_store_next(store, &cursor, &len)) {
        strv_add_take(&lines, xstrndup(line, len));
    }
    event_cursor_fini(&cursor);
    size_t first = lines.count > BACKLOG_MAX_EVENTS ? lines.count - BACKLOG_MAX_EVENTS : 0;
    CLEANUP(json) struct json *json = json_object();
    struct json *kept = json_array();
    for (size_t i = first; i < lines.count; i++) {
        json_add_raw(kept, lines.items[i]);
    }
    json_set_int(json, "lost", (int64_t) (b->lost + first));
    json_set(json, "events", kept);
    CLEANUP(free) char *text = json_text(json);
    persist_put(b->params->persist, SAVED_RECORD, text);
    b->is_saved = true;
    b->saved_until = cursor.next_seq;
    b->saved_at = loop_now();
}

static void forget_saved(struct backlog *b)
{
    loop_timer_disarm(b->timer);
    if (b->is_saved) {
        persist_remove(b->params->persist, SAVED_RECORD);
        b->is_saved = false;
    }
}

static bool has_unsaved(const struct backlog *b)
{
    uint64_t next = event_store_last_seq(store_of(b)) + 1;
    return next > b->next_seq && (!b->is_saved || next > b->saved_until);
}

static void on_save_timer(void *arg)
{
    struct backlog *b = arg;
    if (has_unsaved(b)) {
        save(b);
    }
}

void backlog_on_event(struct backlog *b, bool is_failing)
{
    if (is_failing && !loop_timer_is_armed(b->timer) && has_unsaved(b)) {
        mono_ms soon = loop_now() + SAVE_FIRST_MS;
        mono_ms may = b->is_saved ? b->saved_at + SAVE_GAP_MS : soon;
        loop_timer_arm(b->timer, soon > may ? soon : may);
    }
}

/* Those that the store still has are not needed twice. */
static void on_saved(void *arg, const char *name, const char *text, size_t len,
                     const struct err *err)
{
    struct backlog *b = arg;
    struct err parse = {0};
    if (strcmp(name, SAVED_RECORD) != 0) {
        return;
    }
    CLEANUP(json) struct json *json = text != NULL ? json_parse(text, len, &parse) : NULL;
    if (json == NULL) {
        log_error("report", "events that were not told yet cannot be read: %s",
                  text != NULL ? parse.msg : err->msg);
        return;
    }
    b->is_saved = true;
    double first = (double) event_store_first_seq(store_of(b));
    double lost = json_number(json, "lost", 0);
    b->lost = lost > 0 ? (uint64_t) lost : 0;
    for (const struct json *event = json_first(json_get(json, "events"));
         event != NULL && b->old.count < BACKLOG_MAX_EVENTS; event = json_next(event)) {
        if (json_number(event, "seq", first) < first) {
            char *line = json_text(event);
            line[strlen(line) - 1] = '\0';
            strv_add_take(&b->old, line);
        }
    }
}

/* --- telling -------------------------------------------------------------------------------------
 */

static void skip_old(struct backlog *b, size_t count)
{
    struct strv rest = {0};
    for (size_t i = count; i < b->old.count; i++) {
        strv_add(&rest, b->old.items[i]);
    }
    strv_fini(&b->old);
    b->old = rest;
}

void backlog_add_events(struct backlog *b, size_t max, size_t max_bytes, struct json *report)
{
    const struct event_store *store = store_of(b);
    struct json *events = json_array();
    uint64_t first = event_store_first_seq(store);
    if (b->next_seq < first) {
        b->lost += b->next_seq != 0 ? first - b->next_seq : 0;
        b->next_seq = first;
    }
    b->told_old = 0;
    size_t bytes = 0;
    while (b->told_old < b->old.count && b->told_old < max && bytes < max_bytes) {
        bytes += strlen(b->old.items[b->told_old]);
        json_add_raw(events, b->old.items[b->told_old++]);
    }
    struct event_cursor cursor = {.next_seq = b->next_seq};
    size_t count = b->told_old;
    size_t len = 0;
    while (count < max && bytes < max_bytes) {
        const char *line = event_store_next(store, &cursor, &len);
        if (line == NULL) {
            break;
        }
        CLEANUP(free) char *copy = xstrndup(line, len);
        json_add_raw(events, copy);
        bytes += len;
        count++;
    }
    b->told_next = cursor.next_seq;
    b->told_lost = b->lost;
    event_cursor_fini(&cursor);
    json_set(report, "events", events);
    if (b->lost > 0) {
        json_set_int(report, "eventsLost", (int64_t) b->lost);
    }
}

static void write_taken(struct backlog *b, int64_t sequence)
{
    CLEANUP(json) struct json *json = json_object();
    json_set_string(json, "bootId", b->params->boot_id);
    json_set_int(json, "sequence", sequence);
    json_set_int(json, "nextEvent", (int64_t) b->next_seq);
    CLEANUP(free) char *text = json_text(json);
    persist_put_volatile(b->params->persist, TAKEN_RECORD, text);
}

bool backlog_on_taken(struct backlog *b, int64_t sequence)
{
    skip_old(b, b->told_old);
    b->told_old = 0;
    b->next_seq = b->told_next;
    b->lost -= b->told_lost;
    b->told_lost = 0;
    write_taken(b, sequence);
    bool has_more = b->old.count > 0 || event_store_last_seq(store_of(b)) >= b->next_seq;
    if (!has_more) {
        forget_saved(b);
    }
    return has_more;
}

void backlog_drop(struct backlog *b)
{
    strv_fini(&b->old);
    b->lost = 0;
    b->next_seq = event_store_last_seq(store_of(b)) + 1;
    forget_saved(b);
}

/* --- life ----------------------------------------------------------------------------------------
 */

static void read_taken(struct backlog *b, int64_t *ret_sequence)
{
    size_t len = 0;
    CLEANUP(free) char *text = persist_read_volatile(b->params->persist, TAKEN_RECORD, &len, NULL);
    CLEANUP(json) struct json *json = text != NULL ? json_parse(text, len, NULL) : NULL;
    const char *boot_id = json != NULL ? json_string(json, "bootId") : NULL;
    if (boot_id != NULL && strcmp(boot_id, b->params->boot_id) == 0) {
        double next = json_number(json, "nextEvent", 0);
        double sequence = json_number(json, "sequence", 0);
        b->next_seq = next > 0 ? (uint64_t) next : 0;
        *ret_sequence = sequence > 0 ? (int64_t) sequence : 0;
    }
}

struct backlog *backlog_new(const struct source_params *params, int64_t *ret_sequence)
{
    struct backlog *b = xcalloc(1, sizeof(*b));
    b->params = params;
    b->timer = loop_timer_new(params->loop, on_save_timer, b);
    read_taken(b, ret_sequence);
    persist_each(params->persist, "report", on_saved, b);
    return b;
}

void backlog_free(struct backlog *b)
{
    if (b != NULL) {
        if (has_unsaved(b)) {
            save(b);
        }
        loop_timer_free(b->timer);
        strv_fini(&b->old);
        free(b);
    }
}
