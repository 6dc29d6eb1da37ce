#include "probe.h"

#include "edgible/cgroup.h"
#include "edgible/killtree.h"
#include "edgible/net_ports.h"
#include "edgible/proc_usage.h"
#include "supervisor_private.h"

#include <stdlib.h>
#include <string.h>

#define PIDS_MAX 4096

struct probe {
    const struct supervisor *sup;
    struct census *census; /* taken when first needed, as are the rest */
    bool census_failed;
    struct sweep_targets targets;
    struct net_ports *ports;
    bool ports_failed;
    const struct workload *pids_of; /* whose the pids are */
    pid_t pids[PIDS_MAX];
    size_t pid_count;
};

struct probe *probe_new(const struct supervisor *sup)
{
    struct probe *probe = xcalloc(1, sizeof(*probe));
    probe->sup = sup;
    return probe;
}

void probe_free(struct probe *probe)
{
    if (probe != NULL) {
        census_free(probe->census);
        net_ports_free(probe->ports);
        cleanup_sweep_targets(&probe->targets);
        free(probe);
    }
}

static void find_by_census(struct probe *probe, const struct killtree_target *target)
{
    if (probe->census == NULL && !probe->census_failed) {
        probe->census = census_take(NULL);
        probe->census_failed = probe->census == NULL;
        sweep_collect_targets(probe->sup, &probe->targets);
    }
    if (probe->census != NULL) {
        probe->pid_count = killtree_find(probe->census, target, probe->targets.items,
                                         probe->targets.count, probe->pids, PIDS_MAX);
    }
}

/* The cgroup tells exactly; without one the processes are looked for. */
static void find_pids(struct probe *probe, const struct workload *workload)
{
    struct killtree_target target;
    if (probe->pids_of == workload) {
        return;
    }
    probe->pids_of = workload;
    probe->pid_count = 0;
    if (!workload_kill_target(workload, &target)) {
        return;
    }
    if (target.cgroups != NULL) {
        probe->pid_count = cgroup_list_pids(target.cgroups, target.cgroup, probe->pids, PIDS_MAX);
    } else {
        find_by_census(probe, &target);
    }
}

void probe_fill_ports(struct probe *probe, const struct workload *workload,
                      struct workload_report *report)
{
    if (report->port_count == 0 || report->pid == 0) {
        return;
    }
    if (probe->ports == NULL && !probe->ports_failed) {
        probe->ports = net_ports_take(NULL);
        probe->ports_failed = probe->ports == NULL;
    }
    if (probe->ports == NULL) {
        return; /* not known, and not said */
    }
    find_pids(probe, workload);
    const char *cgroup = workload_cgroup(workload);
    uint64_t id = cgroup != NULL ? cgroup_id(probe->sup->params.cgroups, cgroup) : 0;
    for (size_t i = 0; i < report->port_count; i++) {
        struct port_report *port = &report->ports[i];
        bool is_udp = strcmp(port->spec->protocol, "udp") == 0;
        port->is_known = true;
        port->listening =
            net_ports_has(probe->ports, is_udp ? NET_UDP : NET_TCP, port->spec->container_port, id,
                          probe->pids, probe->pid_count);
    }
}

void probe_fill_resources(struct probe *probe, const struct workload *workload,
                          struct workload_report *report)
{
    if (report->pid == 0) {
        return;
    }
    find_pids(probe, workload);
    struct proc_usage usage = proc_usage_read(probe->pids, probe->pid_count);
    const char *cgroup = workload_cgroup(workload);
    int64_t cpu_ms = cgroup != NULL ? cgroup_read_cpu_ms(probe->sup->params.cgroups, cgroup) : -1;
    report->has_resources = true;
    report->processes = (int64_t) usage.processes;
    report->memory_bytes = (int64_t) usage.memory_bytes;
    report->cpu_ms = cpu_ms >= 0 ? cpu_ms : (int64_t) usage.cpu_ms;
}
