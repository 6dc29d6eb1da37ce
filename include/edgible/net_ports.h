/*
 * net_ports: which processes listen on which ports, from the kernel's socket tables: one netlink
 * dump (NETLINK_SOCK_DIAG) for any number of questions, and no walk of /proc unless a port that is
 * asked for has a listener whose owner the dump does not tell.
 */
#ifndef EDGIBLE_NET_PORTS_H
#define EDGIBLE_NET_PORTS_H

#include "edgible/err.h"
#include "edgible/mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct net_ports;

enum net_protocol { NET_TCP, NET_UDP };

/* One dump: TCP sockets that listen and UDP sockets that are bound, IPv4 and IPv6, of this
 * process's network namespace. */
struct net_ports *net_ports_take(struct err *err);
void net_ports_free(struct net_ports *ports);
DEFINE_CLEANUP(net_ports, struct net_ports, net_ports_free)

/*
 * True where one of the processes listens there. cgroup_id is the id of the cgroup v2 that the
 * processes are in, 0 where there is none: a socket made in it (INET_DIAG_CGROUP_ID, Linux 5.9) is
 * theirs without a look at /proc. Processes of another network namespace are asked through
 * /proc/PID/net.
 */
bool net_ports_has(struct net_ports *ports, enum net_protocol protocol, uint16_t port,
                   uint64_t cgroup_id, const pid_t *pids, size_t pid_count);

#endif
