#include "etcd_bounds.h"

#define MAX_VALUES_BYTES (8UL * 1024 * 1024)

static int check(size_t count, size_t bytes, struct err *err)
{
    if (count > APPSPEC_MAX_DOCUMENTS) {
        return err_set(err, ERR_REMOTE, "there are more than %d documents", APPSPEC_MAX_DOCUMENTS);
    }
    if (bytes > MAX_VALUES_BYTES) {
        return err_set(err, ERR_REMOTE, "the documents have more than %lu MiB",
                       MAX_VALUES_BYTES >> 20);
    }
    return 0;
}

int etcd_bounds_check_range(const struct etcd_answer *answer, struct err *err)
{
    size_t bytes = 0;
    for (size_t i = 0; i < answer->count; i++) {
        bytes += answer->kvs[i].value_len;
    }
    return check(answer->has_more ? SIZE_MAX : answer->count, bytes, err);
}

int etcd_bounds_check_change(const struct source_load *load, size_t count,
                             const struct source_docs *docs, const struct etcd_kv *kv,
                             struct err *err)
{
    size_t old_bytes = docs != NULL ? docs->own.bytes : 0;
    return check(docs != NULL ? count : count + 1, load->bytes - old_bytes + kv->value_len, err);
}
