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
    struct map *buckets; /* "application/workload", and with "+" what says more */
    struct bucket all;
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
    tell(quota, &quota->all, now);
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

/* The caller frees. */
static char *key_of(const char *application, const char *workload, bool says_more)
{
    return xasprintf("%s/%s%s", application != NULL ? application : "",
                     workload != NULL ? workload : "", says_more ? "+" : "");
}

static struct bucket *add(struct log_quota *quota, const char *key, const char *application,
                          const char *workload, mono_ms now)
{
    if (map_count(quota->buckets) >= quota->look_at) {
        forget_quiet(quota, now);
    }
    struct bucket *bucket = xcalloc(1, sizeof(*bucket));
    bucket->application = xstrdup_or_null(application);
    bucket->workload = xstrdup_or_null(workload);
    bucket->full_at = now;
    map_put(quota->buckets, key, bucket);
    return bucket;
}

static bool take(struct bucket *bucket, mono_ms burst, mono_ms refill_ms, mono_ms now)
{
    mono_ms full_at = (bucket->full_at > now ? bucket->full_at : now) + refill_ms;
    if (full_at - now <= burst * refill_ms) {
        bucket->full_at = full_at;
        return true;
    }
    if (bucket->left_out++ == 0) {
        bucket->left_out_since = now;
    }
    return false;
}

bool log_quota_take(struct log_quota *quota, const char *application, const char *workload,
                    bool says_more, mono_ms now)
{
    CLEANUP(free) char *key = key_of(application, workload, says_more);
    struct bucket *bucket = map_get(quota->buckets, key);
    if (bucket == NULL) {
        bucket = add(quota, key, application, workload, now);
    }
    return take(bucket, LOG_QUOTA_BURST, LOG_QUOTA_REFILL_MS, now) &&
           take(&quota->all, LOG_QUOTA_ALL_BURST, LOG_QUOTA_ALL_REFILL_MS, now);
}

void log_quota_flush(struct log_quota *quota, const char *application, const char *workload,
                     mono_ms now)
{
    CLEANUP(free) char *key = key_of(application, workload, false);
    struct bucket *bucket = map_get(quota->buckets, key);
    if (bucket != NULL) {
        tell(quota, bucket, now);
    }
}

/* Tells, or says when. */
static void tell_in_time(struct log_quota *quota, struct bucket *bucket, mono_ms now, mono_ms *next)
{
    mono_ms due = bucket->left_out_since + LOG_QUOTA_TELL_MS;
    if (bucket->left_out > 0 && due <= now) {
        tell(quota, bucket, now);
    } else if (bucket->left_out > 0 && (*next < 0 || due < *next)) {
        *next = due;
    }
}

mono_ms log_quota_tell_due(struct log_quota *quota, mono_ms now)
{
    mono_ms next = -1;
    const char *key = NULL;
    void *value = NULL;
    for (size_t at = 0; map_next(quota->buckets, &at, &key, &value);) {
        tell_in_time(quota, value, now, &next);
    }
    tell_in_time(quota, &quota->all, now, &next);
    return next;
}

size_t log_quota_count(const struct log_quota *quota)
{
    return map_count(quota->buckets);
}
