#include "edgible/depgraph.h"

#include "edgible/mem.h"

#include <stdint.h>

/* One pass of relaxation; returns how many ranks rose. */
static size_t raise_ranks(const struct depgraph_edge *edges, size_t edge_count, size_t *ranks,
                          size_t limit)
{
    size_t raised = 0;
    for (size_t i = 0; i < edge_count; i++) {
        size_t want = ranks[edges[i].from] + 1;
        if (ranks[edges[i].to] < want && want <= limit) {
            ranks[edges[i].to] = want;
            raised++;
        }
    }
    return raised;
}

size_t depgraph_stop_ranks(size_t node_count, const struct depgraph_edge *edges, size_t edge_count,
                           size_t *ret_ranks)
{
    for (size_t i = 0; i < node_count; i++) {
        ret_ranks[i] = 0;
    }
    /* The longest path has fewer edges than there are edges or nodes: what still rises then is on
     * a cycle, and is stopped at the limit. */
    size_t limit = edge_count < node_count ? edge_count : node_count;
    for (size_t pass = 0; pass <= limit; pass++) {
        if (raise_ranks(edges, edge_count, ret_ranks, limit) == 0) {
            break;
        }
    }
    size_t count = 0;
    for (size_t i = 0; i < node_count; i++) {
        if (ret_ranks[i] + 1 > count) {
            count = ret_ranks[i] + 1;
        }
    }
    return count;
}
