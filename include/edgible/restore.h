/*
 * restore: at the agent's start, everything that the one before it left: its applications, its
 * workloads' units, and the processes of this boot, which are adopted.
 */
#ifndef EDGIBLE_RESTORE_H
#define EDGIBLE_RESTORE_H

#include "edgible/persist.h"
#include "edgible/reconcile.h"
#include "edgible/supervisor.h"

/* Records that cannot be read are said and passed over; those of a newer agent are left alone,
 * with all of their application. */
void restore_all(struct persist *persist, struct reconcile *reconcile,
                 struct supervisor *supervisor, const char *boot_id);

#endif
