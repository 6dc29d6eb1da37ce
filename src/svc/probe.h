/*
 * probe: looks at the system for reports: who listens on workloads' ports, what they use. One look
 * at the sockets and one at the processes serve all workloads. Where there are many processes, a
 * thread looks, and a report tells what the last look saw: nothing where there was none lately.
 */
#ifndef EDGIBLE_PROBE_H
#define EDGIBLE_PROBE_H

#include "edgible/report.h"
#include "edgible/supervisor.h"

struct probe;

struct probe *probe_new(const struct supervisor *sup);
void probe_free(struct probe *probe);
DEFINE_CLEANUP(probe, struct probe, probe_free)

/* What the looks of a supervisor saw. */
struct probe_kept;
struct probe_kept *probe_kept_new(void);
void probe_kept_free(struct probe_kept *kept);

void probe_fill_ports(struct probe *probe, const struct workload *workload,
                      struct workload_report *report);
void probe_fill_resources(struct probe *probe, const struct workload *workload,
                          struct workload_report *report);

#endif
