#include "edgible/api.h"

#include "api_private.h"
#include "edgible/clock.h"
#include "edgible/parse.h"
#include "edgible/peer.h"

#include <errno.h>
#include <grp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_PARTS 6
#define QUERIES_MAX 5

/* A `*` in the pattern is any one part of the path. */
struct route {
    const char *method, *pattern;
    api_fn *run;
    const char *queries[QUERIES_MAX + 1];
};

static const struct route routes[] = {
    {"GET",    "/v1/agent",                  api_get_agent,              {0}                                   },
    {"PATCH",  "/v1/agent",                  api_patch_agent,            {0}                                   },
    {"GET",    "/v1/agent/logs",             api_get_agent_logs,         {"lines", "follow", "level", "module"}},
    {"GET",    "/v1/health",                 api_get_health,             {0}                                   },
    {"GET",    "/v1/application-health",     api_get_application_health, {"device"}                            },
    {"GET",    "/v1/applications",           api_get_applications,       {0}                                   },
    {"PUT",    "/v1/applications",           api_put_applications,       {"dryRun"}                            },
    {"GET",    "/v1/applications/*",         api_get_application,        {0}                                   },
    {"DELETE", "/v1/applications/*",         api_delete_application,     {0}                                   },
    {"PATCH",  "/v1/applications/*",         api_patch_application,      {0}                                   },
    {"POST",   "/v1/applications/*/restart", api_restart_application,    {0}                                   },
    {"GET",    "/v1/applications/*/why",     api_get_why,                {0}                                   },
    {"GET",    "/v1/applications/*/events",  api_get_application_events, {"after", "follow", "lines"}          },
    {"GET",    "/v1/events",                 api_get_events,             {"after", "follow", "lines"}          },
    {"GET",
     "/v1/applications/*/workloads/*/logs",  api_get_logs,
     {"lines", "follow", "positions", "from"}                                                                  },
    {"GET",    "/metrics",                   api_get_metrics,            {0}                                   },
};

/* --- answers -------------------------------------------------------------------------------------
 */

void api_reply_json(const struct api_call *call, unsigned status, const struct json *json)
{
    char *text = json_text(json);
    server_reply(call->request, status, "application/json", NULL, text, strlen(text));
}

static const char *status_title(unsigned status)
{
    static const struct {
        unsigned status;
        const char *title;
    } titles[] = {
        {400, "Bad Request"           },
        {403, "Forbidden"             },
        {404, "Not Found"             },
        {405, "Method Not Allowed"    },
        {409, "Conflict"              },
        {415, "Unsupported Media Type"},
        {422, "Unprocessable Content" },
        {500, "Internal Server Error" },
        {503, "Service Unavailable"   },
    };
    for (size_t i = 0; i < ARRAY_LEN(titles); i++) {
        if (titles[i].status == status) {
            return titles[i].title;
        }
    }
    return "Error";
}

static struct json *error_json(const struct diag_item *item)
{
    struct json *json = json_object();
    json_set_string(json, "path", item->path);
    json_set_string(json, "detail", item->message);
    if (item->line > 0) {
        json_set_int(json, "line", (int64_t) item->line);
        json_set_int(json, "column", (int64_t) item->column);
    }
    return json;
}

static void reply_problem(const struct api_call *call, unsigned status, const char *const *headers,
                          const struct diag *errors, const char *detail)
{
    CLEANUP(json) struct json *json = json_object();
    json_set_string(json, "type", "about:blank");
    json_set_string(json, "title", status_title(status));
    json_set_int(json, "status", status);
    json_set_string(json, "detail", detail);
    if (errors != NULL && errors->error_count > 0) {
        struct json *array = json_array();
        for (size_t i = 0; i < errors->count; i++) {
            if (errors->items[i].severity == DIAG_ERROR) {
                json_add(array, error_json(&errors->items[i]));
            }
        }
        json_set(json, "errors", array);
    }
    char *text = json_text(json);
    server_reply(call->request, status, "application/problem+json", headers, text, strlen(text));
}

void api_reply_problem(const struct api_call *call, unsigned status, const struct diag *errors,
                       const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    CLEANUP(free) char *detail = xvasprintf(fmt, ap);
    va_end(ap);
    reply_problem(call, status, NULL, errors, detail);
}

