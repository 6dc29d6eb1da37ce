#include "edgible/clock_record.h"

#include "edgible/clock_floor.h"
#include "edgible/log.h"
#include "edgible/state_doc.h"

#include <stdlib.h>

#define RECORD_FOLDER "clock"
#define RECORD_NAME RECORD_FOLDER "/floor.json"
/* A flash is not to be worn by it, and a day is what certificates can do without. */
#define KEPT_EACH_MS (INT64_C(24) * 3600 * 1000)

struct record {
    int64_t date_ms, set_ms; /* 0: not known */
};

static void on_record(void *arg, const char *name, const char *text, size_t len,
                      const struct err *read_error)
{
    static const struct doc_field fields[] = {
        DOC_FIELD_OF_ALL("version", docread_any),
        DOC_FIELD(struct record, date_ms, "controlPlaneDateMs", docread_int, .max = INT64_MAX),
        DOC_FIELD(struct record, set_ms, "signedSetMs", docread_int, .max = INT64_MAX),
        DOC_FIELDS_END,
    };
    (void) arg;
    struct record record = {0};
    struct err err = {0};
    char sentence[ERR_MSG_MAX];
    if (text != NULL && state_doc_read(name, text, len, fields, &record, &err) == STATE_DOC_READ) {
        clock_floor_put(CLOCK_FLOOR_DATE, record.date_ms);
        clock_floor_put(CLOCK_FLOOR_SET, record.set_ms);
        return;
    }
    log_warn("agent", "'%s' in stateDir cannot be read: %s; the clock is judged without it", name,
             err_text(text != NULL ? &err : read_error, sentence, sizeof(sentence)));
}

static int64_t kept_date_ms; /* of the loop's thread */

void clock_record_restore(struct persist *persist)
{
    clock_floor_put(CLOCK_FLOOR_RECORD, persist_newest_ms(persist));
    persist_each(persist, RECORD_FOLDER, on_record, NULL);
    kept_date_ms = clock_floor_of(CLOCK_FLOOR_DATE);
    CLEANUP(free) char *reason = clock_floor_explain();
    if (reason != NULL) {
        log_warn("agent", "%s", reason);
    }
}

static void put(struct persist *persist)
{
    CLEANUP(json) struct json *json = state_doc_new();
    kept_date_ms = clock_floor_of(CLOCK_FLOOR_DATE);
    json_set_int(json, "controlPlaneDateMs", kept_date_ms);
    json_set_int(json, "signedSetMs", clock_floor_of(CLOCK_FLOOR_SET));
    CLEANUP(free) char *text = json_text(json);
    persist_put(persist, RECORD_NAME, text);
}

void clock_record_keep(struct persist *persist)
{
    if (persist != NULL && clock_floor_of(CLOCK_FLOOR_DATE) - kept_date_ms > KEPT_EACH_MS) {
        put(persist);
    }
}

void clock_record_put_set(struct persist *persist, int64_t at)
{
    if (at * 1000 > clock_floor_of(CLOCK_FLOOR_SET)) {
        clock_floor_put(CLOCK_FLOOR_SET, at * 1000);
        if (persist != NULL) {
            put(persist);
        }
    }
}
