#include "probe.h"

#include "edgible/cgroup.h"
#include "edgible/killtree.h"
#include "edgible/net_ports.h"
#include "edgible/proc_usage.h"
#include "supervisor_private.h"

#include <stdlib.h>
#include <string.h>

#define PIDS_MAX 4096
/* From so many processes on they are looked at on a thread, some 30 ms of work before, and what is
 * told is what the last look saw. */
#define MANY_PROCESSES 800
/* A question begins the next look where the last is older, and is not answered by an older one. */
#define FRESH_MS 1000
#define STALE_MS 120000

struct probe {
    const struct supervisor *sup; /* NULL on a thread */
    struct census *census;        /* taken when first needed, as are the rest */
    bool census_failed;
    bool is_long; /* so that what is kept is told */
    struct sweep_targets targets;
    struct net_ports *ports;
    bool ports_failed;
    pid_t pids_of; /* whose the pids are: a leader */
    pid_t pids[PIDS_MAX];
    size_t pid_count;
};

static void fini(struct probe *probe)
{
    census_free(probe->census);
    net_ports_free(probe->ports);
    cleanup_sweep_targets(&probe->targets);
}

struct probe *probe_new(const struct supervisor *sup)
{
    struct probe *probe = xcalloc(1, sizeof(*probe));
    probe->sup = sup;
    probe->is_long = census_is_large(MANY_PROCESSES);
    return probe;
}

void probe_free(struct probe *probe)
{
    if (probe != NULL) {
        fini(probe);
        free(probe);
    }
}

static void find_by_census(struct probe *probe, const struct killtree_target *target)
{
    if (probe->census == NULL && !probe->census_failed) {
        probe->census = census_take(NULL);
        probe->census_failed = probe->census == NULL;
        if (probe->sup != NULL) {
            sweep_collect_targets(probe->sup, &probe->targets);
        }
        if (probe->sup != NULL && probe->census != NULL) {
            census_hurry(probe->census);
        }
    }
    if (probe->census != NULL) {
        probe->pid_count = killtree_find(probe->census, target, probe->targets.items,
                                         probe->targets.count, probe->pids, PIDS_MAX);
    }
}

/* The cgroup tells exactly; without one the processes are looked for. */
static void find_pids(struct probe *probe, const struct killtree_target *target)
{
    if (probe->pids_of == target->leader) {
        return;
    }
    probe->pids_of = target->leader;
    probe->pid_count = 0;
    if (target->cgroups != NULL) {
        probe->pid_count = cgroup_list_pids(target->cgroups, target->cgroup, probe->pids, PIDS_MAX);
    } else {
        find_by_census(probe, target);
    }
}

/* -1: not known. */
static int listens(struct probe *probe, const struct killtree_target *target, enum net_protocol how,
                   uint16_t port)
{
    if (probe->ports == NULL && !probe->ports_failed) {
        probe->ports = net_ports_take(NULL);
        probe->ports_failed = probe->ports == NULL;
    }
    if (probe->ports == NULL) {
        return -1;
    }
    find_pids(probe, target);
    uint64_t id = target->cgroups != NULL ? cgroup_id(target->cgroups, target->cgroup) : 0;
    return net_ports_has(probe->ports, how, port, id, probe->pids, probe->pid_count) ? 1 : 0;
}

static struct proc_usage measure(struct probe *probe, const struct killtree_target *target)
{
    find_pids(probe, target);
    struct proc_usage usage = proc_usage_read(probe->pids, probe->pid_count);
    int64_t cpu_ms =
        target->cgroups != NULL ? cgroup_read_cpu_ms(target->cgroups, target->cgroup) : -1;
    usage.cpu_ms = cpu_ms >= 0 ? (uint64_t) cpu_ms : usage.cpu_ms;
    return usage;
}

static enum net_protocol protocol_of(const struct port_spec *spec)
{
    return strcmp(spec->protocol, "udp") == 0 ? NET_UDP : NET_TCP;
}

/* --- where there are many processes ------------------------------------------------------------
 */

struct probed_port {
    enum net_protocol protocol;
    uint16_t number;
    int listens;
};

/* What the last look saw of a workload. */
struct probed {
    pid_t leader;
    uint64_t start_ticks;
    struct proc_usage usage;
    struct probed_port *ports; /* owned */
    size_t port_count;
};

struct probe_kept {
    struct work *work; /* the look that is under way; NULL: none */
    struct probed *items;
    size_t count;
    mono_ms at; /* of these; 0: there was none */
};

struct probe_look {
    struct probe_kept *kept; /* for the loop's thread */
    struct probe probe;
    struct probed *items; /* owned; one for each target */
};

static void free_items(struct probed *items, size_t count)
{
    for (size_t i = 0; items != NULL && i < count; i++) {
        free(items[i].ports);
    }
    free(items);
}

struct probe_kept *probe_kept_new(void)
{
    return xcalloc(1, sizeof(struct probe_kept));
}

void probe_kept_free(struct probe_kept *kept)
{
    work_free(kept->work);
    free_items(kept->items, kept->count);
    free(kept);
}

