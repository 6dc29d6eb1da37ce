#include "edgible/crypto.h"

#include "edgible/dl.h"
#include "edgible/mem.h"

#include <assert.h>
#include <limits.h>
#include <sha2.h>
#include <stddef.h>
#include <string.h>

#include <openssl/evp.h>

/* --- OpenSSL, loaded when it is needed ---------------------------------------------------------
 */

/* What is used of it, under its own names but for the prefix. */
struct openssl {
    __typeof__(EVP_EncodeBlock) *EncodeBlock;
    __typeof__(EVP_DecodeBlock) *DecodeBlock;
    __typeof__(EVP_Digest) *Digest;
    __typeof__(EVP_blake2b512) *blake2b512;
    __typeof__(EVP_PKEY_new_raw_public_key) *PKEY_new_raw_public_key;
    __typeof__(EVP_PKEY_free) *PKEY_free;
    __typeof__(EVP_MD_CTX_new) *MD_CTX_new;
    __typeof__(EVP_MD_CTX_free) *MD_CTX_free;
    __typeof__(EVP_DigestVerifyInit) *DigestVerifyInit;
    __typeof__(EVP_DigestVerify) *DigestVerify;
};

#define FUNCTION(name) DL_FUNCTION(struct openssl, "EVP_", name)

static const struct dl_function functions[] = {
    FUNCTION(EncodeBlock),
    FUNCTION(DecodeBlock),
    FUNCTION(Digest),
    FUNCTION(blake2b512),
    FUNCTION(PKEY_new_raw_public_key),
    FUNCTION(PKEY_free),
    FUNCTION(MD_CTX_new),
    FUNCTION(MD_CTX_free),
    FUNCTION(DigestVerifyInit),
    FUNCTION(DigestVerify),
};

static const struct openssl *load(struct err *err)
{
    static const struct dl_library library = {
        .file = "libcrypto.so.3",
        .package = "libssl3",
        .functions = functions,
        .count = ARRAY_LEN(functions),
    };
    static struct openssl table; /* of the loop's thread, or a command's only one */
    if (table.Digest == NULL && dl_load(&library, &table, err) < 0) {
        return NULL;
    }
    return &table;
}

int crypto_load(struct err *err)
{
    return load(err) != NULL ? 0 : -1;
}

static const struct openssl *evp(void)
{
    const struct openssl *lib = load(NULL);
    assert(lib != NULL); /* who can come here has called crypto_load() */
    return lib;
}

/* --- what is done with it ----------------------------------------------------------------------
 */

void crypto_sha256_hex(const void *data, size_t len, char hex[CRYPTO_SHA256_HEX_BYTES])
{
    _Static_assert(CRYPTO_SHA256_HEX_BYTES == SHA256_DIGEST_STRING_LENGTH, "hex and a NUL");
    (void) SHA256Data(data, len, hex);
}

char *crypto_base64_encode(const void *data, size_t len)
{
    assert(len < INT_MAX / 2);
    char *text = xmalloc((len + 2) / 3 * 4 + 1);
    (void) evp()->EncodeBlock((unsigned char *) text, data, (int) len);
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
    int n = evp()->DecodeBlock((unsigned char *) data, (const unsigned char *) text, (int) len);
    if (n < 0) {
        (void) err_set(err, ERR_REMOTE, "'%.20s' is no base64", text);
        return NULL;
    }
    *ret_len = (size_t) n - padding;
    data[*ret_len] = '\0';
    return steal_ptr(&data);
}

int crypto_blake2b(const void *data, size_t len, unsigned char ret_digest[CRYPTO_BLAKE2B_BYTES],
                   struct err *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (evp()->Digest(len > 0 ? data : "", len, digest, &n, evp()->blake2b512(), NULL) != 1 ||
        n != CRYPTO_BLAKE2B_BYTES) {
        return err_set(err, ERR_HOST, "OpenSSL has no BLAKE2b here");
    }
    memcpy(ret_digest, digest, CRYPTO_BLAKE2B_BYTES);
    return 0;
}

/*
 * With a key of small order anybody makes signatures that fit: under the neutral element each pair
 * (R = neutral element, S = 0) is one of every message. OpenSSL takes such keys (libsodium does
 * not). The eight points have five values of y, and two of them a second spelling (y + p).
 */
static bool has_small_order(const unsigned char key[CRYPTO_ED25519_KEY_BYTES])
{
    /* Version 14 of the formatter does not survive this one. */
    // clang-format off
    static const unsigned char spellings[][CRYPTO_ED25519_KEY_BYTES] = {
        {0},
        {1},
        {0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4,
         0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6,
         0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05},
        {0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b,
         0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39,
         0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a},
        {0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
        {0xed, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
        {0xee, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
    };
    // clang-format on
    unsigned char y[CRYPTO_ED25519_KEY_BYTES];
    memcpy(y, key, sizeof(y));
    y[sizeof(y) - 1] &= 0x7f; /* the top bit is the sign of x */
    for (size_t i = 0; i < ARRAY_LEN(spellings); i++) {
        if (memcmp(y, spellings[i], sizeof(y)) == 0) {
            return true;
        }
    }
    return false;
}

bool crypto_ed25519_has_signed(const unsigned char key[CRYPTO_ED25519_KEY_BYTES],
                               const unsigned char signature[CRYPTO_ED25519_SIGNATURE_BYTES],
                               const void *data, size_t len)
{
    if (has_small_order(key)) {
        return false;
    }
    const struct openssl *lib = evp();
    EVP_PKEY *pkey =
        lib->PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key, CRYPTO_ED25519_KEY_BYTES);
    EVP_MD_CTX *ctx = lib->MD_CTX_new();
    bool has_signed = pkey != NULL && ctx != NULL &&
                      lib->DigestVerifyInit(ctx, NULL, NULL, NULL, pkey) == 1 &&
                      lib->DigestVerify(ctx, signature, CRYPTO_ED25519_SIGNATURE_BYTES,
                                        len > 0 ? data : "", len) == 1;
    lib->MD_CTX_free(ctx);
    lib->PKEY_free(pkey);
    return has_signed;
}
