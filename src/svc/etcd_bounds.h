/*
 * etcd_bounds: which answer to a range is believed, and how much the documents of a device in etcd
 * may be, in that answer as in what a watch has gathered since.
 */
#ifndef EDGIBLE_ETCD_BOUNDS_H
#define EDGIBLE_ETCD_BOUNDS_H

#include "edgible/etcd_wire.h"

/* 0 where all values of the answer may be taken; ERR_REMOTE else: it is not a whole answer of
 * etcd, or there are too many. */
int etcd_bounds_check_range(const struct etcd_answer *answer, struct err *err) MUST_CHECK;

/* An etcd of another cluster, or of an older revision than was seen, is believed after all ranges
 * have told of one for so long: a member that was restored or joined another cluster is mended by
 * then, and a cluster that was made anew stays. */
#define ETCD_STRANGE_MS 600000

/* What ranges are held against; zeroed at first. */
struct etcd_store {
    char *cluster;    /* NULL: not known */
    int64_t revision; /* the highest seen */
    bool is_strange;  /* since strange_since */
    mono_ms strange_since;
};

/* 0 where the answer is of the same store as before, or is believed by now; ERR_REMOTE else. */
int etcd_store_check(struct etcd_store *store, const struct etcd_answer *answer, mono_ms now,
                     struct err *err) MUST_CHECK;
/* False with err where a change tells of another cluster than the last range. */
bool etcd_store_is_same(const struct etcd_store *store, const struct etcd_answer *change,
                        struct err *err);
void etcd_store_fini(struct etcd_store *store);

/* 0 where the device may have so many keys, with values of so many bytes, as it has after a line of
 * changes; ERR_REMOTE else. To be asked before any of the values is read. */
int etcd_bounds_check_changes(size_t count, size_t bytes, struct err *err) MUST_CHECK;

#endif
