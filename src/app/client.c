#include "client.h"

#include "config_file.h"
#include "edgible/config.h"
#include "edgible/mem.h"
#include "edgible/trusted.h"
#include "edgible/utf8.h"
#include "plane.h"
#include "terminal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TIMEOUT_MS 60000
/* An agent that executes another program is back in far less. */
#define RECONNECT_MS 10000
#define RECONNECT_PAUSE_MS 50

int client_fail(int code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    CLEANUP(free) char *message = xvasprintf(fmt, ap);
    va_end(ap);
    CLEANUP(free) char *clean = client_clean(message);
    (void) fprintf(stderr, "edgible: %s\n", clean);
    return code;
}

char *client_clean(const char *text)
{
    char *clean = xstrdup(text);
    clean[utf8_make_shown(clean, strlen(clean))] = '\0';
    for (char *c = clean; *c != '\0'; c++) {
        if (*c == '\n' || *c == '\t') {
            *c = '?';
        }
    }
    return clean;
}

/* --- which agent ---------------------------------------------------------------------------------
 */

/* A socket that nobody named is trusted for the folder that it is in. */
static bool is_default_trusted(const char *socket)
{
    struct err err = {0};
    char text[ERR_MSG_MAX];
    CLEANUP(free) char *folder = xstrndup(socket, (size_t) (strrchr(socket, '/') - socket));
    if (trusted_check_folder(folder, &err) == 0 || err.code != ERR_SPEC) {
        return true; /* what is wrong otherwise is told by who connects */
    }
    (void) client_fail(EXIT_REFUSED,
                       "nothing is sent to the default socket '%s': %s; another socket is named "
                       "with --socket PATH or $EDGIBLE_SOCKET",
                       socket, err_text(&err, text, sizeof(text)));
    return false;
}

/* Whether an ordinary user's agent listens there where its configuration does not say where. */
static bool is_default_of_user(const char *socket)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    CLEANUP(free) char *in_tmp = xasprintf("/tmp/edgible-%u/agent.sock", (unsigned) geteuid());
    CLEANUP(free)
    char *in_runtime = xasprintf("%s/edgible/agent.sock", runtime != NULL ? runtime : "");
    return geteuid() != 0 && (strcmp(socket, in_tmp) == 0 || strcmp(socket, in_runtime) == 0);
}

static char *socket_of_config(const char *path, int *ret_code)
{
    CLEANUP(diag) struct diag diag = {0};
    struct err err = {0};
    char text[ERR_MSG_MAX];
    CLEANUP(config) struct config *config = config_file_load(path, &diag, &err);
    if (config == NULL) {
        for (size_t i = 0; i < diag.count; i++) {
            CLEANUP(free) char *line = diag_item_text(&diag.items[i]);
            (void) fprintf(stderr, "%s\n", line);
        }
        *ret_code = client_fail(EXIT_NOT_OK, "%s", err_text(&err, text, sizeof(text)));
        return NULL;
    }
    if (is_default_of_user(config->api_socket) && !is_default_trusted(config->api_socket)) {
        *ret_code = EXIT_REFUSED;
        return NULL;
    }
    return xstrdup(config->api_socket);
}

char *client_socket(const struct command_options *options, int *ret_code)
{
    const char *from_env = getenv("EDGIBLE_SOCKET");
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    if (options->socket != NULL) {
        return xstrdup(options->socket);
    }
    if (options->config != NULL) {
        return socket_of_config(options->config, ret_code);
    }
    if (from_env != NULL && *from_env != '\0') {
        return xstrdup(from_env);
    }
    if (geteuid() != 0 && (runtime == NULL || *runtime == '\0')) {
        *ret_code = client_fail(EXIT_NO_ANSWER, "which agent? XDG_RUNTIME_DIR is not set; name its "
                                                "socket with --socket PATH or $EDGIBLE_SOCKET");
        return NULL;
    }
    CLEANUP(free)
    char *socket = geteuid() == 0 ? xstrdup("/run/edgible/agent.sock")
                                  : xasprintf("%s/edgible/agent.sock", runtime);
    if (!is_default_trusted(socket)) {
        *ret_code = EXIT_REFUSED;
        return NULL;
    }
    return steal_ptr(&socket);
}

/* --- answers -------------------------------------------------------------------------------------
 */

