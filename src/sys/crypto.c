#include "edgible/crypto.h"

#include <assert.h>
#include <stdio.h>

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
