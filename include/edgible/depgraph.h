/*
 * depgraph: in which order things that depend on each other are stopped. Pure.
 */
#ifndef EDGIBLE_DEPGRAPH_H
#define EDGIBLE_DEPGRAPH_H

#include <stddef.h>

/* `from` depends on `to`; indexes below the node count. */
struct depgraph_edge {
    size_t from, to;
};

/*
 * Writes each node's stop rank: 0 for what nothing depends on, else one more than the highest of
 * its dependents. Nodes of a cycle, and what they depend on, share the last rank. Returns the
 * number of ranks.
 */
size_t depgraph_stop_ranks(size_t node_count, const struct depgraph_edge *edges, size_t edge_count,
                           size_t *ret_ranks);

#endif
