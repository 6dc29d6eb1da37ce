#include "edgible/log_quota.h"

#include "edgible/map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Quiet workloads are looked for when there are twice as many as after the last look. */
#define MIN_LOOK 64

struct bucket {
    char *application, *workload;
    mono_ms full_at; /* when it is full again; each line puts it off */
    uint64_t left_out;
    mono_ms left_out_since;
};

struct log_quota {
    log_quota_tell_fn *tell;
    struct map *buckets; /* "application/workload" */
    size_t look_at;
};

static void bucket_free(struct bucket *bucket)
{
    free(bucket->application);
    free(bucket->workload);
    free(bucket);
}

struct log_quota *log_quota_new(log_quota_tell_fn *tell)
{
    struct log_quota *quota = xcalloc(1, sizeof(*quota));
    quota->tell = tell;
    quota->buckets = map_new();
    quota->look_at = MIN_LOOK;
    return quota;
}

static void tell(struct log_quota *quota, struct bucket *bucket, mono_ms now)
{
    if (bucket->left_out > 0) {
        quota->tell(bucket->application, bucket->workload, bucket->left_out,
                    now - bucket->left_out_since);
        bucket->left_out = 0;
    }
}

void log_quota_free(struct log_quota *quota, mono_ms now)
{
    if (quota == NULL) {
        return;
    }
    const char *key = NULL;
    void *value = NULL;
    for (size_t at = 0; map_next(quota->buckets, &at, &key, &value);) {
        tell(quota, value, now);
        bucket_free(value);
    }
    map_free(quota->buckets);
    free(quota);
}

/* Those whose bucket is full again are as good as new. */
static void forget_quiet(struct log_quota *quota, mono_ms now)
{
    struct map *kept = map_new();
    const char *key = NULL;
    void *value = NULL;
    for (size_t at = 0; map_next(quota->buckets, &at, &key, &value);) {
        struct bucket *bucket = value;
        if (bucket->left_out == 0 && bucket->full_at <= now) {
            bucket_free(bucket);
        } else {
            map_put(kept, key, bucket);
        }
    }
    map_free(quota->buckets);
    quota->buckets = kept;
    size_t twice = 2 * map_count(kept);
    quota->look_at = twice > MIN_LOOK ? twice : MIN_LOOK;
}

static struct bucket *find(const struct log_quota *quota, const char *application,
                           const char *workload)
{
    CLEANUP(free) char *key = xasprintf("%s/%s", application, workload);
    return map_get(quota->buckets, key);
}

static struct bucket *add(struct log_quota *quota, const char *application, const char *workload,
                          mono_ms now)
{
    if (map_count(quota->buckets) >= quota->look_at) {
        forget_quiet(quota, now);
    }
    struct bucket *bucket = xcalloc(1, sizeof(*bucket));
    bucket->application = xstrdup(application);
    bucket->workload = xstrdup(workload);
    bucket->full_at = now;
    CLEANUP(free) char *key = xasprintf("%s/%s", application, workload);
    map_put(quota->buckets, key, bucket);
    return bucket;
}

bool log_quota_take(struct log_quota *quota, const char *application, const char *workload,
                    mono_ms now)
{
    struct bucket *bucket = find(quota, application, workload);
    if (bucket == NULL) {
        bucket = add(quota, application, workload, now);
    }
    mono_ms full_at = (bucket->full_at > now ? bucket->full_at : now) + LOG_QUOTA_REFILL_MS;
    if (full_at - now <= (mono_ms) LOG_QUOTA_BURST * LOG_QUOTA_REFILL_MS) {
        bucket->full_at = full_at;
        return true;
    }
    if (bucket->left_out++ == 0) {
        bucket->left_out_since = now;
    }
    return false;
}

void log_quota_flush(struct log_quota *quota, const char *application, const char *workload,
                     mono_ms now)
{
    struct bucket *bucket = find(quota, application, workload);
    if (bucket != NULL) {
        tell(quota, bucket, now);
    }
}

mono_ms log_quota_tell_due(struct log_quota *quota, mono_ms now)
{
    mono_ms next = -1;
    const char *key = NULL;
    void *value = NULL;
    for (size_t at = 0; map_next(quota->buckets, &at, &key, &value);) {
        struct bucket *bucket = value;
        mono_ms due = bucket->left_out_since + LOG_QUOTA_TELL_MS;
        if (bucket->left_out > 0 && due <= now) {
            tell(quota, bucket, now);
        } else if (bucket->left_out > 0 && (next < 0 || due < next)) {
            next = due;
        }
    }
    return next;
}

size_t log_quota_count(const struct log_quota *quota)
{
    return map_count(quota->buckets);
}
