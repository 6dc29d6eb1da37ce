#include "edgible/signature.h"

#include "edgible/mem.h"
#include "edgible/parse.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define ALGORITHM_BYTES 2
#define UNTRUSTED_PREFIX "untrusted comment: "
#define TRUSTED_PREFIX "trusted comment: "
#define SEQUENCE_PREFIX "sequence:"
#define DEVICE_PREFIX "device:"
#define TIMESTAMP_PREFIX "timestamp:" /* of minisign */
#define BLANKS " \t"
#define WHITE_SPACE " \t\r\n"

enum { LINE_UNTRUSTED, LINE_SIGNATURE, LINE_TRUSTED, LINE_GLOBAL, LINE_COUNT };

/* As it is spelt before base64; no padding, for all of it are bytes. */
struct packed_key {
    unsigned char algorithm[ALGORITHM_BYTES];
    struct signature_key key;
};

struct packed_signature {
    unsigned char algorithm[ALGORITHM_BYTES];
    unsigned char id[SIGNATURE_ID_BYTES];
    unsigned char bytes[CRYPTO_ED25519_SIGNATURE_BYTES];
};

_Static_assert(sizeof(struct packed_key) == 42, "the bytes of a minisign key");
_Static_assert(sizeof(struct packed_signature) == 74, "the bytes of a minisign signature");

/* What a signature file says, taken apart. */
struct parsed {
    struct packed_signature signature;
    unsigned char global[CRYPTO_ED25519_SIGNATURE_BYTES];
    const char *trusted; /* within the text that was parsed */
};

/* Canonical is what encoding gives again: EVP_DecodeBlock() passes over white space and the bits
 * that the last character has too many. */
static bool decode_exactly(const char *text, void *ret, size_t size)
{
    size_t len = 0;
    if (strlen(text) != (size + 2) / 3 * 4) {
        return false;
    }
    CLEANUP(free) char *data = crypto_base64_decode(text, &len, NULL);
    if (data == NULL || len != size) {
        return false;
    }
    CLEANUP(free) char *again = crypto_base64_encode(data, len);
    if (strcmp(text, again) != 0) {
        return false;
    }
    memcpy(ret, data, size);
    return true;
}

int signature_key_parse(const char *text, struct signature_key *ret, struct err *err)
{
    struct packed_key packed;
    const char *begin = text + strspn(text, WHITE_SPACE);
    size_t len = strcspn(begin, WHITE_SPACE);
    if (begin[len + strspn(begin + len, WHITE_SPACE)] != '\0') {
        return err_set(
            err, ERR_SPEC,
            "a minisign public key is one line that begins with 'RW', without a comment");
    }
    CLEANUP(free) char *word = xstrndup(begin, len);
    if (!decode_exactly(word, &packed, sizeof(packed)) ||
        memcmp(packed.algorithm, "Ed", ALGORITHM_BYTES) != 0) {
        return err_set(err, ERR_SPEC, "'%.60s' is no minisign public key", word);
    }
    *ret = packed.key;
    return 0;
}

/* Cuts the text into its lines; false where they are not four. The tool cuts each line at its first
 * CR; here one CR at the end goes, and another one is part of what was signed. */
static bool split_lines(char *text, char *lines[LINE_COUNT])
{
    for (size_t i = 0; i < LINE_COUNT; i++) {
        lines[i] = strsep(&text, "\n");
        if (lines[i] == NULL) {
            return false;
        }
        size_t len = strlen(lines[i]);
        if (len > 0 && lines[i][len - 1] == '\r') {
            lines[i][len - 1] = '\0';
        }
    }
    return text == NULL || *text == '\0';
}

