/*
 * crypto: what OpenSSL is needed for. Its home.
 */
#ifndef EDGIBLE_CRYPTO_H
#define EDGIBLE_CRYPTO_H

#include "edgible/err.h"

#include <stddef.h>

#define CRYPTO_SHA256_HEX_BYTES 65

/* SHA-256 in lower-case hex, NUL-terminated. */
void crypto_sha256_hex(const void *data, size_t len, char hex[CRYPTO_SHA256_HEX_BYTES]);

/* Base64 (RFC 4648) with padding; the caller frees. */
char *crypto_base64_encode(const void *data, size_t len);
/* NULL (ERR_REMOTE) where the text is none. NUL-terminated; the caller frees. */
char *crypto_base64_decode(const char *text, size_t *ret_len, struct err *err);

#endif
