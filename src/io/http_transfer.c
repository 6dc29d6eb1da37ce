/* One request of libcurl: its options, its answer, and what went wrong. */
#include "edgible/loop.h"
#include "edgible/mem.h"
#include "edgible/utf8.h"
#include "http_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>

#define CONNECT_TIMEOUT_MS 30000L
#define MAX_REDIRECTS 5
#define MAX_HEADER_CHARS 1024
#define QUOTED_BYTES 200
#define MAX_HEADER_BYTES (256UL * 1024)
/* libcurl reads what a proxy answers to CONNECT byte by byte, a step each, and without a pause as
 * long as there is more of it. Other steps before the request is sent are few. */
#define MAX_STEPS 4096
/* What is read, and handed on, at once. */
#define PIECE_BYTES 4096L
/* Keeps a connection that says nothing for long in the tables of what lies between, and finds out
 * about one that is dead. */
#define KEEPALIVE_S 60L

void http_answer_fini(struct http_answer *answer)
{
    free(answer->type);
    free(answer->etag);
    free(answer->retry_after);
    free(answer->preference);
    free(answer->date);
    free(answer->modified);
    buf_fini(&answer->body);
    *answer = (struct http_answer){0};
}

void cleanup_http_answer(struct http_answer *answer)
{
    http_answer_fini(answer);
}

char *http_quote_body(const struct http_answer *answer)
{
    const char *body = buf_str(&answer->body);
    size_t len = answer->body.len < QUOTED_BYTES ? answer->body.len : QUOTED_BYTES;
    while (len > 0 && len < answer->body.len && ((unsigned char) body[len] & 0xC0U) == 0x80U) {
        len--; /* not in the middle of a character */
    }
    CLEANUP(free) char *text = xstrndup(body, len);
    text[utf8_make_shown(text, strlen(text))] = '\0';
    for (char *c = text; *c != '\0'; c++) {
        if (*c == '\n' || *c == '\t') {
            *c = ' ';
        }
    }
    return *text != '\0' ? xasprintf(": \"%s\"", text) : xstrdup("");
}

/* --- the answer ----------------------------------------------------------------------------------
 */

static size_t hand_on(struct http_transfer *t, const char *data, size_t len)
{
    mono_ms began = loop_now();
    t->is_cancelled = t->on_data(t->arg, data, len) != 0;
    t->turn_ms += loop_now() - began;
    return t->is_cancelled ? 0 : len;
}

/* The parameters' types are libcurl's. Taking less than it offers ends the request. */
static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
    struct http_transfer *t = arg;
    size_t len = size * count;
    long status = t->answer->status;
    if (t->on_full != NULL && (t->turn_bytes >= HTTP_TURN_BYTES || t->turn_ms >= HTTP_TURN_MS)) {
        t->on_full(t->owner);
        return CURL_WRITEFUNC_PAUSE;
    }
    t->turn_bytes += len;
    if (t->on_data != NULL && status >= 200 && status < 300) {
        return hand_on(t, data, len);
    }
    if (t->answer->body.len + len > t->max_bytes) {
        t->is_too_big = true;
        return 0;
    }
    buf_add(&t->answer->body, data, len);
    return len;
}

/* The value of a header of this name, its white space taken off; the caller frees. */
static char *value_of(const char *line, size_t len, const char *name)
{
    size_t n = strlen(name);
    if (len <= n || strncasecmp(line, name, n) != 0 || line[n] != ':') {
        return NULL;
    }
    const char *from = line + n + 1;
    const char *to = line + len;
    while (from < to && strchr(" \t", *from) != NULL) {
        from++;
    }
    while (to > from && strchr(" \t\r\n", to[-1]) != NULL) {
        to--;
    }
    return xstrndup(from, (size_t) (to - from));
}

/* libcurl sends a header as it is. */
static bool is_one_line(const char *value)
{
    return strpbrk(value, "\r\n") == NULL;
}

CURLcode http_transfer_resume(struct http_transfer *t)
{
    t->turn_bytes = 0;
    t->turn_ms = 0;
    return t->lib->easy_pause(t->curl, CURLPAUSE_CONT);
}

/* transfer: of a line that is a Transfer-Encoding, its value; else NULL.
 * libcurl takes off transfer codings that nobody asked for, each of which makes a thousand times as
 * much of what comes, or a million times; and of a compressed answer it does not tell whether its
 * end was there. */
