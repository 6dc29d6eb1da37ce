/*
 * log_quota: how many lines about one workload the agent's log takes. A workload that restarts
 * again and again has LOG_QUOTA_BURST lines, and then one each LOG_QUOTA_REFILL_MS; as many lines
 * that say more have a bucket of their own. Lines about an application, lines about none, and all
 * lines together are bounded in the same way. The others are counted, and one line says how many
 * there were.
 *
 * Not thread-safe. Times are of loop_now().
 */
#ifndef EDGIBLE_LOG_QUOTA_H
#define EDGIBLE_LOG_QUOTA_H

#include "edgible/mem.h"
#include "edgible/parse.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_QUOTA_BURST 1000
#define LOG_QUOTA_REFILL_MS 10000
/* Of all together: as names can be made up. */
#define LOG_QUOTA_ALL_BURST 20000
#define LOG_QUOTA_ALL_REFILL_MS 100
/* Lines left out are told of at the latest so long after the first of them. */
#define LOG_QUOTA_TELL_MS 60000

struct log_quota;

/* Tells of `count` lines that were left out in the last `during` ms. workload is NULL where they
 * are about an application, and application where they are about none or about many. */
typedef void log_quota_tell_fn(const char *application, const char *workload, uint64_t count,
                               mono_ms during);

struct log_quota *log_quota_new(log_quota_tell_fn *tell);
/* Lines not told of are told of now. */
void log_quota_free(struct log_quota *quota, mono_ms now);

/* Whether a line about the workload (NULL: the application; both NULL: the device) may be
 * written now; one that may not is counted. says_more: it is not what each restart says. */
bool log_quota_take(struct log_quota *quota, const char *application, const char *workload,
                    bool says_more, mono_ms now);
/* Tells of what was left out about the workload, if anything was: before a line that ends it. */
void log_quota_flush(struct log_quota *quota, const char *application, const char *workload,
                     mono_ms now);
/* Tells of what has waited for LOG_QUOTA_TELL_MS. Returns when to call it
 * next; -1 where nothing waits. */
mono_ms log_quota_tell_due(struct log_quota *quota, mono_ms now);
/* The workloads that it remembers. */
size_t log_quota_count(const struct log_quota *quota);

#endif
