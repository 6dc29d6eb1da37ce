/* What is asked of the agent over the API. */
#include "api_private.h"
#include "edgible/docread.h"
#include "edgible/log.h"
#include "edgible/yaml_doc.h"

#include <stdlib.h>
#include <string.h>

/* --- bodies --------------------------------------------------------------------------------------
 */

/* Reads a JSON object into the struct at target; false after it was answered with what is wrong. */
static bool read_body(const struct api_call *call, const struct doc_field *fields, void *target)
{
    CLEANUP(diag) struct diag diag = {0};
    struct yaml_reader yaml;
    size_t len = 0;
    const char *body = server_request_body(call->request, &len);
    yaml_reader_init(&yaml, "<request>", body, len, &diag);
    CLEANUP(yaml_doc) struct yaml_doc *doc = yaml_reader_next(&yaml);
    if (doc != NULL) {
        diag_append(&diag, &doc->diag);
    }
    if (doc != NULL && diag.error_count == 0) {
        struct doc_reader reader = {.file = "<request>", .diag = &diag, .unknown_keys = DIAG_ERROR};
        struct doc_spot root = {.node = doc->root};
        docread_mapping(&reader, &root, fields, target);
    }
    if (doc == NULL || diag.error_count > 0) {
        api_reply_problem(call, 422, &diag, "the body is %s",
                          doc == NULL && diag.error_count == 0 ? "empty; a JSON object is wanted"
                                                               : "invalid");
        return false;
    }
    return true;
}

/* --- the agent -----------------------------------------------------------------------------------
 */

struct agent_patch {
    char *log_level;
};

void api_patch_agent(struct api *api, const struct api_call *call)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct agent_patch, log_level, "logLevel", docread_string, .is_required = true),
        DOC_FIELDS_END,
    };
    struct agent_patch patch = {0};
    enum log_level level = LOG_INFO;
    bool is_read = read_body(call, fields, &patch);
    CLEANUP(free) char *name = patch.log_level;
    if (!is_read) {
        return;
    }
    if (log_level_parse(name, &level) < 0) {
        api_reply_problem(call, 422, NULL,
                          "'%.40s' is no log level: it is error, warn, info or debug", name);
        return;
    }
    log_set(level, api->params.config->log_format);
    log_info("api", "the log level is %s now", name);
    api_get_agent(api, call);
}

/* --- applications --------------------------------------------------------------------------------
 */

static void reply_app(const struct api *api, const struct api_call *call, unsigned status)
{
    CLEANUP(app_report) struct app_report app = {0};
    if (api_find_app(api, call, 0, &app)) {
        CLEANUP(json) struct json *json = app_report_json(&app);
        api_reply_json(call, status, json);
    }
}

struct app_patch {
    char *target_state;
};

void api_patch_application(struct api *api, const struct api_call *call)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct app_patch, target_state, "targetState", docread_string,
                  .is_required = true),
        DOC_FIELDS_END,
    };
    struct app_patch patch = {0};
    CLEANUP(app_report) struct app_report app = {0};
    bool is_read = read_body(call, fields, &patch);
    CLEANUP(free) char *state = patch.target_state;
    if (!is_read || !api_find_app(api, call, 0, &app)) {
        return;
    }
    bool suspended = strcmp(state, "suspended") == 0;
    if (!suspended && strcmp(state, "running") != 0) {
        api_reply_problem(call, 422, NULL, "'%.40s' is no target state: it is running or suspended",
                          state);
        return;
    }
    if (!reconcile_set_suspended(api->params.reconcile, app.name, suspended)) {
        api_reply_problem(call, 409, NULL,
                          "application '%s' has no version that could be %s: it is %s", app.name,
                          suspended ? "suspended" : "run", status_name_of_app(app.status));
        return;
    }
    reply_app(api, call, 200);
}

struct restart_request {
    char *workload;
};

void api_restart_application(struct api *api, const struct api_call *call)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct restart_request, workload, "workload", docread_string),
        DOC_FIELDS_END,
    };
    struct restart_request wanted = {0};
    CLEANUP(app_report) struct app_report app = {0};
    size_t len = 0;
    (void) server_request_body(call->request, &len);
    bool is_read = len == 0 || read_body(call, fields, &wanted);
    CLEANUP(free) char *workload = wanted.workload;
    if (!is_read || !api_find_app(api, call, 0, &app)) {
        return;
    }
    CLEANUP(free)
    char *refusal = reconcile_restart_refusal(api->params.reconcile, app.name, workload);
    if (refusal != NULL) {
        api_reply_problem(
            call, 403, NULL,
            "the policy of this device refuses the start of application '%s', so what "
            "runs of it goes on: %s",
            app.name, refusal);
    } else if (app.suspended) {
        api_reply_problem(call, 409, NULL,
                          "application '%s' is suspended; `edgible application update -i %s "
                          "--target-state running` starts it",
                          app.name, app.name);
    } else if (!supervisor_restart(api->params.supervisor, app.name, workload)) {
        api_reply_problem(call, workload != NULL ? 404 : 409, NULL,
                          "application '%s' has no workload%s%.100s%s that could be restarted",
                          app.name, workload != NULL ? " '" : "", workload != NULL ? workload : "",
                          workload != NULL ? "'" : "");
    } else {
        reply_app(api, call, 202);
    }
}