static int fail_connect(const char *socket, const struct err *err)
{
    char text[ERR_MSG_MAX];
    if (err->code == EACCES || err->code == EPERM) {
        return client_fail(EXIT_REFUSED,
                           "the socket '%s' is not for you: be root, the agent's own "
                           "user, or a member of its api.group",
                           socket);
    }
    if (err->code == ENOENT || err->code == ECONNREFUSED || err->code == ENOTSOCK ||
        err->code == ENOTDIR) {
        return client_fail(EXIT_NO_ANSWER,
                           "no agent listens at '%s'; is it running? Another one "
                           "is named with --socket PATH or $EDGIBLE_SOCKET",
                           socket);
    }
    if (err->code == EAGAIN) {
        return client_fail(EXIT_NO_ANSWER,
                           "the agent at '%s' takes no connection: others fill its queue; try "
                           "again, and look at who connects all the time",
                           socket);
    }
    return client_fail(EXIT_NO_ANSWER, "the agent did not answer: %s",
                       err_text(err, text, sizeof(text)));
}

static void print_errors(const struct json *errors)
{
    for (const struct json *e = json_first(errors); e != NULL; e = json_next(e)) {
        const char *path = json_string(e, "path");
        const char *detail = json_string(e, "detail");
        CLEANUP(free)
        char *line =
            xasprintf("%s%s%s", path != NULL ? path : "", path != NULL && *path != '\0' ? ": " : "",
                      detail != NULL ? detail : "");
        CLEANUP(free) char *clean = client_clean(line);
        (void) fprintf(stderr, "%s\n", clean);
    }
}

static int code_of_status(long status)
{
    if (status == 403 || status == 401) {
        return EXIT_REFUSED;
    }
    return status == 408 || status == 503 ? EXIT_NO_ANSWER : EXIT_NOT_OK;
}

static int fail_status(const struct http_answer *answer)
{
    CLEANUP(json)
    struct json *problem = json_parse(buf_str(&answer->body), answer->body.len, NULL);
    const char *detail = problem != NULL ? json_string(problem, "detail") : NULL;
    if (problem != NULL) {
        print_errors(json_get(problem, "errors"));
    }
    if (detail == NULL) {
        return client_fail(EXIT_NO_ANSWER, "what answered is no agent: HTTP status %ld",
                           answer->status);
    }
    return client_fail(code_of_status(answer->status), "%s", detail);
}

static int take_json(const struct http_answer *answer, struct json **ret)
{
    struct err err = {0};
    struct json *json = json_parse(buf_str(&answer->body), answer->body.len, &err);
    if (json == NULL) {
        return client_fail(EXIT_NO_ANSWER, "the agent's answer cannot be read: %s", err.msg);
    }
    *ret = json;
    return EXIT_OK;
}

static int perform(const struct command_options *options, struct http_request *request,
                   struct http_answer *answer)
{
    int code = EXIT_NO_ANSWER;
    struct err err = {0};
    CLEANUP(free) char *socket = client_socket(options, &code);
    if (socket == NULL) {
        return code;
    }
    request->socket_path = socket;
    return http_perform(request, answer, &err) == 0 ? EXIT_OK : fail_connect(socket, &err);
}

int client_call(const struct command_options *options, const char *method, const char *path,
                const struct buf *body, long ok_status, struct json **ret)
{
    CLEANUP(http_answer) struct http_answer answer = {0};
    if (options->plane != NULL) {
        return plane_call(options->plane, method, path, body, ret);
    }
    struct http_request request = {
        .method = method,
        .url = path,
        .body = body != NULL ? buf_str(body) : NULL,
        .body_len = body != NULL ? body->len : 0,
        .content_type = "application/json",
        .timeout_ms = TIMEOUT_MS,
    };
    int code = perform(options, &request, &answer);
    if (code != EXIT_OK) {
        return code;
    }
    if ((answer.status < 200 || answer.status > 299) && answer.status != ok_status) {
        return fail_status(&answer);
    }
    return ret != NULL ? take_json(&answer, ret) : EXIT_OK;
}

int client_get(const struct command_options *options, const char *path, struct json **ret)
{
    return client_call(options, "GET", path, NULL, 0, ret);
}

int client_find(const struct command_options *options, const char *path, long *ret_status,
                struct json **ret)
{
    CLEANUP(http_answer) struct http_answer answer = {0};
    if (options->plane != NULL) {
        return plane_find(options->plane, path, ret_status, ret);
    }
    struct http_request request = {.method = "GET", .url = path, .timeout_ms = TIMEOUT_MS};
    int code = perform(options, &request, &answer);
    if (code != EXIT_OK) {
        return code;
    }
    *ret_status = answer.status;
    if (answer.status == 404) {
        return EXIT_OK;
    }
    return answer.status == 200 ? take_json(&answer, ret) : fail_status(&answer);
}