static const char *find_refusal(struct http_transfer *t, const char *line, size_t len,
                                const char *transfer)
{
    CLEANUP(free) char *content = value_of(line, len, "Content-Encoding");
    t->header_bytes += len;
    if (t->header_bytes > MAX_HEADER_BYTES) {
        return "sends too many headers";
    }
    if (transfer != NULL && strcasecmp(transfer, "chunked") != 0 &&
        strcasecmp(transfer, "identity") != 0) {
        return "sends a Transfer-Encoding other than chunked";
    }
    return content != NULL && strcasecmp(content, "identity") != 0
               ? "sends a Content-Encoding, which was not asked for"
               : NULL;
}

static void begin_answer(struct http_transfer *t)
{
    http_answer_fini(t->answer);
    (void) t->lib->easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &t->answer->status);
}

static size_t on_header(char *line, size_t size, size_t count, void *arg)
{
    struct http_transfer *t = arg;
    struct http_answer *answer = t->answer;
    size_t len = size * count;
    if (!t->has_begun && t->on_begin != NULL) {
        t->has_begun = true;
        t->on_begin(t->owner);
    }
    t->has_begun = true;
    CLEANUP(free) char *coding = value_of(line, len, "Transfer-Encoding");
    t->refusal = find_refusal(t, line, len, coding);
    if (t->refusal != NULL) {
        return 0;
    }
    if (len >= 5 && strncmp(line, "HTTP/", 5) == 0) {
        begin_answer(t); /* the one before was 100 Continue */
        return len;
    }
    struct {
        const char *name;
        char **to;
    } kept[] = {
        {"Content-Type",       &answer->type       },
        {"ETag",               &answer->etag       },
        {"Retry-After",        &answer->retry_after},
        {"Preference-Applied", &answer->preference },
        {"Date",               &answer->date       },
        {"Last-Modified",      &answer->modified   },
    };
    for (size_t i = 0; i < ARRAY_LEN(kept) && len < MAX_HEADER_CHARS; i++) {
        CLEANUP(free) char *value = value_of(line, len, kept[i].name);
        if (value != NULL && is_one_line(value)) {
            free(*kept[i].to);
            *kept[i].to = steal_ptr(&value);
            if (kept[i].to == &answer->date && t->is_tls) {
                http_tls_take_date(answer->date);
            }
        }
    }
    answer->is_delimited =
        answer->is_delimited || (coding != NULL && strcasecmp(coding, "chunked") == 0);
    return len;
}

/* --- the request ---------------------------------------------------------------------------------
 */

/* The parameters' types are libcurl's. Anything but 0 ends the request. */
static int on_step(void *arg, curl_off_t down_all, curl_off_t down, curl_off_t up_all,
                   curl_off_t up)
{
    struct http_transfer *t = arg;
    (void) down_all;
    (void) down;
    (void) up_all;
    t->steps += t->has_begun || up > 0 ? 0 : 1;
    return t->steps > MAX_STEPS;
}

/* Not to be inherited by what is executed meanwhile. */
static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void) arg;
    (void) purpose;
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static int add_header(struct http_transfer *t, const char *name, const char *value)
{
    CLEANUP(free)
    char *line = xasprintf("%s%s%s", name, value[0] != '\0' ? ": " : "", value);
    struct curl_slist *longer = is_one_line(line) ? t->lib->slist_append(t->headers, line) : NULL;
    if (longer == NULL) {
        return -1;
    }
    t->headers = longer;
    return 0;
}

static int make_headers(struct http_transfer *t, const struct http_request *request)
{
    int rc =
        add_header(t, "Accept", request->accept != NULL ? request->accept : "application/json");
    if (rc == 0 && request->body != NULL) {
        /* Without a value the header is left out: libcurl would wait for "100 Continue". */
        rc = add_header(t, "Expect:", "");
    }
    if (rc == 0 && request->body != NULL && request->content_type != NULL) {
        rc = add_header(t, "Content-Type", request->content_type);
    }
    for (size_t i = 0; rc == 0 && request->headers != NULL && request->headers[i] != NULL; i++) {
        rc = add_header(t, request->headers[i], "");
    }
    return rc;
}

/* Whether the host of a URL is this machine: by what is written, in all the ways in which libcurl
 * reads an address; 0.0.0.0 and :: lead to this machine, too. */
