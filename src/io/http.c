#include "edgible/http.h"

#include "edgible/mem.h"
#include "http_private.h"

#include <string.h>

static int perform(const struct http_curl *lib, const struct http_request *request,
                   struct http_answer *answer, struct err *err)
{
    struct http_transfer transfer = {0};
    enum http_end end = HTTP_END_FAILED;
    if (http_transfer_init(&transfer, lib, request, answer, err) == 0) {
        do {
            end = http_transfer_end(&transfer, lib->easy_perform(transfer.curl), err);
        } while (end == HTTP_END_REDIRECT);
    }
    http_transfer_fini(&transfer);
    return end == HTTP_END_DONE ? 0 : -1;
}

int http_perform(const struct http_request *request, struct http_answer *answer, struct err *err)
{
    *answer = (struct http_answer){0};
    const struct http_curl *lib = http_curl_load(err);
    if (lib == NULL) {
        return -1;
    }
    /* In pairs, so that nothing of libcurl is left between requests; TLS costs 10 ms, and a socket
     * of this machine needs none. */
    long what = request->socket_path != NULL ? CURL_GLOBAL_NOTHING : CURL_GLOBAL_DEFAULT;
    if (lib->global_init(what) != CURLE_OK) {
        return err_set(err, ERR_HOST, "libcurl cannot be set up");
    }
    int rc = perform(lib, request, answer, err);
    lib->global_cleanup();
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