static bool has_prefix(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Points into the text, which it cuts. */
static int parse_file(char *text, struct parsed *ret, struct err *err)
{
    char *lines[LINE_COUNT];
    const char *fault = NULL;
    if (!split_lines(text, lines)) {
        fault = "it has not four lines";
    } else if (!has_prefix(lines[LINE_UNTRUSTED], UNTRUSTED_PREFIX)) {
        fault = "line 1 does not begin with '" UNTRUSTED_PREFIX "'";
    } else if (!decode_exactly(lines[LINE_SIGNATURE], &ret->signature, sizeof(ret->signature))) {
        fault = "line 2 is no signature in base64";
    } else if (!has_prefix(lines[LINE_TRUSTED], TRUSTED_PREFIX)) {
        fault = "line 3 does not begin with '" TRUSTED_PREFIX "'";
    } else if (!decode_exactly(lines[LINE_GLOBAL], ret->global, sizeof(ret->global))) {
        fault = "line 4 is no signature in base64";
    } else if (memcmp(ret->signature.algorithm, "Ed", ALGORITHM_BYTES) != 0 &&
               memcmp(ret->signature.algorithm, "ED", ALGORITHM_BYTES) != 0) {
        fault = "its algorithm is unknown";
    }
    if (fault != NULL) {
        return err_set(err, ERR_REMOTE, "not a minisign signature: %s", fault);
    }
    ret->trusted = lines[LINE_TRUSTED] + strlen(TRUSTED_PREFIX);
    return 0;
}

static bool has_signed_comment(const struct signature_key *key, const struct parsed *parsed)
{
    assert(parsed->trusted != NULL);
    size_t comment_len = strlen(parsed->trusted);
    size_t len = sizeof(parsed->signature.bytes) + comment_len;
    CLEANUP(free) unsigned char *both = xmalloc(len);
    memcpy(both, parsed->signature.bytes, sizeof(parsed->signature.bytes));
    memcpy(both + sizeof(parsed->signature.bytes), parsed->trusted, comment_len);
    return crypto_ed25519_has_signed(key->key, parsed->global, both, len);
}

/* The tool writes the id as a little-endian number. */
static uint64_t id_number(const unsigned char id[SIGNATURE_ID_BYTES])
{
    uint64_t number = 0;
    for (size_t i = SIGNATURE_ID_BYTES; i > 0; i--) {
        number = number << 8 | id[i - 1];
    }
    return number;
}

/* Ids are chosen by who makes the keys, so several may be the same. */
static int judge(const struct signature_keys *keys, const struct parsed *parsed,
                 const void *message, size_t len, struct err *err)
{
    uint64_t number = id_number(parsed->signature.id);
    bool is_known = false;
    for (size_t i = 0; i < keys->count; i++) {
        if (memcmp(keys->items[i].id, parsed->signature.id, SIGNATURE_ID_BYTES) != 0) {
            continue;
        }
        is_known = true;
        if (!crypto_ed25519_has_signed(keys->items[i].key, parsed->signature.bytes, message, len)) {
            continue;
        }
        if (!has_signed_comment(&keys->items[i], parsed)) {
            return err_set(err, ERR_REMOTE, "the signature's trusted comment was altered");
        }
        return 0;
    }
    if (!is_known) {
        return err_set(err, ERR_REMOTE, "signed with key %" PRIX64 ", which is not trusted",
                       number);
    }
    return err_set(err, ERR_REMOTE,
                   "the signature of key %" PRIX64 " does not fit the data: it was altered",
                   number);
}

int signature_verify(const struct signature_keys *keys, const struct signature_text *sig,
                     const void *data, size_t len, char **ret_trusted_comment, struct err *err)
{
    struct parsed parsed = {0};
    unsigned char digest[CRYPTO_BLAKE2B_BYTES];
    if (sig->len > SIGNATURE_MAX_BYTES) {
        return err_set(err, ERR_REMOTE, "not a minisign signature: it has more than %zu bytes",
                       SIGNATURE_MAX_BYTES);
    }
    if (sig->len == 0 || memchr(sig->data, '\0', sig->len) != NULL) {
        return err_set(err, ERR_REMOTE, "not a minisign signature: it %s",
                       sig->len == 0 ? "is empty" : "holds a NUL byte");
    }
    CLEANUP(free) char *text = xstrndup(sig->data, sig->len);
    if (parse_file(text, &parsed, err) < 0) {
        return -1;
    }
    if (parsed.signature.algorithm[1] == 'D') {
        if (crypto_blake2b(data, len, digest, err) < 0) {
            return -1;
        }
        data = digest;
        len = sizeof(digest);
    }
    if (judge(keys, &parsed, data, len, err) < 0) {
        return -1;
    }
    *ret_trusted_comment = xstrdup(parsed.trusted);
    return 0;
}

/* The rest of the only word with the prefix; NULL where there is none. The caller frees. */
static int find_word(const char *comment, const char *prefix, char **ret, struct err *err)
{
    CLEANUP(free) char *found = NULL;
    size_t prefix_len = strlen(prefix);
    const char *word = comment + strspn(comment, BLANKS);
    while (*word != '\0') {
        size_t len = strcspn(word, BLANKS);
        if (len >= prefix_len && strncmp(word, prefix, prefix_len) == 0) {
            if (found != NULL) {
                return err_set(err, ERR_REMOTE, "the trusted comment has '%s' twice", prefix);
            }
            found = xstrndup(word + prefix_len, len - prefix_len);
        }
        word += len;
        word += strspn(word, BLANKS);
    }
    *ret = steal_ptr(&found);
    return 0;
}

int64_t signature_read_timestamp(const char *comment)
{
    CLEANUP(free) char *text = NULL;
    int64_t seconds = 0;
    bool is_there = find_word(comment, TIMESTAMP_PREFIX, &text, NULL) == 0 && text != NULL;
    return is_there && parse_int(text, 0, INT32_MAX * INT64_C(4), &seconds, NULL) == 0 ? seconds
                                                                                       : 0;
}

int signature_read_comment(const char *comment, int64_t *ret_sequence, char **ret_device,
                           struct err *err)
{
    CLEANUP(free) char *sequence = NULL;
    CLEANUP(free) char *device = NULL;
    int64_t value = 0;
    if (find_word(comment, SEQUENCE_PREFIX, &sequence, err) < 0 ||
        find_word(comment, DEVICE_PREFIX, &device, err) < 0) {
        return -1;
    }
    if (sequence == NULL) {
        return err_set(err, ERR_REMOTE,
                       "the trusted comment has no '" SEQUENCE_PREFIX "N', so an older document "
                       "could not be told from a newer one");
    }
    /* A minus sign is no digit of a sequence, not even before a zero. */
    if (*sequence == '-' || parse_int(sequence, 0, INT64_MAX, &value, NULL) < 0) {
        return err_set(err, ERR_REMOTE,
                       "'" SEQUENCE_PREFIX "%.40s' of the trusted comment is no number from 0 to "
                       "%" PRId64,
                       sequence, INT64_MAX);
    }
    if (device != NULL && *device == '\0') {
        return err_set(err, ERR_REMOTE, "'" DEVICE_PREFIX "' of the trusted comment is empty");
    }
    *ret_sequence = value;
    *ret_device = steal_ptr(&device);
    return 0;
}
