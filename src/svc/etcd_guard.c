#include "etcd_guard.h"

#include "edgible/json_doc.h"
#include "edgible/log.h"

#include <stdlib.h>
#include <string.h>

/* A durable record in a folder of its own. */
#define FOLDER "etcd"
#define RECORD FOLDER "/known.json"

static void save(const struct etcd_guard *g)
{
    CLEANUP(json) struct json *json = json_object();
    json_set_string(json, "report", g->report_key);
    json_set_bool(json, "hasReported", g->has_reported);
    json_set_bool(json, "hasDocuments", g->has_documents);
    json_set_bool(json, "isGone", g->is_gone);
    CLEANUP(free) char *text = json_text(json);
    persist_put(g->persist, RECORD, text);
}

static void on_record(void *arg, const char *name, const char *text, size_t len,
                      const struct err *err)
{
    struct etcd_guard *g = arg;
    (void) err; /* as if nothing were known */
    CLEANUP(json)
    struct json *json =
        text != NULL && strcmp(name, RECORD) == 0 ? json_parse(text, len, NULL) : NULL;
    const char *key = json != NULL ? json_string(json, "report") : NULL;
    if (key != NULL && strcmp(key, g->report_key) == 0) {
        g->has_reported = json_bool(json, "hasReported", false);
        g->has_documents = json_bool(json, "hasDocuments", false);
        g->is_gone = json_bool(json, "isGone", false);
    }
}

void etcd_guard_init(struct etcd_guard *g, struct persist *persist, const char *keys)
{
    *g = (struct etcd_guard){.persist = persist,
                             .report_key = xasprintf("%sreport", keys),
                             .confirm_key = xasprintf("%sconfirm", keys)};
    persist_each(persist, FOLDER, on_record, g);
}

void etcd_guard_fini(struct etcd_guard *g)
{
    free(g->report_key);
    free(g->confirm_key);
    *g = (struct etcd_guard){0};
}

const char *etcd_guard_key(const struct etcd_guard *g)
{
    if (g->is_gone) {
        return g->confirm_key;
    }
    return g->has_reported && g->has_documents ? g->report_key : NULL;
}

int etcd_guard_judge(struct etcd_guard *g, bool exists, struct err *err)
{
    if (g->is_gone == exists) {
        g->is_gone = !exists;
        g->has_reported = false; /* until it is written again */
        save(g);
        if (exists) {
            log_warn("source", "'%s' is there: what etcd has counts again", g->confirm_key);
        }
    }
    return exists ? 0
                  : err_set(err, ERR_REMOTE,
                            "this device's keys are gone: '%s', which this agent wrote, was not "
                            "there any more. If etcd lost its data, restore it; put the key '%s', "
                            "with any value, once what is there is to count",
                            g->report_key, g->confirm_key);
}

void etcd_guard_note_report(struct etcd_guard *g)
{
    if (!g->has_reported) {
        g->has_reported = true;
        save(g);
    }
}

void etcd_guard_note_documents(struct etcd_guard *g, size_t count)
{
    if (g->has_documents != (count > 0)) {
        g->has_documents = count > 0;
        save(g);
    }
}
