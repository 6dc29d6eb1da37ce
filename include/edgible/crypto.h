/*
 * crypto: what OpenSSL is needed for. Its home.
 */
#ifndef EDGIBLE_CRYPTO_H
#define EDGIBLE_CRYPTO_H

#include <stddef.h>

#define CRYPTO_SHA256_HEX_BYTES 65

/* SHA-256 in lower-case hex, NUL-terminated. */
void crypto_sha256_hex(const void *data, size_t len, char hex[CRYPTO_SHA256_HEX_BYTES]);

#endif
