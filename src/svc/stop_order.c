/* The order of stopping: what depends on something stops before it does. */
#include "edgible/depgraph.h"
#include "supervisor_private.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void add_edge(struct depgraph_edge *edges, size_t *count, size_t from, size_t to)
{
    edges[(*count)++] = (struct depgraph_edge){.from = from, .to = to};
}

/* Edges of one member: to the workloads it depends on, and through a node of its application, so
 * that two large applications do not need an edge for each pair. */
static void add_member_edges(const struct supervisor *sup, const struct member *m,
                             struct depgraph_edge *edges, size_t *count)
{
    const char *app = workload_application(m->workload);
    const struct workload_spec *spec = workload_spec(m->workload);
    add_edge(edges, count, m->node, m->app_node);
    for (size_t i = 0; i < spec->depends_on.count; i++) {
        CLEANUP(free) char *key = xasprintf("%s/%s", app, spec->depends_on.items[i]);
        const struct member *to = map_get(sup->by_key, key);
        if (to != NULL && member_is_leaving(to) && to != m) {
            add_edge(edges, count, m->node, to->node);
        }
    }
    const struct strv *app_depends_on = workload_app_depends_on(m->workload);
    for (size_t i = 0; i < app_depends_on->count; i++) {
        const struct member *first = map_get(sup->app_nodes, app_depends_on->items[i]);
        if (first != NULL) {
            add_edge(edges, count, m->app_node, first->app_gate);
        }
    }
    /* What the gate of an application depends on is each of its workloads. */
    add_edge(edges, count, m->app_gate, m->node);
}

/* Numbers the nodes: a member, and for each application two, before and behind its members. */
static size_t number_nodes(struct supervisor *sup, size_t *ret_edge_max)
{
    size_t nodes = 0;
    list_each (it, &sup->members) {
        struct member *m = list_entry(it, struct member, link);
        const char *app = workload_application(m->workload);
        const struct member *first = map_get(sup->app_nodes, app);
        m->node = nodes++;
        m->app_node = first != NULL ? first->app_node : nodes++;
        m->app_gate = first != NULL ? first->app_gate : nodes++;
        if (first == NULL) {
            map_put(sup->app_nodes, app, m);
        }
        *ret_edge_max += 2 + workload_spec(m->workload)->depends_on.count +
                         workload_app_depends_on(m->workload)->count;
    }
    return nodes;
}

void stop_order_rank(struct supervisor *sup)
{
    size_t edge_max = 0;
    size_t count = 0;
    sup->app_nodes = map_new();
    size_t nodes = number_nodes(sup, &edge_max);
    CLEANUP(free) struct depgraph_edge *edges = xcalloc(edge_max, sizeof(*edges));
    CLEANUP(free) size_t *ranks = xcalloc(nodes, sizeof(*ranks));
    list_each (it, &sup->members) {
        const struct member *m = list_entry(it, struct member, link);
        if (member_is_leaving(m)) {
            add_member_edges(sup, m, edges, &count);
        }
    }
    (void) depgraph_stop_ranks(nodes, edges, count, ranks);
    list_each (it, &sup->members) {
        struct member *m = list_entry(it, struct member, link);
        m->rank = ranks[m->node];
    }
    map_free(steal_ptr(&sup->app_nodes));
}

void stop_order_advance(struct supervisor *sup)
{
    size_t lowest = SIZE_MAX;
    sup->leaving_count = 0;
    list_each (it, &sup->members) {
        const struct member *m = list_entry(it, struct member, link);
        if (member_is_leaving(m) && !m->given_up) {
            sup->leaving_count++;
            lowest = m->rank < lowest ? m->rank : lowest;
        }
    }
    if (sup->leaving_count == 0) {
        return;
    }
    list_each (it, &sup->members) {
        struct member *m = list_entry(it, struct member, link);
        if (member_is_leaving(m) && !m->stop_sent && m->rank == lowest) {
            if (!loop_share_lasts(sup->params.loop, &sup->stops)) {
                loop_timer_arm(sup->stop_timer, 0);
                return;
            }
            m->stop_sent = true;
            workload_stop(m->workload);
            if (workload_is_at_rest(m->workload)) {
                supervisor_bury_soon(sup);
            }
        }
    }
}

static void on_stop_timer(void *arg)
{
    stop_order_advance(arg);
}

void stop_order_init(struct supervisor *sup)
{
    sup->stop_timer = loop_timer_new(sup->params.loop, on_stop_timer, sup);
}

void stop_order_fini(struct supervisor *sup)
{
    loop_timer_free(sup->stop_timer);
}