static bool is_loopback(const char *url)
{
    const char *start = strstr(url, "://");
    start = start != NULL ? start + 3 : url;
    CLEANUP(free) char *authority = xstrndup(start, strcspn(start, "/?#\\"));
    char *at = strrchr(authority, '@');
    char *host = at != NULL ? at + 1 : authority;
    struct in_addr v4;
    struct in6_addr v6;
    if (*host == '[') {
        host++;
        host[strcspn(host, "]%")] = '\0';
        return inet_pton(AF_INET6, host, &v6) == 1 &&
               (IN6_IS_ADDR_LOOPBACK(&v6) || IN6_IS_ADDR_UNSPECIFIED(&v6) ||
                (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127));
    }
    host[strcspn(host, ":")] = '\0';
    size_t len = strlen(host);
    if (len > 0 && host[len - 1] == '.') {
        host[--len] = '\0';
    }
    /* RFC 6761: what ends with ".localhost" is loopback as well. */
    bool ends_so = len >= 9 && strcasecmp(host + len - 9, "localhost") == 0;
    if (ends_so && (len == 9 || host[len - 10] == '.')) {
        return true;
    }
    return inet_aton(host, &v4) == 1 &&
           (ntohl(v4.s_addr) >> 24 == 127 || v4.s_addr == htonl(INADDR_ANY));
}

/* A proxy sees every header of plain HTTP, tokens as well, and has nothing to do with what stays on
 * this machine. Where libcurl is not told, https_proxy, all_proxy and no_proxy of the environment
 * count (http_tls.c refuses one that is itself reached by TLS). */
static bool goes_straight(const struct http_request *request)
{
    return strncasecmp(request->url, "https://", 8) != 0 || is_loopback(request->url);
}

static int set_host(struct http_transfer *t, const struct http_request *request)
{
    const struct http_curl *lib = t->lib;
    int bad = 0;
    if (request->socket_path != NULL) {
        t->goes_straight = true;
        CLEANUP(free) char *url = xasprintf("http://localhost%s", request->url);
        bad |= lib->easy_setopt(t->curl, CURLOPT_URL, url) != CURLE_OK;
        bad |=
            lib->easy_setopt(t->curl, CURLOPT_UNIX_SOCKET_PATH, request->socket_path) != CURLE_OK;
        /* A proxy of the environment must not come between. */
        bad |= lib->easy_setopt(t->curl, CURLOPT_PROXY, "") != CURLE_OK;
        return bad;
    }
    t->goes_straight = goes_straight(request);
    if (t->goes_straight) {
        bad |= lib->easy_setopt(t->curl, CURLOPT_PROXY, "") != CURLE_OK;
    }
    bad |= lib->easy_setopt(t->curl, CURLOPT_URL, request->url) != CURLE_OK;
    bad |= lib->easy_setopt(t->curl, CURLOPT_PROTOCOLS_STR, "http,https") != CURLE_OK;
    bad |= lib->easy_setopt(t->curl, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1) != CURLE_OK;
    bad |= lib->easy_setopt(t->curl, CURLOPT_BUFFERSIZE, PIECE_BYTES) != CURLE_OK;
    bad |=
        lib->easy_setopt(t->curl, CURLOPT_USERAGENT, "edgible-agent/" EDGIBLE_VERSION) != CURLE_OK;
    bad |= lib->easy_setopt(t->curl, CURLOPT_TCP_KEEPALIVE, 1L) != CURLE_OK;
    bad |= lib->easy_setopt(t->curl, CURLOPT_TCP_KEEPIDLE, KEEPALIVE_S) != CURLE_OK;
    bad |= lib->easy_setopt(t->curl, CURLOPT_TCP_KEEPINTVL, KEEPALIVE_S / 4) != CURLE_OK;
    return bad;
}

