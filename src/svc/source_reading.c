#include "source_reading.h"

#include "edgible/log.h"
#include "edgible/work.h"

#include <stdlib.h>

struct source_reading {
    struct source_reading_params params;
    struct source_reading **slot;
    struct work *work;
};

static void free_reading(void *arg)
{
    struct source_reading *reading = arg;
    for (size_t i = 0; i < reading->params.count; i++) {
        app_docs_fini(&reading->params.texts[i].docs);
        free(reading->params.texts[i].origin);
    }
    free(reading->params.texts);
    reading->params.free_keep(reading->params.keep);
    free(reading);
}

/* now, or, where that is more and counts as well, before. */
static size_t more_where(bool both, size_t now, size_t before)
{
    return both && before > now ? before : now;
}

/* Each text may have what the texts before it and those that are not read leave of the bounds. */
static void run(void *arg)
{
    const struct source_reading_params *params = &((struct source_reading *) arg)->params;
    struct source_load taken = params->taken;
    for (size_t i = 0; i < params->count; i++) {
        struct source_text *text = &params->texts[i];
        text->docs.is_single = text->is_single;
        text->docs.document_count = taken.documents - text->own.documents;
        text->docs.workload_count = taken.workloads - text->own.workloads;
        text->docs.memory_bytes = taken.memory_bytes - text->own.memory_bytes;
        text->docs.faulty = taken.faulty - text->own.faulty;
        appspec_parse(text->origin, text->text, text->len, &text->docs);
        /* Of what is invalid the old version stays. */
        bool stays = app_docs_error_count(&text->docs) > 0;
        taken.documents = more_where(stays, text->docs.document_count, taken.documents);
        taken.workloads = more_where(stays, text->docs.workload_count, taken.workloads);
        taken.memory_bytes = more_where(stays, text->docs.memory_bytes, taken.memory_bytes);
        taken.faulty = text->docs.faulty;
    }
}

static void done(void *arg)
{
    struct source_reading *reading = arg;
    struct work *work = reading->work;
    const struct source_reading_params *params = &reading->params;
    *reading->slot = NULL;
    params->done(params->arg, params->texts, params->count);
    work_free(work);
}

void source_reading_start(const struct source_reading_params *params, struct source_reading **slot)
{
    struct source_reading *reading = xcalloc(1, sizeof(*reading));
    reading->params = *params;
    reading->slot = slot;
    size_t bytes = params->count * SOURCE_READING_TEXT_BYTES;
    for (size_t i = 0; i < params->count; i++) {
        bytes += params->texts[i].len;
    }
    struct work_params work = {
        .loop = params->loop, .run = run, .done = done, .free_arg = free_reading, .arg = reading};
    struct err err = {0};
    if (bytes > SOURCE_READING_SHORT_BYTES) {
        *slot = reading;
        reading->work = work_start(&work, &err);
        if (reading->work != NULL) {
            return;
        }
        *slot = NULL;
        log_warn("source", "documents are read without a thread: %s", err.msg);
    }
    run(reading);
    params->done(params->arg, params->texts, params->count);
    free_reading(reading);
}

void source_reading_free(struct source_reading *reading)
{
    if (reading != NULL) {
        work_free(reading->work);
    }
}
