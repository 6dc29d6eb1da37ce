/*
 * etcd_bounds: how much the documents of a device in etcd may be, in the answer to a range as in
 * what a watch has gathered since.
 */
#ifndef EDGIBLE_ETCD_BOUNDS_H
#define EDGIBLE_ETCD_BOUNDS_H

#include "edgible/etcd_wire.h"
#include "source_docs.h"

/* 0 where all values of the answer may be taken; ERR_REMOTE else. */
int etcd_bounds_check_range(const struct etcd_answer *answer, struct err *err) MUST_CHECK;

/* 0 where the value may be taken in place of docs, which is its key's, or NULL; ERR_REMOTE else.
 * load is that of all `count` keys. */
int etcd_bounds_check_change(const struct source_load *load, size_t count,
                             const struct source_docs *docs, const struct etcd_kv *kv,
                             struct err *err) MUST_CHECK;

#endif
