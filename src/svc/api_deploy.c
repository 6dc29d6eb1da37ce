/*
 * Deploys and removals over the API: one after the other, each in steps, so that none holds the
 * loop. Documents are read on a thread where they are long, checked and planned in turns, and
 * written on a thread; then the source looks, and the answer tells of what came of it.
 */
#include "api_private.h"
#include "deploy.h"
#include "edgible/log.h"
#include "edgible/source_directory.h"
#include "edgible/work.h"
#include "source_reading.h"

#include <stdlib.h>
#include <string.h>

/* What was deployed is looked after so often, and no longer: the answer comes anyway. */
#define TAKING_POLL_MS 5
#define TAKING_MAX_MS 20000

enum stage { STAGE_WAITING, STAGE_READING, STAGE_CHECKING, STAGE_WRITING, STAGE_TAKING };

struct api_deploy {
    struct list link; /* in api.deploys */
    struct api *api;
    struct server_request *request;
    enum stage stage;
    bool dry_run;
    char *application;              /* that is to go; NULL: documents are to come */
    struct source_reading *reading; /* NULL: none */
    struct deploy *deploy;          /* the documents that were read */
    struct work *writing;           /* NULL: none */
    struct json *answer;            /* where nothing comes in between */
    mono_ms taken_by;
};

static void run_soon(struct api *api, mono_ms delay)
{
    loop_timer_arm(api->deploy_timer, loop_now() + delay);
}

static void free_deploy(struct api_deploy *d)
{
    list_remove(&d->link);
    source_reading_free(d->reading);
    deploy_free(d->deploy);
    work_free(d->writing);
    json_free(d->answer);
    free(d->application);
    free(d);
}

/* It is answered: the next one's turn. */
static void end(struct api_deploy *d)
{
    run_soon(d->api, 0);
    free_deploy(d);
}

static void refuse(struct api_deploy *d, const struct deploy_refusal *refusal)
{
    const struct api_call call = {.request = d->request};
    api_reply_problem(&call, refusal->status, &refusal->errors, "%s", refusal->detail);
    end(d);
}

/* --- taking --------------------------------------------------------------------------------------
 */

static void reply(struct api_deploy *d)
{
    const struct api_call call = {.request = d->request};
    CLEANUP(app_report) struct app_report app = {0};
    struct overview view = api_overview(d->api);
    if (d->application != NULL && overview_take_app(&view, d->application, 0, &app)) {
        json_free(d->answer);
        d->answer = app_report_json(&app);
    }
    api_reply_json(&call, d->application != NULL ? 202 : 200, d->answer);
    end(d);
}

static void go_on_taking(struct api_deploy *d)
{
    const struct api *api = d->api;
    bool is_busy =
        source_directory_is_looking(api->source) || reconcile_is_busy(api->params.reconcile);
    if (is_busy && loop_now() < d->taken_by) {
        run_soon(d->api, TAKING_POLL_MS);
    } else {
        reply(d);
    }
}

/* --- writing -------------------------------------------------------------------------------------
 */

/* What the thread has. It may live longer than the rest. */
struct writing {
    struct api_deploy *deploy;
    struct deploy_write *write;
};

static void run_writing(void *arg)
{
    deploy_write_run(((struct writing *) arg)->write);
}

static void free_writing(void *arg)
{
    struct writing *writing = arg;
    deploy_write_free(writing->write);
    free(writing);
}

static void on_written(void *arg)
{
    const struct writing *writing = arg;
    struct api_deploy *d = writing->deploy;
    CLEANUP(deploy_refusal) struct deploy_refusal refusal = {0};
    bool is_done = deploy_write_is_done(writing->write, &refusal);
    d->stage = STAGE_TAKING;
    d->taken_by = loop_now() + TAKING_MAX_MS;
    source_directory_release(d->api->source);
    work_free(steal_ptr(&d->writing)); /* with `writing` */
    if (is_done) {
        go_on_taking(d);
    } else {
        refuse(d, &refusal);
    }
}

static void write_files(struct api_deploy *d, struct deploy_write *take_write)
{
    struct writing *writing = xcalloc(1, sizeof(*writing));
    *writing = (struct writing){.deploy = d, .write = take_write};
    struct work_params params = {.loop = d->api->params.loop,
                                 .run = run_writing,
                                 .done = on_written,
                                 .free_arg = free_writing,
                                 .arg = writing};
    struct err err = {0};
    d->stage = STAGE_WRITING;
    source_directory_hold(d->api->source);
    d->writing = work_start(&params, &err);
    if (d->writing == NULL) {
        log_warn("api", "a deploy is written without a thread: %s", err.msg);
        run_writing(writing);
        on_written(writing);
        free_writing(writing);
    }
}

/* --- checking ------------------------------------------------------------------------------------
 */

