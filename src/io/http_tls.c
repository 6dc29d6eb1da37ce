/* TLS of a request. The server chooses much of what its handshake and its messages cost: all of
 * that is done in the loop's thread, so what can take long is not offered. */
#include "edgible/clock.h"
#include "edgible/clock_floor.h"
#include "edgible/dl.h"
#include "edgible/mem.h"
#include "edgible/parse.h"
#include "http_private.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Of OpenSSL's <openssl/ssl.h>, whose values are part of its binary interface. */
#define SSL_MODE_AUTO_RETRY 4UL
#define SSL_CTRL_CLEAR_MODE 78
#define SSL_CTRL_SET_MAX_CERT_LIST 51
#define SSL_CTRL_SET_GROUPS_LIST 92
#define SSL_OP_NO_RENEGOTIATION (UINT64_C(1) << 30)
/* Gets each header of a record and each message, sent or come, and once more what a record of TLS
 * 1.3 holds. */
typedef void ssl_message_fn(int is_sent, int version, int type, const void *data, size_t len,
                            void *ssl, void *arg);

/* Of TLS 1.2. Without DHE, whose modulus is the server's: one of 10,000 bits takes a second. */
#define CIPHERS "ECDHE:!eNULL:!PSK"
/* Of TLS 1.3, for the same reason. */
#define GROUPS "X25519:P-256:X448:P-384:P-521"
/* What a certificate of a chain costs is up to its key, 6 ms, and to its names. The public chains
 * have two or three, in 3 to 6 KB. */
#define CHAIN_MAX 4
#define CHAIN_BYTES 16384L
/* Of a handshake: OpenSSL skips some of what comes, without an end, in a single call. With records
 * of 512 bytes and the longest chain there are 200. */
#define MESSAGES_MAX 1024

struct ssl {
    long (*CTX_ctrl)(void *ctx, int command, long larg, void *parg);
    uint64_t (*CTX_set_options)(void *ctx, uint64_t options);
    void (*CTX_set_verify_depth)(void *ctx, int depth);
    void (*CTX_set_msg_callback)(void *ctx, ssl_message_fn *on_message);
    void *(*CTX_get0_param)(void *ctx);
    int (*in_init)(const void *ssl);
    void (*set0_rbio)(void *ssl, void *bio);
};

#define FUNCTION(name) DL_FUNCTION(struct ssl, "SSL_", name)

static const struct dl_function functions[] = {FUNCTION(CTX_ctrl),
                                               FUNCTION(CTX_set_options),
                                               FUNCTION(CTX_set_verify_depth),
                                               FUNCTION(CTX_set_msg_callback),
                                               FUNCTION(CTX_get0_param),
                                               FUNCTION(in_init),
                                               FUNCTION(set0_rbio)};

/* NULL where libcurl does its TLS with something else. */
static const struct ssl *load(void)
{
    static const struct dl_library library = {
        .file = "libssl.so.3",
        .package = "libssl3",
        .functions = functions,
        .count = ARRAY_LEN(functions),
    };
    static struct ssl table; /* of the loop's thread, or a command's only one */
    if (table.CTX_ctrl == NULL && dl_load(&library, &table, NULL) < 0) {
        return NULL;
    }
    return &table;
}

/* Of the loop's thread, or a command's only one. A single call is about one connection, as there is
 * no TLS within TLS. */
static struct {
    const void *last;
    unsigned messages; /* until one of another connection comes, or the handshake is over */
} handshake;

/* Without a source to read from, the handshake fails at once, whatever has come already. OpenSSL
 * queues an error that says so; without that SSL_get_error() would look at the source. Only what a
 * TLS connection below this one sends could clear the queue, and there is none. */
static void on_message(int is_sent, int version, int type, const void *data, size_t len, void *ssl,
                       void *arg)
{
    (void) is_sent;
    (void) version;
    (void) type;
    (void) data;
    (void) len;
    (void) arg;
    const struct ssl *lib = load();
    bool is_next = ssl == handshake.last && lib->in_init(ssl) != 0;
    handshake.last = ssl;
    handshake.messages = is_next ? handshake.messages + 1 : 0;
    if (handshake.messages >= MESSAGES_MAX) {
        lib->set0_rbio(ssl, NULL);
    }
}

/* Certificates are judged by the time of day, or by what it cannot be before. */
static void set_time(const struct ssl *ssl, void *ctx)
{
    static const struct dl_function of_crypto[] = {
        {"X509_VERIFY_PARAM_set_time", 0}
    };
    static const struct dl_library library = {
        .file = "libcrypto.so.3",
        .package = "libssl3",
        .functions = of_crypto,
        .count = ARRAY_LEN(of_crypto),
    };
    static void (*set)(void *param, time_t at); /* of the loop's thread, as above */
    if (set != NULL || dl_load(&library, &set, NULL) == 0) {
        set(ssl->CTX_get0_param(ctx), (time_t) (clock_at_least_floor_ms() / 1000));
    }
}

void http_tls_take_date(const char *date)
{
    int64_t seconds = 0;
    if (parse_http_date(date, &seconds, NULL) == 0) {
        clock_floor_put(CLOCK_FLOOR_DATE, seconds * 1000);
    }
}