static int set_request(struct http_transfer *t, const struct http_request *request)
{
    const struct http_curl *lib = t->lib;
    int bad = 0;
    bad |= lib->easy_setopt(t->curl, CURLOPT_PRIVATE, t) != CURLE_OK;
    bad |= lib->easy_setopt(t->curl, CURLOPT_NOSIGNAL, 1L) != CURLE_OK;
    bad |= lib->easy_setopt(t->curl, CURLOPT_ERRORBUFFER, t->trouble) != CURLE_OK;
    bad |= lib->easy_setopt(t->curl, CURLOPT_CUSTOMREQUEST, request->method) != CURLE_OK;
    bad |= lib->easy_setopt(t->curl, CURLOPT_HTTPHEADER, t->headers) != CURLE_OK;
    bad |= lib->easy_setopt(t->curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS) != CURLE_OK;
    bad |= lib->easy_setopt(t->curl, CURLOPT_TIMEOUT_MS, (long) request->timeout_ms) != CURLE_OK;
    bad |= lib->easy_setopt(t->curl, CURLOPT_WRITEFUNCTION, on_body) != CURLE_OK;
    bad |= lib->easy_setopt(t->curl, CURLOPT_WRITEDATA, t) != CURLE_OK;
    bad |= lib->easy_setopt(t->curl, CURLOPT_HEADERFUNCTION, on_header) != CURLE_OK;
    bad |= lib->easy_setopt(t->curl, CURLOPT_HEADERDATA, t) != CURLE_OK;
    /* A proxy's answer to CONNECT is not the answer. */
    bad |= lib->easy_setopt(t->curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L) != CURLE_OK;
    bad |= lib->easy_setopt(t->curl, CURLOPT_XFERINFOFUNCTION, on_step) != CURLE_OK;
    bad |= lib->easy_setopt(t->curl, CURLOPT_XFERINFODATA, t) != CURLE_OK;
    bad |= lib->easy_setopt(t->curl, CURLOPT_NOPROGRESS, 0L) != CURLE_OK;
    bad |= lib->easy_setopt(t->curl, CURLOPT_OPENSOCKETFUNCTION, open_socket) != CURLE_OK;
    /* Of a later libcurl than the oldest that this runs with: else a name that is being looked up
     * makes the end of its request wait. */
    (void) lib->easy_setopt(t->curl, CURLOPT_QUICK_EXIT, 1L);
    if (request->body != NULL) {
        curl_off_t len = (curl_off_t) request->body_len;
        bad |= lib->easy_setopt(t->curl, CURLOPT_POSTFIELDSIZE_LARGE, len) != CURLE_OK;
        bad |= lib->easy_setopt(t->curl, CURLOPT_COPYPOSTFIELDS, request->body) != CURLE_OK;
    }
    return bad;
}

int http_transfer_init(struct http_transfer *t, const struct http_curl *lib,
                       const struct http_request *request, struct http_answer *answer,
                       struct err *err)
{
    t->lib = lib;
    t->answer = answer;
    t->on_data = request->on_data;
    t->arg = request->arg;
    t->is_tls = request->socket_path == NULL && strncasecmp(request->url, "https://", 8) == 0;
    t->is_get = strcmp(request->method, "GET") == 0;
    t->max_bytes = request->max_bytes != 0 ? request->max_bytes : HTTP_MAX_ANSWER_BYTES;
    t->target = xstrdup(request->socket_path != NULL ? request->socket_path : request->url);
    /* libcurl would say "could not resolve host". */
    if (request->socket_path != NULL &&
        strlen(request->socket_path) >= sizeof(((struct sockaddr_un *) NULL)->sun_path)) {
        return err_set(err, ENAMETOOLONG, "connect to '%s'", request->socket_path);
    }
    t->curl = lib->easy_init();
    if (t->curl == NULL || make_headers(t, request) < 0 || set_request(t, request) != 0 ||
        set_host(t, request) != 0 || http_tls_setup(t->lib, t->curl, request) != 0) {
        return err_set(err, ERR_HOST, "libcurl cannot be set up; is it older than 7.88?");
    }
    return 0;
}

void http_transfer_fini(struct http_transfer *t)
{
    if (t->curl != NULL) {
        t->lib->easy_cleanup(t->curl);
    }
    if (t->headers != NULL) {
        t->lib->slist_free_all(t->headers);
    }
    free(t->target);
    *t = (struct http_transfer){0};
}

/* --- the end -------------------------------------------------------------------------------------
 */

/* libcurl alone knows what no_proxy leaves out: where that is set, its words tell. */
static bool was_proxied(const struct http_transfer *t, const char *proxy)
{
    const char *no_proxy = getenv("no_proxy");
    const char *excepted = no_proxy != NULL ? no_proxy : getenv("NO_PROXY");
    const char *host = t->trouble;
    long status = 0;
    (void) t->lib->easy_getinfo(t->curl, CURLINFO_HTTP_CONNECTCODE, &status);
    return excepted == NULL || *excepted == '\0' || status != 0 || strstr(host, "proxy") != NULL ||
           strstr(host, "CONNECT") != NULL || strstr(host, proxy) != NULL;
}

/* " through the proxy '…'" where one was used, else "". The caller frees. */
static char *name_proxy(const struct http_transfer *t)
{
    const char *variable = NULL;
    CLEANUP(free) char *proxy = t->goes_straight ? NULL : http_tls_proxy(&variable);
    return proxy != NULL && was_proxied(t, proxy)
               ? xasprintf(" through the proxy '%s' of the environment (%s)", proxy, variable)
               : xstrdup("");
}

