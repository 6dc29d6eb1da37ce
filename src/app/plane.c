#include "plane.h"

#include "client.h"
#include "config_file.h"
#include "edgible/appspec_json.h"
#include "edgible/crypto.h"
#include "edgible/deploy_plan.h"
#include "edgible/overview.h"
#include "edgible/secret.h"
#include "plane_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TIMEOUT_MS 60000
#define TIMEOUT_MIN_MS 2000
/* Looks of one command that come so soon after each other are one. */
#define FRESH_MS 150

/* --- devices -------------------------------------------------------------------------------------
 */

static void forget(struct plane_device *device)
{
    for (size_t i = 0; i < device->count; i++) {
        app_spec_free(device->docs[i].spec);
        free(device->docs[i].name);
    }
    free(steal_ptr(&device->docs));
    device->count = 0;
    buf_fini(&device->text);
    free(steal_ptr(&device->etag));
    json_free(steal_ptr(&device->report));
    device->is_known = false;
    device->server_s = 0;
    device->reported_s = 0;
}

void plane_device_add(struct plane_device *device, const char *origin, const char *text, size_t len,
                      int64_t mod_revision)
{
    CLEANUP(app_docs) struct app_docs docs = {0};
    appspec_parse(origin, text, len, &docs);
    buf_add_str(&device->text, device->text.len > 0 ? "\n---\n" : "");
    buf_add(&device->text, text, len);
    for (size_t i = 0; i < docs.count; i++) {
        struct app_doc *doc = &docs.docs[i];
        if (doc->name != NULL) {
            device->docs = xrealloc(device->docs, device->count + 1, sizeof(*device->docs));
            struct plane_doc *added = &device->docs[device->count++];
            *added = (struct plane_doc){.mod_revision = mod_revision};
            added->spec = steal_ptr(&doc->spec);
            added->name = steal_ptr(&doc->name);
        }
    }
}

const struct plane_doc *plane_find_doc(const struct plane_device *device, const char *name)
{
    for (size_t i = 0; i < device->count; i++) {
        if (strcmp(device->docs[i].name, name) == 0) {
            return &device->docs[i];
        }
    }
    return NULL;
}

