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
 * Whose ports are asked for: processes (borrowed), and the id of the cgroup v2 that they are in, 0
 * where there is none: a socket made in it (INET_DIAG_CGROUP_ID, Linux 5.9) is theirs without a
 * look at /proc. What /proc tells is read once for all questions, up to a bound. Processes of
 * another network namespace are asked through /proc/PID/net.
 */
struct net_owner;
struct net_owner *net_owner_new(uint64_t cgroup_id, const pid_t *pids, size_t pid_count);
void net_owner_free(struct net_owner *owner);
DEFINE_CLEANUP(net_owner, struct net_owner, net_owner_free)

/* 1: one of them listens there; 0: none does; -1: they have more open than is looked at. Takes up
 * to some 0.2 s the first time, so ask on a thread. */
int net_ports_has(const struct net_ports *ports, enum net_protocol protocol, uint16_t port,
                  struct net_owner *owner);

#endif
