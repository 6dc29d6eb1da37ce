#include "edgible/http.h"

#include "edgible/mem.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include <curl/curl.h>

#define CONNECT_TIMEOUT_MS 10000L

struct transfer {
    CURL *curl;
    const struct http_request *request;
    struct http_answer *answer;
    bool is_too_big, is_cancelled;
};

static inline void cleanup_curl(CURL **curl)
{
    curl_easy_cleanup(*curl);
}

static inline void cleanup_slist(struct curl_slist **list)
{
    curl_slist_free_all(*list);
}

void http_answer_fini(struct http_answer *answer)
{
    free(answer->content_type);
    buf_fini(&answer->body);
    *answer = (struct http_answer){0};
}

void cleanup_http_answer(struct http_answer *answer)
{
    http_answer_fini(answer);
}

/* The parameters' types are libcurl's. Taking less than it offers ends the request. */
static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
    struct transfer *transfer = arg;
    size_t len = size * count;
    long status = 0;
    (void) curl_easy_getinfo(transfer->curl, CURLINFO_RESPONSE_CODE, &status);
    if (transfer->request->on_data != NULL && status >= 200 && status < 300) {
        transfer->is_cancelled = transfer->request->on_data(transfer->request->arg, data, len) != 0;
        return transfer->is_cancelled ? 0 : len;
    }
    if (transfer->answer->body.len + len > HTTP_MAX_ANSWER_BYTES) {
        transfer->is_too_big = true;
        return 0;
    }
    buf_add(&transfer->answer->body, data, len);
    return len;
}

static int add_header(struct curl_slist **list, const char *name, const char *value)
{
    CLEANUP(free) char *line = xasprintf("%s:%s%s", name, value[0] != '\0' ? " " : "", value);
    struct curl_slist *longer = curl_slist_append(*list, line);
    if (longer == NULL) {
        return -1;
    }
    *list = longer;
    return 0;
}

static int make_headers(const struct http_request *request, struct curl_slist **list)
{
    const char *accept = request->accept != NULL ? request->accept : "application/json";
    int rc = add_header(list, "Accept", accept);
    if (rc == 0 && request->body != NULL) {
        /* Without a value the header is left out: libcurl would wait for "100 Continue". */
        rc = add_header(list, "Expect", "");
    }
    if (rc == 0 && request->body != NULL && request->content_type != NULL) {
        rc = add_header(list, "Content-Type", request->content_type);
    }
    return rc;
}

/* False where libcurl is out of memory or was built without what is asked of it. */
static bool set_options(struct transfer *transfer, const char *url, struct curl_slist *headers)
{
    const struct http_request *request = transfer->request;
    CURL *curl = transfer->curl;
    int bad = 0;
    bad |= curl_easy_setopt(curl, CURLOPT_URL, url) != CURLE_OK;
    bad |= curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, request->socket_path) != CURLE_OK;
    /* A proxy of the environment must not come between. */
    bad |= curl_easy_setopt(curl, CURLOPT_PROXY, "") != CURLE_OK;
    bad |= curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) != CURLE_OK;
    bad |= curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method) != CURLE_OK;
    bad |= curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers) != CURLE_OK;
    bad |= curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS) != CURLE_OK;
    bad |= curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long) request->timeout_ms) != CURLE_OK;
    bad |= curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body) != CURLE_OK;
    bad |= curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer) != CURLE_OK;
    if (request->body != NULL) {
        curl_off_t len = (curl_off_t) request->body_len;
        bad |= curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, len) != CURLE_OK;
        bad |= curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body) != CURLE_OK;
    }
    return bad == 0;
}

static int explain(const struct transfer *transfer, CURLcode code, struct err *err)
{
    const char *path = transfer->request->socket_path;
    long os_errno = 0;
    (void) curl_easy_getinfo(transfer->curl, CURLINFO_OS_ERRNO, &os_errno);
    if (transfer->is_cancelled) {
        return err_set(err, ECANCELED, "the answer from '%s' was not taken", path);
    }
    if (transfer->is_too_big) {
        return err_set(err, EFBIG, "the answer from '%s' is longer than %lu MiB", path,
                       HTTP_MAX_ANSWER_BYTES >> 20);
    }
    if (code == CURLE_COULDNT_CONNECT) {
        return err_set(err, os_errno != 0 ? (int) os_errno : ECONNREFUSED, "connect to '%s'", path);
    }
    if (code == CURLE_OPERATION_TIMEDOUT) {
        return err_set(err, ETIMEDOUT, "no answer from '%s'", path);
    }
    if (code == CURLE_GOT_NOTHING || code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR ||
        code == CURLE_PARTIAL_FILE) {
        return err_set(err, ECONNRESET, "'%s' ended the connection", path);
    }
    return err_set(err, ERR_REMOTE, "'%s': %s", path, curl_easy_strerror(code));
}

static int perform(const struct http_request *request, struct http_answer *answer, struct err *err)
{
    CLEANUP(curl) CURL *curl = curl_easy_init();
    CLEANUP(slist) struct curl_slist *headers = NULL;
    CLEANUP(free) char *url = xasprintf("http://localhost%s", request->path);
    struct transfer transfer = {.curl = curl, .request = request, .answer = answer};
    if (curl == NULL || make_headers(request, &headers) < 0 ||
        !set_options(&transfer, url, headers)) {
        return err_set(err, ERR_HOST, "libcurl cannot be set up");
    }
    CURLcode code = curl_easy_perform(curl);
    (void) curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer->status);
    const char *type = NULL;
    (void) curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type);
    answer->content_type = xstrdup_or_null(type);
    return code == CURLE_OK ? 0 : explain(&transfer, code, err);
}

int http_perform(const struct http_request *request, struct http_answer *answer, struct err *err)
{
    *answer = (struct http_answer){0};
    /* libcurl would say "could not resolve host". */
    if (strlen(request->socket_path) >= sizeof(((struct sockaddr_un *) NULL)->sun_path)) {
        return err_set(err, ENAMETOOLONG, "connect to '%s'", request->socket_path);
    }
    /* In pairs, so that nothing of libcurl is left between requests; TLS is not needed here. */
    if (curl_global_init(CURL_GLOBAL_NOTHING) != CURLE_OK) {
        return err_set(err, ERR_HOST, "libcurl cannot be set up");
    }
    int rc = perform(request, answer, err);
    curl_global_cleanup();
    return rc;
}

void http_add_escaped(struct buf *out, const char *s)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                "0123456789-._~";
    for (; *s != '\0'; s++) {
        if (strchr(plain, *s) != NULL) {
            buf_add_char(out, *s);
        } else {
            buf_printf(out, "%%%02X", (unsigned int) (unsigned char) *s);
        }
    }
}