bool api_query_number(const struct api_call *call, const char *name, uint64_t max, uint64_t *ret)
{
    const char *text = server_request_query(call->request, name);
    int64_t value = 0;
    struct err err = {0};
    if (text == NULL) {
        return true;
    }
    if (parse_int(text, 0, (int64_t) max, &value, &err) < 0) {
        api_reply_problem(call, 400, NULL,
                          "the query parameter '%s' is to be a number from 0 to "
                          "%llu",
                          name, (unsigned long long) max);
        return false;
    }
    *ret = (uint64_t) value;
    return true;
}

bool api_query_flag(const struct api_call *call, const char *name, bool *ret)
{
    const char *text = server_request_query(call->request, name);
    if (text != NULL && strcmp(text, "true") != 0 && strcmp(text, "false") != 0) {
        api_reply_problem(call, 400, NULL, "the query parameter '%s' is to be true or false", name);
        return false;
    }
    *ret = text != NULL && strcmp(text, "true") == 0;
    return true;
}

struct overview api_overview(const struct api *api)
{
    return (struct overview){
        .config = api->params.config,
        .reconcile = api->params.reconcile,
        .supervisor = api->params.supervisor,
        .source = api->source,
        .probe = api->seen,
    };
}

bool api_find_app(const struct api *api, const struct api_call *call, unsigned what,
                  struct app_report *ret)
{
    struct overview view = api_overview(api);
    if (overview_take_app(&view, call->args[0], what, ret)) {
        return true;
    }
    api_reply_problem(call, 404, NULL,
                      "there is no application with the id or name '%.100s' on this device; "
                      "`edgible application list` shows those there are",
                      call->args[0]);
    return false;
}

/* --- routes --------------------------------------------------------------------------------------
 */

/* Matches the path, and copies the parts that the pattern leaves open. */
static bool matches(const char *pattern, const char *path, struct api_call *call)
{
    size_t args = 0;
    while (*pattern != '\0' || *path != '\0') {
        if (*pattern == '*') {
            size_t len = strcspn(path, "/");
            if (len == 0 || args == ARRAY_LEN(call->args)) {
                return false;
            }
            free(call->args[args]);
            call->args[args++] = xasprintf("%.*s", (int) (len < 256 ? len : 256), path);
            pattern++;
            path += len;
        } else if (*pattern == *path) {
            pattern++;
            path++;
        } else {
            return false;
        }
    }
    return true;
}

static void run(struct api *api, const struct route *route, const struct api_call *call)
{
    const char *unknown = server_request_unknown_query(call->request, route->queries);
    if (unknown != NULL) {
        size_t count = 0;
        while (route->queries[count] != NULL) {
            count++;
        }
        const char *near = count > 0 ? parse_nearest(unknown, route->queries, count) : NULL;
        api_reply_problem(call, 400, NULL, "there is no query parameter '%.100s' here%s%s%s",
                          unknown, near != NULL ? "; did you mean '" : "", near != NULL ? near : "",
                          near != NULL ? "'?" : "");
        return;
    }
    route->run(api, call);
}

static void add_allowed(char *allowed, size_t size, const char *method)
{
    size_t len = strlen(allowed);
    (void) snprintf(allowed + len, size - len, "%s%s", len > 0 ? ", " : "", method);
}

static void on_request(void *arg, struct server_request *request)
{
    struct api *api = arg;
    struct api_call call = {.request = request};
    const char *method = server_request_method(request);
    const char *path = server_request_path(request);
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
    const struct route *found = NULL;
    char allowed[64] = "";
    for (size_t i = 0; i < ARRAY_LEN(routes) && found == NULL; i++) {
        if (matches(routes[i].pattern, path, &call)) {
            add_allowed(allowed, sizeof(allowed), routes[i].method);
            found = strcmp(wanted, routes[i].method) == 0 ? &routes[i] : NULL;
        }
    }
    if (found != NULL) {
        run(api, found, &call);
    } else if (allowed[0] != '\0') {
        const char *headers[] = {"Allow", allowed, NULL};
        CLEANUP(free)
        char *detail =
            xasprintf("'%.20s' cannot be done to '%.200s', only %s", method, path, allowed);
        reply_problem(&call, 405, headers, NULL, detail);
    } else {
        api_reply_problem(&call, 404, NULL,
                          "there is nothing at '%.200s'; the API is described in "
                          "docs/api/agent.openapi.yaml",
                          path);
    }
    free(call.args[0]);
    free(call.args[1]);
}