static mono_ms now(void)
{
    struct timespec ts = {0};
    (void) clock_gettime(CLOCK_MONOTONIC, &ts);
    return (mono_ms) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int plane_look(struct plane *plane, const char *name, const struct plane_device **ret)
{
    struct plane_device *device = map_get(plane->devices, name);
    if (device == NULL) {
        device = xcalloc(1, sizeof(*device));
        device->name = xstrdup(name);
        device->looked_at = -FRESH_MS;
        map_put(plane->devices, name, device);
    }
    if (now() - device->looked_at >= FRESH_MS) {
        forget(device);
        int code = plane->ops->look(plane, device);
        if (code != EXIT_OK) {
            return code;
        }
        device->looked_at = now();
    }
    *ret = device;
    return EXIT_OK;
}

/* Where the application is; else the device that was named. NULL after it was said that there is
 * none. */
static const char *device_of(const struct plane *plane, const char *application)
{
    const char *home = application != NULL ? map_get(plane->homes, application) : NULL;
    if (home == NULL) {
        home = plane->device;
    }
    if (home == NULL) {
        (void) command_usage_error("which device? Name it with --device NAME");
    }
    return home;
}

void plane_learn(struct plane *plane, const struct app_docs *docs)
{
    for (size_t i = 0; i < docs->count; i++) {
        const struct app_spec *spec = docs->docs[i].spec;
        if (spec != NULL && spec->device_name != NULL) {
            free(map_remove(plane->homes, spec->name));
            map_put(plane->homes, spec->name, xstrdup(spec->device_name));
        }
    }
}

int plane_get_documents(struct plane *plane, struct buf *text)
{
    const struct plane_device *device = NULL;
    const char *name = device_of(plane, NULL);
    int code = name == NULL ? EXIT_USAGE : plane_look(plane, name, &device);
    if (code == EXIT_OK) {
        buf_add(text, buf_str(&device->text), device->text.len);
    }
    return code;
}

/* --- requests ------------------------------------------------------------------------------------
 */

/* A --timeout bounds each request as well, but leaves it time. */
static mono_ms timeout_of(const struct plane *plane)
{
    mono_ms asked = plane->options->timeout_ms;
    return asked < 0 || asked > TIMEOUT_MS ? TIMEOUT_MS
           : asked < TIMEOUT_MIN_MS        ? TIMEOUT_MIN_MS
                                           : asked;
}

int plane_perform(const struct plane *plane, struct http_request *request,
                  struct http_answer *answer)
{
    struct err err = {0};
    char text[ERR_MSG_MAX];
    const struct config *config = plane->config;
    bool is_https = config->source == SOURCE_HTTPS;
    request->ca_file = is_https ? config->https.ca_file : config->etcd.ca_file;
    request->cert_file = is_https ? config->https.cert_file : config->etcd.cert_file;
    request->key_file = is_https ? config->https.key_file : config->etcd.key_file;
    request->timeout_ms = timeout_of(plane);
    if (http_perform(request, answer, &err) == 0) {
        return EXIT_OK;
    }
    return client_fail(EXIT_NO_ANSWER, "the control plane did not answer: %s",
                       err_text(&err, text, sizeof(text)));
}

int plane_fail_status(const struct plane *plane, const struct http_answer *answer, const char *what)
{
    (void) plane;
    CLEANUP(free) char *body = http_quote_body(answer);
    if (answer->status == 401 || answer->status == 403) {
        return client_fail(EXIT_REFUSED,
                           "the control plane refuses %s (HTTP status %ld): check --token-file "
                           "or the certificate, and what they may%s",
                           what, answer->status, body);
    }
    if (answer->status == 405 || answer->status == 501) {
        return client_fail(EXIT_NOT_OK,
                           "this server takes no deploys: it refuses %s with HTTP status %ld "
                           "(of nginx: dav_methods PUT DELETE)%s",
                           what, answer->status, body);
    }
    if (answer->status == 409 || answer->status == 412) {
        return client_fail(EXIT_NOT_OK,
                           "somebody else has changed %s meanwhile; look at `stack diff`, and "
                           "deploy again",
                           what);
    }
    return client_fail(
        answer->status >= 500 || answer->status == 429 ? EXIT_NO_ANSWER : EXIT_NOT_OK,
        "the control plane answers %s with HTTP status %ld%s", what, answer->status, body);
}

/* --- deploying -----------------------------------------------------------------------------------
 */

/* What differs for one document; adds it to the plan. */
static int plan_doc(struct plane *plane, const struct app_doc *doc, bool dry_run, struct json *plan,
                    struct plane_change *change)
{
    const struct plane_device *device = NULL;
    const char *name = device_of(plane, doc->spec->name);
    int code = name == NULL ? EXIT_USAGE : plane_look(plane, name, &device);
    if (code != EXIT_OK) {
        return code;
    }
    const struct plane_doc *there = plane_find_doc(device, doc->spec->name);
    CLEANUP(free) char *id = overview_app_id(plane->config, doc->spec, doc->spec->name);
    json_add(plan, deploy_plan_app(there != NULL ? there->spec : NULL, doc->spec, id));
    if (!dry_run && !device->is_known && !plane->options->new_device) {
        return client_fail(
            EXIT_NOT_OK,
            "the control plane knows no device '%s', and nothing was deployed: check "
            "the name; --new-device deploys for a device that is still to come",
            device->name);
    }
    change->device = device->name;
    change->application = doc->spec->name;
    change->mod_revision = there != NULL ? there->mod_revision : 0;
    return EXIT_OK;
}

static int put_docs(struct plane *plane, const struct app_docs *docs, const char *text,
                    bool dry_run, struct json *plan)
{
    CLEANUP(free) struct plane_change *changes = xcalloc(docs->count + 1, sizeof(*changes));
    CLEANUP(strv) struct strv texts = {0};
    int code = EXIT_OK;
    for (size_t i = 0; i < docs->count && code == EXIT_OK; i++) {
        const struct app_doc *doc = &docs->docs[i];
        CLEANUP(json) struct json *json = doc->is_in_list ? appspec_to_json(doc->spec) : NULL;
        strv_add_take(&texts,
                      json != NULL ? json_text(json) : xstrndup(text + doc->offset, doc->length));
        code = plan_doc(plane, doc, dry_run, plan, &changes[i]);
        changes[i].text = texts.items[i];
        changes[i].len = strlen(texts.items[i]);
    }
    if (code == EXIT_OK && !dry_run) {
        code = plane->ops->change(plane, changes, docs->count);
    }
    for (size_t i = 0; i < docs->count && code == EXIT_OK && !dry_run; i++) {
        strv_add(&plane->changed, docs->docs[i].spec->name);
        ((struct plane_device *) map_get(plane->devices, changes[i].device))->looked_at = -FRESH_MS;
    }
    return code;
}

static int put(struct plane *plane, const struct buf *body, bool dry_run, struct json **ret)
{
    CLEANUP(app_docs) struct app_docs docs = {0};
    CLEANUP(json) struct json *plan = json_array();
    appspec_parse("<request>", buf_str(body), body->len, &docs);
    int code = put_docs(plane, &docs, buf_str(body), dry_run, plan);
    if (code == EXIT_OK && ret != NULL) {
        *ret = steal_ptr(&plan);
    }
    return code;
}

static int remove_app(struct plane *plane, const char *application)
{
    const struct plane_device *device = NULL;
    const char *name = device_of(plane, application);
    int code = name == NULL ? EXIT_USAGE : plane_look(plane, name, &device);
    if (code != EXIT_OK) {
        return code;
    }
    const struct plane_doc *there = plane_find_doc(device, application);
    struct plane_change change = {
        .device = device->name,
        .application = application,
        .mod_revision = there != NULL ? there->mod_revision : 0,
    };
    CLEANUP(json) struct json *shown = plane_app_json(plane, device, application);
    if (there == NULL && shown == NULL) {
        return client_fail(EXIT_NOT_OK, "there is no application '%s' for the device '%s'",
                           application, device->name);
    }
    code = there != NULL ? plane->ops->change(plane, &change, 1) : EXIT_OK;
    ((struct plane_device *) map_get(plane->devices, name))->looked_at = -FRESH_MS;
    return code;
}

/* --- what is asked -------------------------------------------------------------------------------
 */

/* The one segment behind "/v1/applications/", its escapes taken away; NULL where there are more. */
static char *app_of_path(const char *path)
{
    static const char start[] = "/v1/applications/";
    if (strncmp(path, start, strlen(start)) != 0 || strpbrk(path + strlen(start), "/?") != NULL) {
        return NULL;
    }
    CLEANUP(buf) struct buf name = {0};
    for (const char *at = path + strlen(start); *at != '\0'; at++) {
        char hex[3] = "";
        if (at[0] == '%' && at[1] != '\0') {
            hex[0] = at[1];
            hex[1] = at[2];
        }
        if (hex[1] != '\0') {
            buf_add_char(&name, (char) strtol(hex, NULL, 16));
            at += 2;
        } else {
            buf_add_char(&name, *at);
        }
    }
    return xstrdup(buf_str(&name));
}

/* What was put together here, as it would come over the API: numbers are numbers then. */
static struct json *as_received(struct json *take_json)
{
    CLEANUP(json) struct json *json = take_json;
    CLEANUP(free) char *text = json_text(json);
    return json_parse(text, strlen(text), NULL);
}

typedef struct json *answer_fn(const struct plane *plane, const struct plane_device *device);

static int answer_device(struct plane *plane, answer_fn *fn, struct json **ret)
{
    const struct plane_device *device = NULL;
    const char *name = device_of(plane, NULL);
    int code = name == NULL ? EXIT_USAGE : plane_look(plane, name, &device);
    if (code == EXIT_OK && ret != NULL) {
        *ret = as_received(fn(plane, device));
    }
    return code;
}

/* All applications of all devices that are known of: those of the documents, or the one named. */
static int answer_apps(struct plane *plane, struct json **ret)
{
    size_t at = 0;
    void *value = NULL;
    CLEANUP(strv) struct strv names = {0};
    CLEANUP(json) struct json *all = json_array();
    while (map_next(plane->homes, &at, NULL, &value)) {
        if (!strv_has(&names, value)) {
            strv_add(&names, value);
        }
    }
    if (names.count == 0) {
        return answer_device(plane, plane_apps_json, ret);
    }
    for (size_t i = 0; i < names.count; i++) {
        const struct plane_device *device = NULL;
        int code = plane_look(plane, names.items[i], &device);
        if (code != EXIT_OK) {
            return code;
        }
        CLEANUP(json) struct json *apps = plane_apps_json(plane, device);
        for (const struct json *app = json_first(apps); app != NULL; app = json_next(app)) {
            json_add(all, json_copy(app));
        }
    }
    *ret = as_received(steal_ptr(&all));
    return EXIT_OK;
}

static int refuse(const char *path)
{
    bool is_of_app = strncmp(path, "/v1/applications/", 17) == 0;
    const char *what = strstr(path, "/logs") != NULL && is_of_app ? "the log of a workload"
                       : strstr(path, "/events") != NULL          ? "the list of events"
                       : strstr(path, "/why") != NULL             ? "the chain of causes"
                       : is_of_app                                ? "that change"
                                                                  : "that";
    return client_fail(EXIT_NOT_OK,
                       "%s is not available over a control plane, which has the device's reports "
                       "alone: run this on the device, without --config and --control-plane",
                       what);
}

int plane_find(struct plane *plane, const char *path, long *ret_status, struct json **ret)
{
    const struct plane_device *device = NULL;
    CLEANUP(free) char *app = app_of_path(path);
    const char *name = app != NULL ? device_of(plane, app) : NULL;
    if (app == NULL) {
        return refuse(path);
    }
    int code = name == NULL ? EXIT_USAGE : plane_look(plane, name, &device);
    if (code != EXIT_OK) {
        return code;
    }
    struct json *json = plane_app_json(plane, device, app);
    *ret_status = json != NULL ? 200 : 404;
    if (json != NULL) {
        *ret = as_received(json);
    }
    return EXIT_OK;
}

static int get_app(struct plane *plane, const char *path, const char *app, struct json **ret)
{
    CLEANUP(json) struct json *found = NULL;
    long status = 0;
    int code = plane_find(plane, path, &status, &found);
    if (code == EXIT_OK && status == 404) {
        return client_fail(EXIT_NOT_OK,
                           "there is no application with the id or name '%s' for the device '%s'",
                           app, device_of(plane, app));
    }
    if (code == EXIT_OK && ret != NULL) {
        *ret = steal_ptr(&found);
    }
    return code;
}

int plane_call(struct plane *plane, const char *method, const char *path, const struct buf *body,
               struct json **ret)
{
    CLEANUP(free) char *app = app_of_path(path);
    bool is_get = strcmp(method, "GET") == 0;
    if (strcmp(method, "PUT") == 0) {
        return put(plane, body, strstr(path, "dryRun=true") != NULL, ret);
    }
    if (strcmp(method, "DELETE") == 0 && app != NULL) {
        return remove_app(plane, app);
    }
    if (is_get && app != NULL) {
        return get_app(plane, path, app, ret);
    }
    if (is_get && strcmp(path, "/v1/applications") == 0) {
        return answer_apps(plane, ret);
    }
    if (is_get && strncmp(path, "/v1/application-health", 22) == 0) {
        return answer_device(plane, plane_rows_json, ret);
    }
    if (is_get && strcmp(path, "/v1/health") == 0) {
        return answer_device(plane, plane_health_json, ret);
    }
    return refuse(path);
}

/* --- life ----------------------------------------------------------------------------------------
 */

static struct config *config_of_options(const struct command_options *options, int *ret_code)
{
    CLEANUP(diag) struct diag diag = {0};
    struct config_env env = {.is_root = true};
    const char *const files[][2] = {
        {"tokenFile", options->token_file},
        {"caFile",    options->ca_file   },
        {"certFile",  options->cert_file },
        {"keyFile",   options->key_file  }
    };
    CLEANUP(json) struct json *json = json_object();
    struct json *plane = json_object();
    struct json *https = json_object();
    json_set_string(https, "url", options->control_plane);
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        CLEANUP(free) char *path = files[i][1] != NULL ? realpath(files[i][1], NULL) : NULL;
        json_set_string(https, files[i][0], path != NULL ? path : files[i][1]);
    }
    json_set(plane, "https", https);
    json_set(json, "controlPlane", plane);
    CLEANUP(free) char *line = json_text(json);
    struct config *config = config_parse("--control-plane", line, strlen(line), &env, &diag);
    if (config == NULL) {
        *ret_code = command_usage_error("--control-plane: %s", diag.items[0].message);
    }
    return config;
}

