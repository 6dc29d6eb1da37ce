#include "edgible/source_trust.h"

#include "edgible/buf.h"
#include "edgible/clock_record.h"
#include "edgible/crypto.h"
#include "edgible/log.h"
#include "edgible/signature.h"
#include "edgible/state_doc.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_FOLDER "trust"
#define RECORD_NAME RECORD_FOLDER "/set.json"
#define SIGNATURE_LINES 4

struct source_trust {
    struct signature_key *keys;
    size_t count;
    struct persist *persist;
    char *device_name, *device_id; /* id: NULL where it has none */
    int64_t sequence;              /* of the set accepted last; -1: none was */
    bool has_accepted;             /* a set, since it was opened */
};

/* --- what was accepted ---------------------------------------------------------------------------
 */

struct record {
    int64_t sequence;
};

static void on_record(void *arg, const char *name, const char *text, size_t len,
                      const struct err *read_error)
{
    static const struct doc_field fields[] = {
        DOC_FIELD_OF_ALL("version", docread_any),
        DOC_FIELD(struct record, sequence, "sequence", docread_int, .is_required = true,
                  .max = INT64_MAX),
        DOC_FIELDS_END,
    };
    struct source_trust *trust = arg;
    struct record record = {.sequence = -1};
    struct err err = {0};
    char sentence[ERR_MSG_MAX];
    if (text != NULL && state_doc_read(name, text, len, fields, &record, &err) == STATE_DOC_READ) {
        trust->sequence = record.sequence;
        return;
    }
    log_error("source",
              "'%s' in stateDir cannot be read: %s; which signed set was accepted last is not "
              "known, and an older one would be taken",
              name, err_text(text != NULL ? &err : read_error, sentence, sizeof(sentence)));
}

static void remember(struct source_trust *trust, int64_t sequence)
{
    if (sequence == trust->sequence || trust->persist == NULL) {
        return;
    }
    trust->sequence = sequence;
    CLEANUP(json) struct json *json = state_doc_new();
    json_set_int(json, "sequence", sequence);
    CLEANUP(free) char *text = json_text(json);
    persist_put(trust->persist, RECORD_NAME, text);
}

/* --- the set -----------------------------------------------------------------------------------
 */

/* Where the line that ends before `end` begins. */
static size_t line_before(const char *text, size_t end)
{
    while (end > 0 && text[end - 1] != '\n') {
        end--;
    }
    return end;
}

/* Takes the set apart; -1 where its last lines are no signature. */
static int split(const char *text, size_t len, size_t *ret_len, struct buf *signature,
                 struct err *err)
{
    size_t end = len > 0 && text[len - 1] == '\n' ? len - 1 : len;
    size_t from = end;
    for (int i = 0; i < SIGNATURE_LINES; i++) {
        from = line_before(text, i == 0 ? end : from - (from > 0 ? 1 : 0));
    }
    for (size_t at = from; at < end;) {
        const char *stop = memchr(text + at, '\n', end - at);
        size_t line = stop != NULL ? (size_t) (stop - text) - at : end - at;
        if (line < 2 || text[at] != '#' || text[at + 1] != ' ') {
            return err_set(err, ERR_REMOTE,
                           "it is not signed: its last four lines have to be a minisign "
                           "signature, each after '# '");
        }
        buf_add(signature, text + at + 2, line - 2);
        buf_add_char(signature, '\n');
        at += line + 1;
    }
    *ret_len = from;
    return 0;
}

static int check_device(const struct source_trust *trust, const char *device, struct err *err)
{
    bool is_ours = device == NULL || strcmp(device, trust->device_name) == 0 ||
                   (trust->device_id != NULL && strcmp(device, trust->device_id) == 0);
    if (!is_ours) {
        return err_set(err, ERR_REMOTE, "it is signed for the device '%.80s', this one is '%s'",
                       device, trust->device_name);
    }
    return 0;
}

static int verify(const struct source_trust *trust, const struct buf *signature, const char *text,
                  size_t len, char **comment, struct err *err)
{
    struct signature_keys keys = {trust->keys, trust->count};
    struct signature_text sig = {buf_str(signature), signature->len};
    return signature_verify(&keys, &sig, text, len, comment, err);
}

int trust_accept(struct source_trust *trust, const char *text, size_t len, size_t *ret_len,
                 struct err *err)
{
    CLEANUP(buf) struct buf signature = {0};
    CLEANUP(free) char *comment = NULL;
    CLEANUP(free) char *device = NULL;
    int64_t sequence = 0;
    size_t signed_len = 0;
    if (split(text, len, &signed_len, &signature, err) < 0 ||
        verify(trust, &signature, text, signed_len, &comment, err) < 0 ||
        signature_read_comment(comment, &sequence, &device, err) < 0 ||
        check_device(trust, device, err) < 0) {
        return -1;
    }
    if (sequence < trust->sequence) {
        return err_set(err, ERR_REMOTE,
                       "its sequence number %" PRId64 " is lower than %" PRId64
                       ", which was accepted before",
                       sequence, trust->sequence);
    }
    remember(trust, sequence);
    clock_record_put_set(trust->persist, signature_read_timestamp(comment));
    trust->has_accepted = true;
    *ret_len = signed_len;
    return 0;
}

bool trust_has_accepted(const struct source_trust *trust)
{
    return trust->has_accepted;
}

int trust_open(const struct config *config, struct persist *persist, struct source_trust **ret,
               struct err *err)
{
    *ret = NULL;
    if (config->trusted_keys.count == 0) {
        return 0;
    }
    if (crypto_load(err) < 0) {
        return -1;
    }
    struct source_trust *trust = xcalloc(1, sizeof(*trust));
    trust->persist = persist;
    trust->sequence = -1;
    trust->device_name = xstrdup(config->device_name);
    trust->device_id = xstrdup_or_null(config->device_id);
    trust->keys = xcalloc(config->trusted_keys.count, sizeof(*trust->keys));
    for (size_t i = 0; i < config->trusted_keys.count; i++) {
        if (signature_key_parse(config->trusted_keys.items[i], &trust->keys[i], err) < 0) {
            trust_free(trust);
            return err_prefix(err, "controlPlane.trustedKeys[%zu]", i);
        }
        trust->count++;
    }
    if (persist != NULL) {
        persist_each(persist, RECORD_FOLDER, on_record, trust);
    }
    *ret = trust;
    return 0;
}

void trust_free(struct source_trust *trust)
{
    if (trust != NULL) {
        free(trust->keys);
        free(trust->device_name);
        free(trust->device_id);
        free(trust);
    }
}