static void free_look(void *arg)
{
    struct probe_look *look = arg;
    free_items(look->items, look->probe.targets.count);
    fini(&look->probe);
    free(look);
}

static void run_look(void *arg)
{
    struct probe_look *look = arg;
    for (size_t i = 0; i < look->probe.targets.count; i++) {
        const struct killtree_target *target = &look->probe.targets.items[i];
        struct probed *item = &look->items[i];
        item->usage = measure(&look->probe, target);
        for (size_t k = 0; k < item->port_count; k++) {
            item->ports[k].listens =
                listens(&look->probe, target, item->ports[k].protocol, item->ports[k].number);
        }
    }
}

static void end_look(void *arg)
{
    struct probe_look *look = arg;
    struct probe_kept *kept = look->kept;
    free_items(kept->items, kept->count);
    kept->items = steal_ptr(&look->items);
    kept->count = look->probe.targets.count;
    kept->at = loop_now();
    work_free(steal_ptr(&kept->work));
}

static void note_ports(struct probe_look *look, const struct workload *workload)
{
    const struct workload_spec *spec = workload_spec(workload);
    for (size_t i = 0; i < look->probe.targets.count; i++) {
        struct probed *item = &look->items[i];
        if (item->leader == workload_pid(workload)) {
            item->ports = xcalloc(spec->port_count, sizeof(*item->ports));
            item->port_count = spec->port_count;
            for (size_t k = 0; k < spec->port_count; k++) {
                item->ports[k].protocol = protocol_of(&spec->ports[k]);
                item->ports[k].number = (uint16_t) spec->ports[k].container_port;
            }
        }
    }
}

static void begin_look(const struct supervisor *sup)
{
    struct probe_look *look = xcalloc(1, sizeof(*look));
    struct sweep_targets *t = &look->probe.targets;
    look->kept = sup->kept;
    sweep_collect_for_thread(sup, t);
    look->items = xcalloc(t->count, sizeof(*look->items));
    for (size_t i = 0; i < t->count; i++) {
        look->items[i].leader = t->items[i].leader;
        look->items[i].start_ticks = t->items[i].start_ticks;
    }
    list_each (it, &sup->members) {
        const struct workload *w = list_entry(it, struct member, link)->workload;
        if (workload_pid(w) != 0 && workload_spec(w)->port_count > 0) {
            note_ports(look, w);
        }
    }
    struct work_params work = {.loop = sup->params.loop,
                               .run = run_look,
                               .done = end_look,
                               .free_arg = free_look,
                               .arg = look};
    sweep_look(&sup->kept->work, &work);
}

/* NULL: not known. */
static const struct probed *find_probed(const struct probe *probe, const struct workload *workload)
{
    const struct probe_kept *kept = probe->sup->kept;
    struct killtree_target target;
    if (!workload_kill_target(workload, &target)) {
        return NULL;
    }
    mono_ms age = loop_now() - kept->at;
    bool has_any = kept->at != 0;
    if (kept->work == NULL && (!has_any || age >= FRESH_MS)) {
        begin_look(probe->sup);
    }
    for (size_t i = 0; has_any && age < STALE_MS && i < kept->count; i++) {
        if (kept->items[i].leader == target.leader &&
            kept->items[i].start_ticks == target.start_ticks) {
            return &kept->items[i];
        }
    }
    return NULL;
}

static int has_listened(const struct probed *seen, const struct port_spec *spec)
{
    for (size_t i = 0; seen != NULL && i < seen->port_count; i++) {
        if (seen->ports[i].protocol == protocol_of(spec) &&
            seen->ports[i].number == (uint16_t) spec->container_port) {
            return seen->ports[i].listens;
        }
    }
    return -1;
}

/* --- what is asked ------------------------------------------------------------------------------
 */

void probe_fill_ports(struct probe *probe, const struct workload *workload,
                      struct workload_report *report)
{
    struct killtree_target target;
    if (report->port_count == 0 || report->pid == 0 || !workload_kill_target(workload, &target)) {
        return;
    }
    const struct probed *seen = probe->is_long ? find_probed(probe, workload) : NULL;
    for (size_t i = 0; i < report->port_count; i++) {
        struct port_report *port = &report->ports[i];
        int answer = probe->is_long ? has_listened(seen, port->spec)
                                    : listens(probe, &target, protocol_of(port->spec),
                                              (uint16_t) port->spec->container_port);
        port->is_known = answer >= 0;
        port->listening = answer > 0;
    }
}

void probe_fill_resources(struct probe *probe, const struct workload *workload,
                          struct workload_report *report)
{
    struct killtree_target target;
    if (report->pid == 0 || !workload_kill_target(workload, &target)) {
        return;
    }
    const struct probed *seen = probe->is_long ? find_probed(probe, workload) : NULL;
    if (probe->is_long && seen == NULL) {
        return;
    }
    struct proc_usage usage = seen != NULL ? seen->usage : measure(probe, &target);
    report->has_resources = true;
    report->processes = (int64_t) usage.processes;
    report->memory_bytes = (int64_t) usage.memory_bytes;
    report->cpu_ms = (int64_t) usage.cpu_ms;
}
