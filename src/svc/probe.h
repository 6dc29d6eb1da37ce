/*
 * probe: looks at the system for reports: who listens on workloads' ports, what they use. One look
 * at the sockets and one at the processes serve all workloads.
 */
#ifndef EDGIBLE_PROBE_H
#define EDGIBLE_PROBE_H

#include "edgible/report.h"
#include "edgible/supervisor.h"

struct probe;

struct probe *probe_new(const struct supervisor *sup);
void probe_free(struct probe *probe);
DEFINE_CLEANUP(probe, struct probe, probe_free)

void probe_fill_ports(struct probe *probe, const struct workload *workload,
                      struct workload_report *report);
void probe_fill_resources(struct probe *probe, const struct workload *workload,
                          struct workload_report *report);

#endif
