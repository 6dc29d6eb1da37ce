/*
 * The inside of HTTP: libcurl, and one request of it, shared by http.c (which waits for the answer)
 * and http_client.c (which does not).
 */
#ifndef EDGIBLE_HTTP_PRIVATE_H
#define EDGIBLE_HTTP_PRIVATE_H

#include "edgible/http.h"

#include <curl/curl.h>

/* They are macros that check types, of functions that are not linked. */
#undef curl_easy_setopt
#undef curl_easy_getinfo
#undef curl_multi_setopt

/*
 * libcurl is loaded with the first request: a daemon without a remote control plane, which is the
 * same program, would carry it and the 30 libraries that it needs all its life (2 MiB on Debian
 * 12).
 */
struct http_curl {
    CURLcode (*global_init)(long flags);
    void (*global_cleanup)(void);
    CURL *(*easy_init)(void);
    CURLcode (*easy_pause)(CURL *curl, int mask);
    CURLcode (*easy_setopt)(CURL *curl, CURLoption option, ...);
    CURLcode (*easy_getinfo)(CURL *curl, CURLINFO info, ...);
    CURLcode (*easy_perform)(CURL *curl);
    void (*easy_cleanup)(CURL *curl);
    const char *(*easy_strerror)(CURLcode code);
    CURLM *(*multi_init)(void);
    CURLMcode (*multi_cleanup)(CURLM *multi);
    CURLMcode (*multi_setopt)(CURLM *multi, CURLMoption option, ...);
    CURLMcode (*multi_add_handle)(CURLM *multi, CURL *curl);
    CURLMcode (*multi_remove_handle)(CURLM *multi, CURL *curl);
    CURLMcode (*multi_socket_action)(CURLM *multi, curl_socket_t socket, int events, int *running);
    CURLMsg *(*multi_info_read)(CURLM *multi, int *left);
    struct curl_slist *(*slist_append)(struct curl_slist *list, const char *text);
    void (*slist_free_all)(struct curl_slist *list);
};

/* NULL where it cannot be loaded. */
const struct http_curl *http_curl_load(struct err *err);

/* Anything but 0: libcurl is too old. The request's strings are borrowed until the next setup. */
int http_tls_setup(const struct http_curl *lib, CURL *curl, const struct http_request *request);
/* Says in *err what was refused here where libcurl's sentence (trouble) tells of that, and returns
 * -1; else 0. */
int http_tls_explain(const char *target, const char *trouble, struct err *err);
/* The time that a server tells, whose certificate was verified. */
void http_tls_take_date(const char *date);
/* The proxy that the environment names for https://, as "HOST:PORT" without what is secret, and
 * the variable; NULL: none. The caller frees. */
char *http_tls_proxy(const char **ret_variable);

/* What is taken of an answer before others have their turn: so many bytes (and a piece more), or
 * what on_data does in that time. */
#define HTTP_TURN_BYTES (128UL * 1024)
#define HTTP_TURN_MS 5
#define HTTP_TURN_NS (HTTP_TURN_MS * INT64_C(1000000))

struct http_transfer {
    const struct http_curl *lib;
    CURL *curl;
    struct curl_slist *headers;
    struct http_answer *answer;
    void *owner;                   /* of http_client: the call */
    void (*on_begin)(void *owner); /* the answer begins; NULL: nobody asks */
    void (*on_full)(void *owner);  /* libcurl was told to pause, as enough is taken: until
                                      http_transfer_resume(); NULL: it never is */
    size_t turn_bytes;             /* taken since it was resumed */
    mono_ms turn_ms;               /* in on_data */
    char *target;                  /* who is asked, for messages */
    bool is_get;
    bool is_tls;        /* redirects stay where they are */
    bool goes_straight; /* past the proxies of the environment */
    size_t max_bytes;
    http_data_fn on_data;
    void *arg;
    unsigned redirects;
    bool has_begun; /* the answer has */
    bool is_too_big, is_cancelled;
    const char *refusal;           /* of its headers: "sends …"; NULL: none */
    size_t header_bytes;           /* of all that came, also before a redirect */
    unsigned steps;                /* of libcurl until the request is sent */
    char trouble[CURL_ERROR_SIZE]; /* libcurl's sentence */
};

/* transfer is zeroed and stays where it is until it is finished; answer is borrowed. */
int http_transfer_init(struct http_transfer *transfer, const struct http_curl *lib,
                       const struct http_request *request, struct http_answer *answer,
                       struct err *err) MUST_CHECK;
void http_transfer_fini(struct http_transfer *transfer);
/* After on_full; on_data may be called. Anything but CURLE_OK is the end of it. */
CURLcode http_transfer_resume(struct http_transfer *transfer);

enum http_end { HTTP_END_DONE, HTTP_END_REDIRECT, HTTP_END_FAILED };
/* libcurl is done with it: the answer is complete, or the request is to be made once more, at
 * another place of that host, or it failed. */
enum http_end http_transfer_end(struct http_transfer *transfer, CURLcode code, struct err *err);

#endif
