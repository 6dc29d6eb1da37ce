/*
 * etcd_guard: notices an etcd that has lost this device's keys, as one does that comes back empty,
 * or from a copy that is older than the device. The agent writes its report there: where that was
 * so, and the report is gone, nothing of what etcd says removes anything until the operator puts
 * the key `confirm` beside it. Kept over restarts.
 */
#ifndef EDGIBLE_ETCD_GUARD_H
#define EDGIBLE_ETCD_GUARD_H

#include "edgible/err.h"
#include "edgible/persist.h"

#include <stdbool.h>
#include <stddef.h>

struct etcd_guard {
    struct persist *persist;          /* borrowed */
    char *report_key, *confirm_key;   /* owned */
    bool has_reported, has_documents; /* when etcd was heard of last */
    bool is_gone;                     /* the report was missing, and nobody has confirmed it */
};

/* keys: what all keys of the device begin with. Reads what an earlier agent noted of them. */
void etcd_guard_init(struct etcd_guard *guard, struct persist *persist, const char *keys);
void etcd_guard_fini(struct etcd_guard *guard);

/* The key that is to be looked for before etcd's documents are taken; NULL: none. */
const char *etcd_guard_key(const struct etcd_guard *guard);
/* Whether that key is there. -1 with ERR_REMOTE where the documents are not to be taken. */
int etcd_guard_judge(struct etcd_guard *guard, bool exists, struct err *err) MUST_CHECK;

/* etcd has taken a report. */
void etcd_guard_note_report(struct etcd_guard *guard);
/* So many documents have been taken from etcd. */
void etcd_guard_note_documents(struct etcd_guard *guard, size_t count);

#endif
