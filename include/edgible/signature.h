/*
 * signature: minisign signatures (https://jedisct1.github.io/minisign/), verified only.
 *
 * A public key is one line of base64; a signature is a file of four lines, of which the untrusted
 * comment is signed by nobody. Read more strictly than the tool does: nothing after the four lines,
 * base64 in its one canonical form, no NUL bytes. As with the tool a line may end with CR LF, and
 * the last one with the file.
 */
#ifndef EDGIBLE_SIGNATURE_H
#define EDGIBLE_SIGNATURE_H

#include "edgible/crypto.h"
#include "edgible/err.h"

#include <stddef.h>
#include <stdint.h>

/* Larger signature files are refused unread. */
#define SIGNATURE_MAX_BYTES ((size_t) 8 * 1024)
#define SIGNATURE_ID_BYTES 8

struct signature_key {
    unsigned char id[SIGNATURE_ID_BYTES];
    unsigned char key[CRYPTO_ED25519_KEY_BYTES];
};

/* Borrowed. */
struct signature_keys {
    const struct signature_key *items;
    size_t count;
};

/* The bytes of a .minisig file; borrowed. */
struct signature_text {
    const char *data;
    size_t len;
};

/* The second line of a minisign public key file ("RW…"); white space around it is passed over.
 * ERR_SPEC where it is none. That the bytes are a good key is not checked: with another one nothing
 * verifies. */
int signature_key_parse(const char *text, struct signature_key *ret, struct err *err) MUST_CHECK;

/*
 * The text is a signature of the data by one of the keys, pure or
 * prehashed. ERR_REMOTE, and one message each, where it is no minisign signature, was made with
 * another key, fits other data, or has an altered trusted comment. The caller frees the comment,
 * which may be empty and holds any bytes but NUL and line feed.
 */
int signature_verify(const struct signature_keys *keys, const struct signature_text *sig,
                     const void *data, size_t len, char **ret_trusted_comment,
                     struct err *err) MUST_CHECK;

/*
 * The words of a trusted comment, separated by blanks and tabs, that are ours: `sequence:N` once,
 * decimal, and `device:NAME` at most once (NULL where absent; the caller frees). Other words, such
 * as minisign's own timestamp and file, are passed over. ERR_REMOTE.
 */
int signature_read_comment(const char *comment, int64_t *ret_sequence, char **ret_device,
                           struct err *err) MUST_CHECK;
/* When it was signed, by minisign's own word `timestamp:N`, in seconds since 1970; 0: not told. */
int64_t signature_read_timestamp(const char *comment);

#endif
