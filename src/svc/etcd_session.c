#include "etcd_session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* An election takes a second or two. */
#define ANSWER_WAIT_MS 10000
/* To the next endpoint: short, but not all devices in the same moment. */
#define NEXT_ENDPOINT_MS 500
/* An answer without documents, which is read in the loop's thread, has less than a KiB. */
#define SHORT_BYTES (64UL * 1024)
/* What failed before no longer counts where contact has lasted so long: a server that begins well
 * and then sends nonsense is asked ever less often. */
#define LASTING_MS 30000

int etcd_session_init(struct etcd_session *session, const struct source_params *params,
                      loop_fn begin, loop_fn on_renewed, void *arg, struct err *err)
{
    const struct etcd_config *config = &params->config->etcd;
    *session = (struct etcd_session){.on_renewed = on_renewed, .arg = arg};
    if (source_link_init(&session->link, params, config->report_interval_ms, begin, arg, err) < 0) {
        return -1;
    }
    etcd_session_set_config(session, config);
    size_t count = config->endpoints.count;
    session->endpoint = (size_t) link_fsm_spread(&session->link.fsm, 1 << 20) % count;
    return 0;
}

void etcd_session_fini(struct etcd_session *session)
{
    http_call_free(session->authenticate);
    source_link_fini(&session->link);
    free(session->token);
}

void etcd_session_set_config(struct etcd_session *session, const struct etcd_config *config)
{
    session->config = config;
    session->link.tls = (struct source_tls){
        .ca_file = config->ca_file, .cert_file = config->cert_file, .key_file = config->key_file};
}

const char *etcd_session_endpoint(const struct etcd_session *session)
{
    return session->config->endpoints.items[session->endpoint];
}

int etcd_session_renew(struct etcd_session *session, struct err *err)
{
    if (session->authenticate != NULL || !source_link_has_new_files(&session->link)) {
        return 0;
    }
    return source_link_renew(&session->link, err);
}

bool etcd_session_is_ready(const struct etcd_session *session)
{
    return session->config->username == NULL || session->token != NULL;
}

static void ask_for_token(struct etcd_session *session);

/* --- calls ---------------------------------------------------------------------------------------
 */

struct http_call *etcd_session_call(struct etcd_session *session,
                                    const struct etcd_request *request, struct err *err)
{
    const char *headers[4] = {NULL};
    size_t count = 0;
    CLEANUP(free) char *url = xasprintf("%s%s", etcd_session_endpoint(session), request->path);
    CLEANUP(free)
    char *authorization =
        session->token != NULL ? xasprintf("Authorization: %s", session->token) : NULL;
    bool is_stream = request->on_data != NULL;
    if (authorization != NULL) {
        headers[count++] = authorization;
    }
    if (is_stream) {
        /* A member that has lost the others ends the stream, instead of keeping it silent. */
        headers[count++] = "Grpc-Metadata-hasleader: true";
    }
    struct http_request http = {
        .url = url,
        .method = "POST",
        .body = request->body,
        .body_len = strlen(request->body),
        .content_type = "application/json",
        .headers = headers,
        .max_bytes = request->is_long ? ETCD_MAX_BYTES : SHORT_BYTES,
        .wait_ms = ANSWER_WAIT_MS,
        .is_endless = is_stream,
        .on_data = request->on_data,
        .arg = request->arg,
    };
    if (source_link_prepare(&session->link, &http, err) < 0) {
        return NULL;
    }
    return http_call_new(session->link.client, &http, request->done, request->arg, err);
}

int etcd_session_read(struct etcd_session *session, const struct http_answer *http,
                      const struct err *http_err, struct etcd_answer *ret, struct err *err)
{
    char text[ERR_MSG_MAX];
    if (http_err != NULL) {
        return err_set(err, ERR_HOST, "%s", err_text(http_err, text, sizeof(text)));
    }
    int rc = etcd_answer_read(buf_str(&http->body), http->body.len, ret, err);
    return etcd_session_judge(session, http->status, rc, err);
}

/* A watch that works goes on meanwhile. */
static void renew_token(struct etcd_session *session)
{
    free(steal_ptr(&session->token));
    if (session->config->username != NULL && session->authenticate == NULL) {
        session->is_renewing = true;
        ask_for_token(session);
    }
}

