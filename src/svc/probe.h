/*
 * probe: one look at the system for what it alone tells of workloads: who listens on their ports,
 * and what they use. A thread looks, since it takes as long as workloads have processes and open
 * files.
 */
#ifndef EDGIBLE_PROBE_H
#define EDGIBLE_PROBE_H

#include "edgible/report.h"
#include "edgible/supervisor.h"

struct probe;
typedef void probe_fn(void *arg);

/*
 * Sets *slot and looks: at the workloads of that application, NULL: at all. done() is called once,
 * on the loop's thread: later, or before this returns where no thread can be made. Looks for 2 s at
 * the most, and tells nothing of the rest.
 */
void probe_start(struct probe **slot, const struct supervisor *sup, const char *application,
                 probe_fn *done, void *arg);
/* At any time, also in done(), which is not called after it. */
void probe_free(struct probe *probe);
/* After done(). Adds what was seen of the workload; nothing where it has another process by now. */
void probe_fill(const struct probe *probe, const struct workload *workload,
                struct workload_report *report);

#endif