int client_stream(const struct command_options *options, const char *path, const char *accept,
                  http_data_fn on_data, void *arg)
{
    CLEANUP(http_answer) struct http_answer answer = {0};
    if (options->plane != NULL) {
        return plane_call(options->plane, "GET", path, NULL, NULL);
    }
    struct http_request request = {
        .method = "GET",
        .url = path,
        .accept = accept,
        .on_data = on_data,
        .arg = arg,
    };
    int code = perform(options, &request, &answer);
    if (code != EXIT_OK) {
        return code;
    }
    return answer.status == 200 ? EXIT_OK : fail_status(&answer);
}

static int on_piece(void *arg, const char *data, size_t len)
{
    struct client_following *following = arg;
    following->has_begun = true;
    return following->on_data(following->arg, data, len);
}

static mono_ms now_ms(void)
{
    struct timespec ts = {0};
    (void) clock_gettime(CLOCK_MONOTONIC, &ts);
    return (mono_ms) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int client_follow(const struct command_options *options, struct client_following *following)
{
    const struct timespec pause = {.tv_nsec = RECONNECT_PAUSE_MS * 1000000L};
    int code = EXIT_NO_ANSWER;
    mono_ms lost = -1; /* when the connection ended that there was */
    CLEANUP(free) char *socket = client_socket(options, &code);
    if (socket == NULL) {
        return code;
    }
    for (;;) {
        CLEANUP(http_answer) struct http_answer answer = {0};
        CLEANUP(free) char *path = following->path(following->arg);
        struct err err = {0};
        struct http_request request = {.socket_path = socket,
                                       .method = "GET",
                                       .url = path,
                                       .accept = following->accept,
                                       .on_data = on_piece,
                                       .arg = following};
        following->has_begun = false;
        int rc = http_perform(&request, &answer, &err);
        if (rc == 0 && answer.status == 200) {
            return EXIT_OK;
        }
        lost = following->has_begun ? now_ms() : lost;
        if (lost < 0 || err.code == ECANCELED || now_ms() - lost >= RECONNECT_MS) {
            return rc == 0 ? fail_status(&answer) : fail_connect(socket, &err);
        }
        (void) nanosleep(&pause, NULL);
    }
}

static int write_out(void *arg, const char *data, size_t len)
{
    (void) arg;
    bool ok = fwrite(data, 1, len, stdout) == len && fflush(stdout) == 0;
    return ok ? 0 : -1;
}

int client_stream_out(const struct command_options *options, const char *path)
{
    return client_stream(options, path, "text/plain", write_out, NULL);
}

char *client_app_path(const char *id, const char *rest)
{
    CLEANUP(buf) struct buf path = {0};
    buf_add_str(&path, "/v1/applications/");
    http_add_escaped(&path, id);
    buf_add_str(&path, rest);
    return buf_steal(&path);
}

/* --- printing ------------------------------------------------------------------------------------
 */

void client_print_json(const struct json *json)
{
    CLEANUP(free) char *text = json_text(json);
    (void) fputs(text, stdout);
}

const char *client_format_age(double seconds, char *buf, size_t size)
{
    long whole = (long) seconds;
    if (seconds < 60) {
        (void) snprintf(buf, size, "%.1f s", seconds);
    } else if (whole < 3600) {
        (void) snprintf(buf, size, "%ld m %ld s", whole / 60, whole % 60);
    } else if (whole < 86400) {
        (void) snprintf(buf, size, "%ld h %ld m", whole / 3600, whole % 3600 / 60);
    } else {
        (void) snprintf(buf, size, "%ld d %ld h", whole / 86400, whole % 86400 / 3600);
    }
    return buf;
}

bool client_is_bad(const char *status)
{
    return strcmp(status, "failed") == 0 || strcmp(status, "rejected") == 0 ||
           strcmp(status, "unhealthy") == 0 || strcmp(status, "backoff") == 0 ||
           strcmp(status, "unknown") == 0;
}

static bool has_color(const struct command_options *options)
{
    const char *no_color = getenv("NO_COLOR");
    return !options->plain && !options->json && (no_color == NULL || *no_color == '\0') &&
           isatty(STDOUT_FILENO) == 1;
}

void client_color(const struct command_options *options, const char *status)
{
    if (has_color(options)) {
        bool is_good = strcmp(status, "running") == 0 || strcmp(status, "completed") == 0;
        terminal_control(client_is_bad(status) ? "\033[31m" : is_good ? "\033[32m" : "\033[33m");
    }
}

void client_color_end(const struct command_options *options)
{
    if (has_color(options)) {
        terminal_control("\033[0m");
    }
}

void client_print_status(const struct command_options *options, const char *status)
{
    client_color(options, status);
    (void) fputs(status, stdout);
    client_color_end(options);
}
