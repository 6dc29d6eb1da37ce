#include "probe.h"

#include "edgible/cgroup.h"
#include "edgible/killtree.h"
#include "edgible/map.h"
#include "edgible/net_ports.h"
#include "edgible/proc_usage.h"
#include "supervisor_private.h"

#include <stdlib.h>
#include <string.h>

#define PIDS_MAX 4096
#define LOOK_MS 2000

struct seen_port {
    enum net_protocol protocol;
    uint16_t number;
    int listens; /* -1: not known */
};

/* Of one workload. */
struct seen {
    size_t target; /* its place among them */
    bool has_usage;
    struct proc_usage usage;
    size_t port_count;
    struct seen_port ports[];
};

/* What the thread works on. */
struct look {
    struct probe *probe; /* for the loop's thread */
    struct sweep_targets targets;
    struct map *seen;      /* "application/workload" → struct seen; owned */
    struct census *census; /* taken when first needed, as are the ports */
    struct net_ports *ports;
    bool census_failed, ports_failed;
    size_t next; /* of the targets, while workloads are added in their order */
};

struct probe {
    probe_fn *done;
    void *arg;
    struct work *work; /* NULL: no thread could be made */
    struct look *look; /* the work's; owned where there is none */
};

static void free_look(void *arg)
{
    struct look *look = arg;
    map_free_all(look->seen);
    census_free(look->census);
    net_ports_free(look->ports);
    cleanup_sweep_targets(&look->targets);
    free(look);
}

/* --- on the thread -------------------------------------------------------------------------------
 */

/* The cgroup tells exactly; without one the processes are looked for. */
static size_t find_pids(struct look *look, const struct killtree_target *target, pid_t *pids)
{
    if (target->cgroups != NULL) {
        size_t count = cgroup_list_pids(target->cgroups, target->cgroup, pids, PIDS_MAX);
        return count < PIDS_MAX ? count : PIDS_MAX;
    }
    if (look->census == NULL && !look->census_failed) {
        look->census = census_take(NULL);
        look->census_failed = look->census == NULL;
    }
    return look->census == NULL ? 0
                                : killtree_find(look->census, target, look->targets.items,
                                                look->targets.count, pids, PIDS_MAX);
}

static struct proc_usage measure(const struct killtree_target *target, const pid_t *pids,
                                 size_t count)
{
    struct proc_usage usage = proc_usage_read(pids, count);
    int64_t cpu_ms =
        target->cgroups != NULL ? cgroup_read_cpu_ms(target->cgroups, target->cgroup) : -1;
    usage.cpu_ms = cpu_ms >= 0 ? (uint64_t) cpu_ms : usage.cpu_ms;
    return usage;
}

static void ask_ports(struct look *look, const struct killtree_target *target, const pid_t *pids,
                      size_t count, struct seen *seen)
{
    if (look->ports == NULL && !look->ports_failed) {
        look->ports = net_ports_take(NULL);
        look->ports_failed = look->ports == NULL;
    }
    if (look->ports == NULL) {
        return;
    }
    uint64_t id = target->cgroups != NULL ? cgroup_id(target->cgroups, target->cgroup) : 0;
    CLEANUP(net_owner) struct net_owner *owner = net_owner_new(id, pids, count);
    for (size_t i = 0; i < seen->port_count; i++) {
        struct seen_port *port = &seen->ports[i];
        port->listens = net_ports_has(look->ports, port->protocol, port->number, owner);
    }
}

static void look_at(struct look *look, struct seen *seen)
{
    const struct killtree_target *target = &look->targets.items[seen->target];
    CLEANUP(free) pid_t *pids = xcalloc(PIDS_MAX, sizeof(*pids));
    size_t count = find_pids(look, target, pids);
    seen->usage = measure(target, pids, count);
    seen->has_usage = true;
    if (seen->port_count > 0) {
        ask_ports(look, target, pids, count, seen);
    }
}

static void run_look(void *arg)
{
    struct look *look = arg;
    mono_ms until = loop_now() + LOOK_MS;
    size_t at = 0;
    void *seen = NULL;
    while (loop_now() < until && map_next(look->seen, &at, NULL, &seen)) {
        look_at(look, seen);
    }
}