static struct config *load(const struct command_options *options, int *ret_code)
{
    CLEANUP(diag) struct diag diag = {0};
    struct err err = {0};
    char text[ERR_MSG_MAX];
    if (options->control_plane != NULL) {
        return config_of_options(options, ret_code);
    }
    struct config *config = config_file_load(options->config, &diag, &err);
    for (size_t i = 0; i < diag.count && config == NULL; i++) {
        CLEANUP(free) char *line = diag_item_text(&diag.items[i]);
        (void) fprintf(stderr, "%s\n", line);
    }
    if (config == NULL) {
        *ret_code = client_fail(EXIT_NOT_OK, "%s", err_text(&err, text, sizeof(text)));
    }
    return config;
}

struct plane *plane_open(const struct command_options *options, int *ret_code)
{
    *ret_code = EXIT_OK;
    if (options->control_plane != NULL && (options->socket != NULL || options->config != NULL)) {
        *ret_code = command_usage_error("one of --control-plane, --config and --socket is wanted");
        return NULL;
    }
    if (options->control_plane == NULL && (options->config == NULL || options->socket != NULL)) {
        return NULL;
    }
    CLEANUP(plane) struct plane *plane = xcalloc(1, sizeof(*plane));
    plane->options = options;
    plane->devices = map_new();
    plane->homes = map_new();
    plane->config = load(options, ret_code);
    if (plane->config == NULL || plane->config->source == SOURCE_DIRECTORY) {
        return NULL;
    }
    struct err err = {0};
    char text[ERR_MSG_MAX];
    if (crypto_load(&err) < 0) {
        *ret_code = client_fail(EXIT_NOT_OK, "%s", err_text(&err, text, sizeof(text)));
        return NULL;
    }
    plane->ops = plane->config->source == SOURCE_HTTPS ? &plane_https_ops : &plane_etcd_ops;
    plane->device = options->device != NULL                          ? options->device
                    : options->name != NULL && options->is_of_device ? options->name
                    : options->control_plane == NULL                 ? plane->config->device_name
                                                                     : NULL;
    return steal_ptr(&plane);
}

void plane_free(struct plane *plane)
{
    if (plane == NULL) {
        return;
    }
    size_t at = 0;
    void *value = NULL;
    while (map_next(plane->devices, &at, NULL, &value)) {
        struct plane_device *device = value;
        forget(device);
        free(device->name);
    }
    map_free_all(plane->devices);
    map_free_all(plane->homes);
    strv_fini(&plane->changed);
    config_free(plane->config);
    free(plane->token);
    free(plane);
}
