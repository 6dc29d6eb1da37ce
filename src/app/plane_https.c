/* A control plane over HTTPS, as an operator speaks to it. */
#include "client.h"
#include "edgible/crypto.h"
#include "edgible/parse.h"
#include "edgible/secret.h"
#include "plane_private.h"

#include <stdlib.h>
#include <string.h>

/* The document and the report; also what an own server may hold for others. */
#define MAX_ANSWER_BYTES (8UL * 1024 * 1024)

static int perform(const struct plane *plane, const char *method, const char *device,
                   const char *rest, const struct plane_change *change, struct http_answer *answer)
{
    const struct https_config *https = &plane->config->https;
    CLEANUP(buf) struct buf url = {0};
    CLEANUP(free) char *authorization = NULL;
    const char *headers[2] = {NULL};
    struct err err = {0};
    char text[ERR_MSG_MAX];
    buf_printf(&url, "%s/v3/devices/", https->url);
    http_add_escaped(&url, device);
    buf_add_str(&url, rest);
    if (change != NULL) {
        buf_add_char(&url, '/');
        http_add_escaped(&url, change->application);
    }
    if (https->token_file != NULL) {
        CLEANUP(free) char *token = secret_read(https->token_file, &err);
        if (token == NULL) {
            return client_fail(EXIT_NOT_OK, "%s", err_text(&err, text, sizeof(text)));
        }
        authorization = xasprintf("Authorization: Bearer %s", token);
        headers[0] = authorization;
    }
    struct http_request request = {
        .url = url.data,
        .method = method,
        .body = change != NULL ? change->text : NULL,
        .body_len = change != NULL ? change->len : 0,
        .content_type = "application/yaml",
        .accept = "application/yaml, application/json",
        .headers = headers,
        .max_bytes = MAX_ANSWER_BYTES,
    };
    return plane_perform(plane, &request, answer);
}

/* As the agent names what has no tag. */
static char *tag_of(const struct http_answer *answer)
{
    char hex[CRYPTO_SHA256_HEX_BYTES];
    if (answer->etag != NULL && answer->etag[0] != '\0') {
        return xstrdup(answer->etag);
    }
    crypto_sha256_hex(buf_str(&answer->body), answer->body.len, hex);
    return xasprintf("\"sha256-%s\"", hex);
}

static int look_at_documents(const struct plane *plane, struct plane_device *device)
{
    CLEANUP(http_answer) struct http_answer answer = {0};
    int code = perform(plane, "GET", device->name, "/applications", NULL, &answer);
    if (code != EXIT_OK || answer.status == 404) { /* a device that nothing was put for yet */
        return code;
    }
    if (answer.status != 200) {
        return plane_fail_status(plane, &answer, "to read the applications");
    }
    device->is_known = true;
    device->etag = tag_of(&answer);
    plane_device_add(device, "the control plane", buf_str(&answer.body), answer.body.len, 0);
    return EXIT_OK;
}

/* Unix time; 0: not told. */
static int64_t parse_date(const char *text)
{
    int64_t seconds = 0;
    return text != NULL && parse_http_date(text, &seconds, NULL) == 0 ? seconds : 0;
}

static int look_at_report(const struct plane *plane, struct plane_device *device)
{
    CLEANUP(http_answer) struct http_answer answer = {0};
    struct err err = {0};
    int code = perform(plane, "GET", device->name, "/report", NULL, &answer);
    if (code != EXIT_OK || answer.status == 404 || answer.status == 405) {
        return code;
    }
    if (answer.status != 200) {
        return plane_fail_status(plane, &answer, "to read the device's report");
    }
    device->is_known = true;
    device->server_s = parse_date(answer.date);
    device->reported_s = parse_date(answer.modified);
    device->report = json_parse(buf_str(&answer.body), answer.body.len, &err);
    return device->report != NULL
               ? EXIT_OK
               : client_fail(EXIT_NO_ANSWER, "the device's report cannot be read: %s", err.msg);
}

static int look(struct plane *plane, struct plane_device *device)
{
    int code = look_at_documents(plane, device);
    return code == EXIT_OK ? look_at_report(plane, device) : code;
}

static int change_all(struct plane *plane, const struct plane_change *changes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        CLEANUP(http_answer) struct http_answer answer = {0};
        const struct plane_change *change = &changes[i];
        int code = perform(plane, change->text != NULL ? "PUT" : "DELETE", change->device,
                           "/applications", change, &answer);
        bool is_gone = change->text == NULL && answer.status == 404;
        if (code == EXIT_OK && (answer.status < 200 || answer.status > 299) && !is_gone) {
            CLEANUP(free) char *what = xasprintf("application '%s'", change->application);
            code = plane_fail_status(plane, &answer, what);
        }
        if (code != EXIT_OK) {
            return code;
        }
    }
    return EXIT_OK;
}

const struct plane_ops plane_https_ops = {.look = look, .change = change_all};
