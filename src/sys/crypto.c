#include "edgible/crypto.h"

#include "edgible/mem.h"

#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/sha.h>

void crypto_sha256_hex(const void *data, size_t len, char hex[CRYPTO_SHA256_HEX_BYTES])
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    const unsigned char *done = SHA256(data, len, digest);
    assert(done != NULL);
    (void) done;
    for (size_t i = 0; i < sizeof(digest); i++) {
        (void) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    }
}

char *crypto_base64_encode(const void *data, size_t len)
{
    assert(len < INT_MAX / 2);
    char *text = xmalloc((len + 2) / 3 * 4 + 1);
    (void) EVP_EncodeBlock((unsigned char *) text, data, (int) len);
    return text;
}

/* EVP_DecodeBlock() passes over white space, and makes zeros of the padding. */
char *crypto_base64_decode(const char *text, size_t *ret_len, struct err *err)
{
    size_t len = strlen(text);
    size_t padding = len > 0 && text[len - 1] == '=' ? 1 : 0;
    padding += len > 1 && text[len - 2] == '=' ? 1 : 0;
    if (len % 4 != 0 || len > INT_MAX / 2 || strcspn(text, " \t\r\n=") < len - padding) {
        (void) err_set(err, ERR_REMOTE, "'%.20s' is no base64", text);
        return NULL;
    }
    CLEANUP(free) char *data = xmalloc(len / 4 * 3 + 1);
    int n = EVP_DecodeBlock((unsigned char *) data, (const unsigned char *) text, (int) len);
    if (n < 0) {
        (void) err_set(err, ERR_REMOTE, "'%.20s' is no base64", text);
        return NULL;
    }
    *ret_len = (size_t) n - padding;
    data[*ret_len] = '\0';
    return steal_ptr(&data);
}
