/*
 * crypto: digests and signatures. The home of OpenSSL, which is loaded when it is needed.
 */
#ifndef EDGIBLE_CRYPTO_H
#define EDGIBLE_CRYPTO_H

#include "edgible/err.h"

#include <stdbool.h>
#include <stddef.h>

#define CRYPTO_SHA256_HEX_BYTES 65
#define CRYPTO_BLAKE2B_BYTES 64
#define CRYPTO_ED25519_KEY_BYTES 32
#define CRYPTO_ED25519_SIGNATURE_BYTES 64

/* SHA-256 in lower-case hex, NUL-terminated. */
void crypto_sha256_hex(const void *data, size_t len, char hex[CRYPTO_SHA256_HEX_BYTES]);

/* Loads OpenSSL. All that follows needs it, and aborts where it is not there: whatever opens
 * something that will need it asks here first. */
int crypto_load(struct err *err) MUST_CHECK;

/* Base64 (RFC 4648) with padding; the caller frees. */
char *crypto_base64_encode(const void *data, size_t len);
/* NULL (ERR_REMOTE) where the text is none. NUL-terminated; the caller frees. */
char *crypto_base64_decode(const char *text, size_t *ret_len, struct err *err);

/* BLAKE2b (RFC 7693) of 64 bytes without a key. */
int crypto_blake2b(const void *data, size_t len, unsigned char ret_digest[CRYPTO_BLAKE2B_BYTES],
                   struct err *err) MUST_CHECK;

/* True where the owner of the Ed25519 key (RFC 8032, pure) signed the data. False as well where the
 * key is none, is of small order, or where OpenSSL fails. */
bool crypto_ed25519_has_signed(const unsigned char key[CRYPTO_ED25519_KEY_BYTES],
                               const unsigned char signature[CRYPTO_ED25519_SIGNATURE_BYTES],
                               const void *data, size_t len);

#endif