/* Messages that carry no data, of which a server can send any number, are one call each. */
static CURLcode on_context(CURL *curl, void *ctx, void *arg)
{
    (void) curl;
    const struct ssl *ssl = arg;
    (void) ssl->CTX_ctrl(ctx, SSL_CTRL_CLEAR_MODE, SSL_MODE_AUTO_RETRY, NULL);
    (void) ssl->CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
    (void) ssl->CTX_ctrl(ctx, SSL_CTRL_SET_MAX_CERT_LIST, CHAIN_BYTES, NULL);
    ssl->CTX_set_verify_depth(ctx, CHAIN_MAX);
    ssl->CTX_set_msg_callback(ctx, on_message);
    if (clock_at_least_floor_ms() > clock_unix_ms()) {
        set_time(ssl, ctx);
    }
    handshake.last = NULL; /* the next one may have its address */
    char groups[] = GROUPS;
    return ssl->CTX_ctrl(ctx, SSL_CTRL_SET_GROUPS_LIST, 0, groups) == 1 ? CURLE_OK
                                                                        : CURLE_SSL_CIPHER;
}

/* Best effort: a libcurl with another library for TLS has neither these names nor such a context.
 */
static void bound_turns(const struct http_curl *lib, CURL *curl)
{
    const struct ssl *ssl = load();
    if (ssl != NULL && lib->easy_setopt(curl, CURLOPT_SSL_CTX_FUNCTION, on_context) == CURLE_OK) {
        (void) lib->easy_setopt(curl, CURLOPT_SSL_CTX_DATA, ssl);
        (void) lib->easy_setopt(curl, CURLOPT_SSL_CIPHER_LIST, CIPHERS);
    }
}

/* --- proxies -------------------------------------------------------------------------------------
 */

/* What neither a cipher nor a file can have as its name. libcurl alone knows whether a proxy counts
 * (no_proxy, the host); it ends the request at the cipher, before it says a word to the proxy, or,
 * where its TLS is not OpenSSL's, at the file, before it trusts a certificate of the proxy. */
#define REFUSED "no-TLS-to-a-proxy"

/* In libcurl's order; it passes over empty ones, as does this. */
static const char *const proxy_variables[] = {"https_proxy", "HTTPS_PROXY", "all_proxy",
                                              "ALL_PROXY"};

char *http_tls_proxy(const char **ret_variable)
{
    const char *proxy = NULL;
    for (size_t i = 0; i < ARRAY_LEN(proxy_variables) && (proxy == NULL || *proxy == '\0'); i++) {
        *ret_variable = proxy_variables[i];
        proxy = getenv(proxy_variables[i]);
    }
    if (proxy == NULL || *proxy == '\0') {
        return NULL;
    }
    const char *at = strrchr(proxy, '@'); /* behind a name and a password */
    const char *scheme = strstr(proxy, "://");
    const char *start = at != NULL ? at + 1 : scheme != NULL ? scheme + 3 : proxy;
    return xstrndup(start, strcspn(start, "/?#"));
}

int http_tls_explain(const char *target, const char *trouble, struct err *err)
{
    if (strstr(trouble, "read bio not set") != NULL) { /* of on_message() */
        return err_set(err, ERR_REMOTE, "'%s' sends a TLS handshake without an end", target);
    }
    if (strstr(trouble, REFUSED) == NULL) {
        return 0;
    }
    const char *name = NULL;
    CLEANUP(free) char *proxy = http_tls_proxy(&name);
    return err_set(err, ERR_REMOTE,
                   "'%s' is not asked: the proxy 'https://%s' of the environment (%s) would be "
                   "reached by TLS; a proxy must be reached by http://, and TLS to the server goes "
                   "through it end to end",
                   target, proxy != NULL ? proxy : "", name);
}

/* TLS within TLS would let a proxy, or what lies behind it, do twice as much, and what bounds a
 * turn counts for one connection. */
static int refuse_tls_proxy(const struct http_curl *lib, CURL *curl)
{
    (void) lib->easy_setopt(curl, CURLOPT_PROXY_SSL_CIPHER_LIST, REFUSED);
    return lib->easy_setopt(curl, CURLOPT_PROXY_SSL_VERIFYPEER, 1L) != CURLE_OK ||
           lib->easy_setopt(curl, CURLOPT_PROXY_CAINFO, "/dev/null/" REFUSED) != CURLE_OK;
}

/* --- all -----------------------------------------------------------------------------------------
 */

int http_tls_setup(const struct http_curl *lib, CURL *curl, const struct http_request *request)
{
    int bad = 0;
    bad |= lib->easy_setopt(curl, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2) != CURLE_OK;
    bad |= lib->easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L) != CURLE_OK;
    bad |= lib->easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L) != CURLE_OK;
    bad |= refuse_tls_proxy(lib, curl);
    bound_turns(lib, curl);
    if (request->ca_file != NULL) {
        /* That one alone; and no copy of it is kept, as the file may change. */
        bad |= lib->easy_setopt(curl, CURLOPT_CAINFO, request->ca_file) != CURLE_OK;
        bad |= lib->easy_setopt(curl, CURLOPT_CAPATH, NULL) != CURLE_OK;
        (void) lib->easy_setopt(curl, CURLOPT_CA_CACHE_TIMEOUT, 0L);
    }
    if (request->cert_file != NULL) {
        bad |= lib->easy_setopt(curl, CURLOPT_SSLCERT, request->cert_file) != CURLE_OK;
        bad |= lib->easy_setopt(curl, CURLOPT_SSLKEY, request->key_file) != CURLE_OK;
        /* A resumed session would show the certificate that it began with. */
        bad |= lib->easy_setopt(curl, CURLOPT_SSL_SESSIONID_CACHE, 0L) != CURLE_OK;
    }
    return bad;
}