/* --- who may -------------------------------------------------------------------------------------
 */

/* (gid_t) -1 where there is none. */
static gid_t find_group(const struct config *config)
{
    struct group *group = config->api_group != NULL ? getgrnam(config->api_group) : NULL;
    return group != NULL ? group->gr_gid : (gid_t) -1;
}

/* The kernel has said which groups the peer is in: name services could take their time. */
static bool is_of_group(const struct api *api, const struct server_peer *peer)
{
    if (peer->uid == 0 || peer->uid == geteuid()) {
        return true;
    }
    for (size_t i = 0; i < peer->group_count && api->group != (gid_t) -1; i++) {
        if (peer->groups[i] == api->group) {
            return true;
        }
    }
    return api->group != (gid_t) -1 && peer->gid == api->group;
}

/* Landlock holds nobody back from a Unix socket, and who may deploy needs no sandbox any more. All
 * in a sandbox have no_new_privs, and are of this PID namespace or one below it. */
static bool may_be_in_sandbox(const struct api *api, const struct peer *peer)
{
    const struct supervisor *sup = api->params.supervisor;
    return peer->pid != 0 && supervisor_had_sandbox(sup) &&
           peer_read_no_new_privs(peer->pid) != 0 &&
           supervisor_may_be_in_sandbox(sup, peer->pid, peer->uid);
}

static unsigned judge(void *arg, int fd, const struct server_peer *peer)
{
    const struct api *api = arg;
    struct err err = {0};
    struct peer who;
    if (!is_of_group(api, peer)) {
        return 403;
    }
    if (peer_read(fd, &who, &err) < 0) {
        return err.code == EMFILE || err.code == ENFILE || err.code == ENOMEM ? 503 : 403;
    }
    /* What was read about its PID was about it only if it still lives. */
    bool is_allowed = !may_be_in_sandbox(api, &who) && peer_is_alive(&who);
    peer_fini(&who);
    return is_allowed ? 0 : 403;
}

/* --- life ----------------------------------------------------------------------------------------
 */

static void warn_of_group(const struct config *config, gid_t group)
{
    if (config->api_group != NULL && group == (gid_t) -1) {
        log_warn("api",
                 "api.group: there is no group '%s'; only root and the agent's own user may "
                 "use the API",
                 config->api_group);
    }
}

struct api *api_new(const struct api_params *params, struct err *err)
{
    CLEANUP(api) struct api *api = xcalloc(1, sizeof(*api));
    api->params = *params;
    api->started_at = loop_now();
    api->started = clock_moment_now();
    list_init(&api->log_streams);
    api_deploys_init(api);
    api_looks_init(api);
    api->group = find_group(params->config);
    struct server_params server = {
        .loop = params->loop,
        .socket = params->config->api_socket,
        .group = api->group,
        .listen_fd = params->listen_fd,
        .judge = judge,
        .handle = on_request,
        .arg = api,
    };
    warn_of_group(params->config, api->group);
    api->server = server_new(&server, err);
    if (api->server == NULL) {
        (void) err_prefix(err, "the API's socket");
        return NULL;
    }
    api->watch = events_watch(params->events, api_logs_on_event, api);
    return steal_ptr(&api);
}

void api_free(struct api *api)
{
    if (api != NULL) {
        events_unwatch(api->watch);
        server_free(api->server);
        api_deploys_fini(api);
        api_looks_fini(api);
        free(api);
    }
}

void api_set_config(struct api *api, const struct config *config)
{
    api->params.config = config;
}

void api_set_source(struct api *api, struct source *source)
{
    api->source = source;
    api_deploys_on_source(api);
}

int api_keep_socket(struct api *api, bool keep)
{
    server_keep_socket(api->server, keep);
    return server_listen_fd(api->server);
}