static int explain(const struct http_transfer *t, CURLcode code, struct err *err)
{
    CLEANUP(free) char *proxy = name_proxy(t);
    long os_errno = 0;
    (void) t->lib->easy_getinfo(t->curl, CURLINFO_OS_ERRNO, &os_errno);
    if (t->is_cancelled) {
        return err_set(err, ECANCELED, "the answer from '%s' was not taken", t->target);
    }
    if (t->refusal != NULL) {
        return err_set(err, ERR_REMOTE, "'%s' %s", t->target, t->refusal);
    }
    if (t->is_too_big) {
        return err_set(err, EFBIG, "the answer from '%s' is longer than %zu KiB", t->target,
                       t->max_bytes >> 10);
    }
    if (code == CURLE_ABORTED_BY_CALLBACK) {
        long status = 0;
        (void) t->lib->easy_getinfo(t->curl, CURLINFO_HTTP_CONNECTCODE, &status);
        return err_set(err, ERR_REMOTE, "'%s'%s: the proxy answers with status %ld and too much",
                       t->target, proxy, status);
    }
    if (code == CURLE_COULDNT_CONNECT) {
        return err_set(err, os_errno != 0 ? (int) os_errno : ECONNREFUSED, "connect to '%s'%s",
                       t->target, proxy);
    }
    if (code == CURLE_OPERATION_TIMEDOUT) {
        return err_set(err, ETIMEDOUT, "no answer from '%s'%s", t->target, proxy);
    }
    if (code == CURLE_GOT_NOTHING || code == CURLE_SEND_ERROR || code == CURLE_PARTIAL_FILE ||
        (code == CURLE_RECV_ERROR && strstr(t->trouble, "SSL") == NULL)) {
        return err_set(err, ECONNRESET, "'%s'%s ended the connection%s", t->target, proxy,
                       t->has_begun ? " in the middle of its answer" : "");
    }
    if (http_tls_explain(t->target, t->trouble, err) < 0) {
        return -1;
    }
    return err_set(err, ERR_REMOTE, "'%s'%s: %s", t->target, proxy,
                   t->trouble[0] != '\0' ? t->trouble : t->lib->easy_strerror(code));
}

/* Scheme, host and port of a URL: what stands before the path. */
static size_t origin_len(const char *url)
{
    const char *host = strstr(url, "://");
    return host != NULL ? (size_t) (host - url) + 3 + strcspn(host + 3, "/?#") : 0;
}

static enum http_end redirect(struct http_transfer *t, struct err *err)
{
    char *from = NULL;
    char *to = NULL;
    (void) t->lib->easy_getinfo(t->curl, CURLINFO_EFFECTIVE_URL, &from);
    (void) t->lib->easy_getinfo(t->curl, CURLINFO_REDIRECT_URL, &to);
    if (from == NULL || to == NULL) {
        return HTTP_END_DONE; /* a status without a place; the caller sees it */
    }
    size_t len = origin_len(from);
    if (len == 0 || origin_len(to) != len || strncasecmp(from, to, len) != 0) {
        (void) err_set(err, ERR_REMOTE,
                       "'%s' redirects to '%.*s', which is another host or protocol and is not "
                       "followed; correct the configured URL",
                       t->target, (int) origin_len(to), to);
        return HTTP_END_FAILED;
    }
    if (t->redirects++ >= MAX_REDIRECTS) {
        (void) err_set(err, ERR_REMOTE, "'%s' redirects more than %d times", t->target,
                       MAX_REDIRECTS);
        return HTTP_END_FAILED;
    }
    CLEANUP(free) char *next = xstrdup(to);
    (void) t->lib->easy_setopt(t->curl, CURLOPT_URL, next);
    http_answer_fini(t->answer);
    return HTTP_END_REDIRECT;
}

enum http_end http_transfer_end(struct http_transfer *t, CURLcode code, struct err *err)
{
    long status = t->answer->status;
    if (code != CURLE_OK) {
        (void) explain(t, code, err);
        return HTTP_END_FAILED;
    }
    /* An answer without a body needs no length; one that overflows counts as none. */
    curl_off_t length = -1;
    (void) t->lib->easy_getinfo(t->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    t->answer->is_delimited = t->answer->is_delimited || length >= 0 || t->answer->body.len == 0;
    bool is_redirect =
        status == 307 || status == 308 || (t->is_get && status > 300 && status < 304);
    return is_redirect ? redirect(t, err) : HTTP_END_DONE;
}