int etcd_session_judge(struct etcd_session *session, long status, int rc, struct err *err)
{
    if (rc < 0 && err->code == ENOKEY) {
        renew_token(session);
    } else if (rc == 0 && (status < 200 || status > 299)) {
        rc = err_set(err, ERR_REMOTE, "HTTP status %ld", status);
    }
    return rc < 0 ? err_prefix(err, "'%s'", etcd_session_endpoint(session)) : 0;
}

/* --- who -----------------------------------------------------------------------------------------
 */

static void end_authentication(struct etcd_session *session, int rc, const struct err *err)
{
    bool was_renewing = session->is_renewing;
    session->is_renewing = false;
    session->on_renewed(session->arg);
    if (was_renewing) {
        return;
    }
    if (rc < 0) {
        etcd_session_failed(session, err);
    } else {
        source_link_plan(&session->link, 0);
    }
}

static void on_authenticated(void *arg, const struct http_answer *http, const struct err *http_err)
{
    struct etcd_session *session = arg;
    CLEANUP(etcd_answer) struct etcd_answer answer = {0};
    struct err err = {0};
    int rc = etcd_session_read(session, http, http_err, &answer, &err);
    http_call_free(steal_ptr(&session->authenticate));
    if (rc == 0 && answer.token == NULL) {
        rc = err_set(&err, ERR_REMOTE, "etcd gives no token");
    }
    if (rc == 0) {
        free(session->token);
        session->token = steal_ptr(&answer.token);
    }
    end_authentication(session, rc, &err);
}

static void ask_for_token(struct etcd_session *session)
{
    struct err err = {0};
    CLEANUP(free) char *password = secret_read(session->config->password_file, &err);
    CLEANUP(free) char *body = NULL;
    http_call_free(steal_ptr(&session->authenticate));
    if (password == NULL) {
        (void) err_prefix(&err, "passwordFile");
    } else {
        body = etcd_authenticate_text(session->config->username, password);
        struct etcd_request request = {.path = "/v3/auth/authenticate",
                                       .body = body,
                                       .done = on_authenticated,
                                       .arg = session};
        session->authenticate = etcd_session_call(session, &request, &err);
    }
    if (session->authenticate == NULL) {
        end_authentication(session, -1, &err);
    }
}

void etcd_session_authenticate(struct etcd_session *session)
{
    session->is_renewing = false;
    ask_for_token(session);
}

/* --- contact -------------------------------------------------------------------------------------
 */

void etcd_session_found(struct etcd_session *session)
{
    session->found_at = session->found_at != 0 ? session->found_at : loop_now();
    source_link_touched(&session->link);
}

static void end_contact(struct etcd_session *session)
{
    if (session->found_at != 0 && loop_now() - session->found_at >= LASTING_MS) {
        session->failures = 0;
        link_fsm_on_success(&session->link.fsm);
    }
    session->found_at = 0;
}

void etcd_session_pause(struct etcd_session *session, mono_ms pause, const char *reason)
{
    end_contact(session);
    source_link_lost(&session->link, pause, "%s", reason);
}

void etcd_session_failed(struct etcd_session *session, const struct err *err)
{
    char text[ERR_MSG_MAX];
    size_t count = session->config->endpoints.count;
    end_contact(session);
    session->failures++;
    if (err->code == ENOKEY) {
        free(steal_ptr(&session->token));
    }
    if (err->code == ENOKEY && session->failures == 1) {
        source_link_plan(&session->link, 0); /* a new token, at the same endpoint */
        return;
    }
    (void) err_text(err, text, sizeof(text));
    session->endpoint = (session->endpoint + 1) % count;
    /* The token is the cluster's, but for a cluster that keeps simple ones a member. */
    if (session->failures < count) {
        log_info("source", "%s; the next endpoint is '%s'", text, etcd_session_endpoint(session));
        source_link_plan(&session->link, link_fsm_spread(&session->link.fsm, NEXT_ENDPOINT_MS / 2));
    } else {
        session->failures = 0;
        source_link_lost(&session->link, -1, "%s", text);
    }
}
