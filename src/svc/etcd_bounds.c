#include "etcd_bounds.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

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
    if (answer->revision <= 0) {
        return err_set(err, ERR_REMOTE, "what answers is not etcd: it has no revision");
    }
    if (!answer->has_more && answer->total != 0 && answer->total != (int64_t) answer->count) {
        return err_set(err, ERR_REMOTE, "%" PRId64 " keys are told of, and %zu are there",
                       answer->total, answer->count);
    }
    for (size_t i = 0; i < answer->count; i++) {
        bytes += answer->kvs[i].value_len;
    }
    return check(answer->has_more ? SIZE_MAX : answer->count, bytes, err);
}

int etcd_bounds_check_changes(size_t count, size_t bytes, struct err *err)
{
    return check(count, bytes, err);
}

/* NULL: none is told. */
static bool is_cluster(const struct etcd_store *store, const char *cluster, struct err *err)
{
    const char *told = cluster != NULL ? cluster : "";
    if (store->cluster == NULL || strcmp(store->cluster, told) == 0) {
        return true;
    }
    (void) err_set(err, ERR_REMOTE,
                   "this is an etcd of another cluster: its id is '%.40s', and was '%.40s'", told,
                   store->cluster);
    return false;
}

bool etcd_store_is_same(const struct etcd_store *store, const struct etcd_answer *change,
                        struct err *err)
{
    return change->cluster == NULL || is_cluster(store, change->cluster, err);
}

static bool is_of_store(const struct etcd_store *store, const struct etcd_answer *answer,
                        struct err *err)
{
    if (answer->revision < store->revision) {
        (void) err_set(err, ERR_REMOTE,
                       "etcd is behind what was seen of it: its revision is %" PRId64
                       ", and was %" PRId64,
                       answer->revision, store->revision);
        return false;
    }
    return is_cluster(store, answer->cluster, err);
}

int etcd_store_check(struct etcd_store *store, const struct etcd_answer *answer, mono_ms now,
                     struct err *err)
{
    bool is_same = is_of_store(store, answer, err);
    if (!is_same && !store->is_strange) {
        store->is_strange = true;
        store->strange_since = now;
    }
    if (!is_same && now - store->strange_since < ETCD_STRANGE_MS) {
        return -1;
    }
    free(store->cluster);
    *store = (struct etcd_store){.cluster = xstrdup_or_null(answer->cluster),
                                 .revision = answer->revision};
    return 0;
}

void etcd_store_fini(struct etcd_store *store)
{
    free(store->cluster);
    *store = (struct etcd_store){0};
}