static void go_on_checking(struct api_deploy *d)
{
    CLEANUP(deploy_refusal) struct deploy_refusal refusal = {0};
    struct overview view = api_overview(d->api);
    int rc = deploy_check_source(&view, &refusal) ? deploy_go_on(d->deploy, &view, &refusal) : -1;
    if (rc < 0) {
        refuse(d, &refusal);
    } else if (rc == 0) {
        run_soon(d->api, 0);
    } else {
        d->answer = deploy_take_plan(d->deploy);
        struct deploy_write *write = d->dry_run ? NULL : deploy_take_write(d->deploy, &view);
        deploy_free(steal_ptr(&d->deploy));
        if (write != NULL) {
            write_files(d, write);
        } else {
            reply(d);
        }
    }
}

static void on_read(void *arg, struct source_text *texts, size_t count)
{
    struct api_deploy *d = arg;
    (void) count;
    d->reading = NULL;
    d->stage = STAGE_CHECKING;
    d->deploy = deploy_new(&texts->docs, texts->text, texts->len);
    go_on_checking(d);
}

/* --- its beginning ------------------------------------------------------------------------------
 */

static void read_documents(struct api_deploy *d)
{
    struct source_text *text = xcalloc(1, sizeof(*text));
    char *body = server_request_take_body(d->request, &text->len);
    text->origin = xstrdup("<request>");
    text->text = body;
    const struct source_reading_params params = {
        .loop = d->api->params.loop,
        .texts = text,
        .count = 1,
        .keep = body,
        .free_keep = free,
        .done = on_read,
        .arg = d,
    };
    d->stage = STAGE_READING;
    source_reading_start(&params, &d->reading);
}

static void remove_application(struct api_deploy *d)
{
    CLEANUP(deploy_refusal) struct deploy_refusal refusal = {0};
    const struct api_call call = {.request = d->request, .args = {d->application}};
    CLEANUP(app_report) struct app_report app = {0};
    struct overview view = api_overview(d->api);
    struct deploy_write *write = NULL;
    if (!api_find_app(d->api, &call, 0, &app)) {
        end(d);
        return;
    }
    free(d->application);
    d->application = xstrdup(app.name);
    d->answer = app_report_json(&app); /* where it is gone by then */
    if (deploy_remove(&view, app.name, &write, &refusal) < 0) {
        refuse(d, &refusal);
    } else if (write != NULL) {
        write_files(d, write);
    } else {
        reply(d);
    }
}

static void begin(struct api_deploy *d)
{
    if (d->application != NULL) {
        remove_application(d);
    } else {
        read_documents(d);
    }
}

static void on_timer(void *arg)
{
    struct api *api = arg;
    if (list_is_empty(&api->deploys)) {
        return;
    }
    struct api_deploy *d = list_entry(api->deploys.next, struct api_deploy, link);
    if (d->stage == STAGE_WAITING) {
        begin(d);
    } else if (d->stage == STAGE_CHECKING) {
        go_on_checking(d);
    } else if (d->stage == STAGE_TAKING) {
        go_on_taking(d);
    }
}

static void add(struct api *api, const struct api_call *call, const char *application, bool dry_run)
{
    struct api_deploy *d = xcalloc(1, sizeof(*d));
    bool is_first = list_is_empty(&api->deploys);
    d->api = api;
    d->request = call->request;
    d->application = xstrdup_or_null(application);
    d->dry_run = dry_run;
    list_add_tail(&api->deploys, &d->link);
    server_hold(call->request);
    if (is_first) {
        begin(d);
    }
}

void api_put_applications(struct api *api, const struct api_call *call)
{
    bool dry_run = false;
    if (api_query_flag(call, "dryRun", &dry_run)) {
        add(api, call, NULL, dry_run);
    }
}

void api_delete_application(struct api *api, const struct api_call *call)
{
    add(api, call, call->args[0], false);
}

/* --- life ----------------------------------------------------------------------------------------
 */

bool api_is_deploying(const struct api *api)
{
    return !list_is_empty(&api->deploys);
}

bool api_is_answering(const struct api *api)
{
    return server_held_bytes(api->server) > 0;
}

/* It must not look in the middle of what is written. */
void api_deploys_on_source(struct api *api)
{
    list_each (it, &api->deploys) {
        if (list_entry(it, struct api_deploy, link)->stage == STAGE_WRITING) {
            source_directory_hold(api->source);
        }
    }
}

void api_deploys_init(struct api *api)
{
    list_init(&api->deploys);
    api->deploy_timer = loop_timer_new(api->params.loop, on_timer, api);
}

void api_deploys_fini(struct api *api)
{
    list_each (it, &api->deploys) {
        free_deploy(list_entry(it, struct api_deploy, link));
    }
    loop_timer_free(api->deploy_timer);
}
