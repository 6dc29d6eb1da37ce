/* What only the system tells of workloads, asked in turns of the loop. */
#include "edgible/map.h"
#include "edgible/workload.h"
#include "overview_private.h"
#include "probe.h"

#include <stdlib.h>

/* Of one workload. */
struct seen {
    int64_t pid; /* it was true as long as this ran */
    bool has_resources;
    int64_t processes, memory_bytes, cpu_ms;
    size_t port_count;
    struct port_report ports[]; /* without what they borrow */
};

struct overview_look {
    unsigned what;
    struct strv keys; /* application, workload, application, … */
    size_t next;
    struct map *seen; /* "application/workload" → struct seen */
};

static void add_key(void *arg, const struct workload *w)
{
    struct overview_look *look = arg;
    strv_add(&look->keys, workload_application(w));
    strv_add(&look->keys, workload_spec(w)->name);
}

struct overview_look *overview_look_new(const struct supervisor *sup, const char *application,
                                        unsigned what)
{
    struct overview_look *look = xcalloc(1, sizeof(*look));
    look->what = what;
    look->seen = map_new();
    supervisor_each(sup, application, add_key, look);
    return look;
}

void overview_look_free(struct overview_look *look)
{
    if (look == NULL) {
        return;
    }
    map_free_all(look->seen);
    strv_fini(&look->keys);
    free(look);
}

static void look_at(struct overview_look *look, const struct workload *w, struct probe *probe)
{
    struct workload_report report = {0};
    workload_fill_report(w, false, &report);
    overview_fill_from_system(probe, look->what, w, &report);
    size_t ports = report.port_count;
    struct seen *seen = xcalloc(1, sizeof(*seen) + ports * sizeof(*seen->ports));
    *seen = (struct seen){report.pid,          report.has_resources, report.processes,
                          report.memory_bytes, report.cpu_ms,        ports};
    for (size_t i = 0; i < ports; i++) {
        seen->ports[i] = report.ports[i];
        seen->ports[i].spec = NULL;
    }
    CLEANUP(free) char *key = xasprintf("%s/%s", workload_application(w), report.name);
    free(map_remove(look->seen, key));
    map_put(look->seen, key, seen);
    workload_report_fini(&report);
}

bool overview_look_go_on(struct overview_look *look, const struct supervisor *sup)
{
    CLEANUP(probe) struct probe *probe = probe_new(sup);
    mono_ms until = loop_now() + LOOP_SHARE_MS;
    bool has_time = true;
    while (has_time && look->next < look->keys.count) {
        const struct workload *w =
            supervisor_find(sup, look->keys.items[look->next], look->keys.items[look->next + 1]);
        look->next += 2;
        if (w != NULL) {
            look_at(look, w, probe);
            /* Where processes are not told by cgroups, the one look at all of them serves all. */
            has_time = loop_now() < until || !workload_has_cgroup(w);
        }
    }
    return look->next == look->keys.count;
}

void overview_fill_from_look(const struct overview_look *look, const char *application,
                             struct workload_report *report)
{
    CLEANUP(free) char *key = xasprintf("%s/%s", application, report->name);
    const struct seen *seen = map_get(look->seen, key);
    if (seen == NULL || seen->pid != report->pid) {
        return;
    }
    report->has_resources = seen->has_resources;
    report->processes = seen->processes;
    report->memory_bytes = seen->memory_bytes;
    report->cpu_ms = seen->cpu_ms;
    for (size_t i = 0; i < report->port_count && seen->port_count == report->port_count; i++) {
        report->ports[i].is_known = seen->ports[i].is_known;
        report->ports[i].listening = seen->ports[i].listening;
    }
}
