#include "edgible/http.h"

#include "edgible/mem.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include <curl/curl.h>

/* They are macros that check types, of functions that are not linked. */
#undef curl_easy_setopt
#undef curl_easy_getinfo

#define CONNECT_TIMEOUT_MS 10000L

/*
 * libcurl is loaded when a command makes its first request: the daemon, which is the same program,
 * would carry it and the 30 libraries that it needs all its life (2 MiB on Debian 12).
 */
struct curl_api {
    CURLcode (*global_init)(long flags);
    void (*global_cleanup)(void);
    CURL *(*easy_init)(void);
    CURLcode (*easy_setopt)(CURL *curl, CURLoption option, ...);
    CURLcode (*easy_getinfo)(CURL *curl, CURLINFO info, ...);
    CURLcode (*easy_perform)(CURL *curl);
    void (*easy_cleanup)(CURL *curl);
    const char *(*easy_strerror)(CURLcode code);
    struct curl_slist *(*slist_append)(struct curl_slist *list, const char *text);
    void (*slist_free_all)(struct curl_slist *list);
};

static struct curl_api lib; /* of commands, which have one thread */

struct transfer {
    CURL *curl;
    const struct http_request *request;
    struct http_answer *answer;
    bool is_too_big, is_cancelled;
};

static inline void cleanup_curl(CURL **curl)
{
    lib.easy_cleanup(*curl);
}

static inline void cleanup_slist(struct curl_slist **list)
{
    lib.slist_free_all(*list);
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
    (void) lib.easy_getinfo(transfer->curl, CURLINFO_RESPONSE_CODE, &status);
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
    struct curl_slist *longer = lib.slist_append(*list, line);
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
    bad |= lib.easy_setopt(curl, CURLOPT_URL, url) != CURLE_OK;
    bad |= lib.easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, request->socket_path) != CURLE_OK;
    /* A proxy of the environment must not come between. */
    bad |= lib.easy_setopt(curl, CURLOPT_PROXY, "") != CURLE_OK;
    bad |= lib.easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) != CURLE_OK;
    bad |= lib.easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method) != CURLE_OK;
    bad |= lib.easy_setopt(curl, CURLOPT_HTTPHEADER, headers) != CURLE_OK;
    bad |= lib.easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS) != CURLE_OK;
    bad |= lib.easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long) request->timeout_ms) != CURLE_OK;
    bad |= lib.easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body) != CURLE_OK;
    bad |= lib.easy_setopt(curl, CURLOPT_WRITEDATA, transfer) != CURLE_OK;
    if (request->body != NULL) {
        curl_off_t len = (curl_off_t) request->body_len;
        bad |= lib.easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, len) != CURLE_OK;
        bad |= lib.easy_setopt(curl, CURLOPT_POSTFIELDS, request->body) != CURLE_OK;
    }
    return bad == 0;
}

static int explain(const struct transfer *transfer, CURLcode code, struct err *err)
{
    const char *path = transfer->request->socket_path;
    long os_errno = 0;
    (void) lib.easy_getinfo(transfer->curl, CURLINFO_OS_ERRNO, &os_errno);
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
    return err_set(err, ERR_REMOTE, "'%s': %s", path, lib.easy_strerror(code));
}

static int perform(const struct http_request *request, struct http_answer *answer, struct err *err)
{
    CLEANUP(curl) CURL *curl = lib.easy_init();
    CLEANUP(slist) struct curl_slist *headers = NULL;
    CLEANUP(free) char *url = xasprintf("http://localhost%s", request->path);
    struct transfer transfer = {.curl = curl, .request = request, .answer = answer};
    if (curl == NULL || make_headers(request, &headers) < 0 ||
        !set_options(&transfer, url, headers)) {
        return err_set(err, ERR_HOST, "libcurl cannot be set up");
    }
    CURLcode code = lib.easy_perform(curl);
    (void) lib.easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer->status);
    const char *type = NULL;
    (void) lib.easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type);
    answer->content_type = xstrdup_or_null(type);
    return code == CURLE_OK ? 0 : explain(&transfer, code, err);
}

static int load_libcurl(struct err *err)
{
    static const struct {
        const char *name;
        size_t offset;
    } functions[] = {
        {"curl_global_init",    offsetof(struct curl_api, global_init)   },
        {"curl_global_cleanup", offsetof(struct curl_api, global_cleanup)},
        {"curl_easy_init",      offsetof(struct curl_api, easy_init)     },
        {"curl_easy_setopt",    offsetof(struct curl_api, easy_setopt)   },
        {"curl_easy_getinfo",   offsetof(struct curl_api, easy_getinfo)  },
        {"curl_easy_perform",   offsetof(struct curl_api, easy_perform)  },
        {"curl_easy_cleanup",   offsetof(struct curl_api, easy_cleanup)  },
        {"curl_easy_strerror",  offsetof(struct curl_api, easy_strerror) },
        {"curl_slist_append",   offsetof(struct curl_api, slist_append)  },
        {"curl_slist_free_all", offsetof(struct curl_api, slist_free_all)},
    };
    if (lib.easy_init != NULL) {
        return 0;
    }
    void *handle = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    struct curl_api found = {0};
    for (size_t i = 0; handle != NULL && i < ARRAY_LEN(functions); i++) {
        void *function = dlsym(handle, functions[i].name);
        if (function == NULL) {
            handle = NULL;
        }
        memcpy((char *) &found + functions[i].offset, &function, sizeof(function));
    }
    if (handle == NULL) {
        return err_set(err, ERR_HOST, "libcurl cannot be loaded: %s; install libcurl4", dlerror());
    }
    lib = found;
    return 0;
}

int http_perform(const struct http_request *request, struct http_answer *answer, struct err *err)
{
    *answer = (struct http_answer){0};
    if (load_libcurl(err) < 0) {
        return -1;
    }
    /* libcurl would say "could not resolve host". */
    if (strlen(request->socket_path) >= sizeof(((struct sockaddr_un *) NULL)->sun_path)) {
        return err_set(err, ENAMETOOLONG, "connect to '%s'", request->socket_path);
    }
    /* In pairs, so that nothing of libcurl is left between requests; TLS is not needed here. */
    if (lib.global_init(CURL_GLOBAL_NOTHING) != CURLE_OK) {
        return err_set(err, ERR_HOST, "libcurl cannot be set up");
    }
    int rc = perform(request, answer, err);
    lib.global_cleanup();
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
