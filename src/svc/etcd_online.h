/*
 * etcd_online: the key that says that this device is there. It has a lease, and is gone where that
 * is not kept alive.
 */
#ifndef EDGIBLE_ETCD_ONLINE_H
#define EDGIBLE_ETCD_ONLINE_H

#include "etcd_session.h"

struct etcd_online_params {
    struct etcd_session *session;       /* borrowed; outlives it */
    const struct source_params *source; /* likewise */
    bool (*is_wanted)(const void *arg); /* there is contact */
    void (*on_failure)(void *arg, const struct err *err);
    void *arg;
};

struct etcd_online {
    struct etcd_online_params params;
    char *key;
    struct loop_timer *timer;
    struct http_call *call; /* under way; NULL: none */
    int64_t lease;          /* 0: none */
    loop_fn done;           /* of etcd_online_end() */
    void *done_arg;
};

/* Begins by itself, once it is wanted. */
void etcd_online_init(struct etcd_online *online, const struct etcd_online_params *params);
/* The agent ends in order: the key goes at once. done(arg) is called from the loop afterwards;
 * false: there is nothing to wait for. */
bool etcd_online_end(struct etcd_online *online, loop_fn done, void *arg);
void etcd_online_fini(struct etcd_online *online);

#endif