/* --- in the loop ---------------------------------------------------------------------------------
 */

static void end_look(void *arg)
{
    const struct look *look = arg;
    look->probe->done(look->probe->arg);
}

static enum net_protocol protocol_of(const struct port_spec *spec)
{
    return strcmp(spec->protocol, "udp") == 0 ? NET_UDP : NET_TCP;
}

static char *key_of(const struct workload *w)
{
    return xasprintf("%s/%s", workload_application(w), workload_spec(w)->name);
}

/* The place of its first process among the targets; as many as there are: it has none. */
static size_t find_target(struct look *look, const struct workload *w)
{
    size_t i = look->next;
    if (workload_pid(w) == 0) {
        return look->targets.count;
    }
    while (i < look->targets.count && look->targets.items[i].leader != workload_pid(w)) {
        i++;
    }
    look->next = i < look->targets.count ? i + 1 : look->next;
    return i;
}

static void add_workload(void *arg, const struct workload *w)
{
    struct look *look = arg;
    const struct workload_spec *spec = workload_spec(w);
    size_t target = find_target(look, w);
    size_t ports = spec->port_count;
    if (target == look->targets.count) {
        return;
    }
    struct seen *seen = xcalloc(1, sizeof(*seen) + ports * sizeof(*seen->ports));
    seen->target = target;
    seen->port_count = ports;
    for (size_t i = 0; i < ports; i++) {
        seen->ports[i] = (struct seen_port){.protocol = protocol_of(&spec->ports[i]),
                                            .number = (uint16_t) spec->ports[i].container_port,
                                            .listens = -1};
    }
    CLEANUP(free) char *key = key_of(w);
    map_put(look->seen, key, seen);
}

void probe_start(struct probe **slot, const struct supervisor *sup, const char *application,
                 probe_fn *done, void *arg)
{
    struct look *look = xcalloc(1, sizeof(*look));
    struct probe *probe = xcalloc(1, sizeof(*probe));
    *slot = probe;
    probe->done = done;
    probe->arg = arg;
    probe->look = look;
    look->probe = probe;
    look->seen = map_new();
    sweep_collect_for_thread(sup, &look->targets);
    supervisor_each(sup, application, add_workload, look);
    struct work_params work = {.loop = sup->params.loop,
                               .run = run_look,
                               .done = end_look,
                               .free_arg = free_look,
                               .arg = look};
    probe->work = work_start(&work, NULL);
    if (probe->work == NULL) {
        run_look(look);
        done(arg);
    }
}

void probe_free(struct probe *probe)
{
    if (probe == NULL) {
        return;
    }
    if (probe->work != NULL) {
        work_free(probe->work);
    } else {
        free_look(probe->look);
    }
    free(probe);
}

static const struct seen *find_seen(const struct look *look, const struct workload *w)
{
    struct killtree_target now;
    CLEANUP(free) char *key = key_of(w);
    const struct seen *seen = map_get(look->seen, key);
    const struct killtree_target *was = seen != NULL ? &look->targets.items[seen->target] : NULL;
    bool is_same = was != NULL && workload_kill_target(w, &now) && now.leader == was->leader &&
                   now.start_ticks == was->start_ticks;
    return is_same ? seen : NULL;
}

void probe_fill(const struct probe *probe, const struct workload *w, struct workload_report *report)
{
    const struct seen *seen = find_seen(probe->look, w);
    if (seen == NULL || report->pid == 0) {
        return;
    }
    report->has_resources = seen->has_usage;
    report->processes = (int64_t) seen->usage.processes;
    report->memory_bytes = (int64_t) seen->usage.memory_bytes;
    report->cpu_ms = (int64_t) seen->usage.cpu_ms;
    for (size_t i = 0; i < report->port_count && i < seen->port_count; i++) {
        struct port_report *port = &report->ports[i];
        if (protocol_of(port->spec) == seen->ports[i].protocol &&
            (uint16_t) port->spec->container_port == seen->ports[i].number) {
            port->is_known = seen->ports[i].listens >= 0;
            port->listening = seen->ports[i].listens > 0;
        }
    }
}
