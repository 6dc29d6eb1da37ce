/*
 * tcp_probe: whether something on this machine accepts connections at a TCP port, without waiting.
 */
#ifndef EDGIBLE_TCP_PROBE_H
#define EDGIBLE_TCP_PROBE_H

#include "edgible/err.h"
#include "edgible/loop.h"

#include <stdint.h>

struct tcp_probe;

/* error is 0 where it did, else an errno value. The probe may be freed here. */
typedef void tcp_probe_fn(void *arg, int error);

/* Tries 127.0.0.1, then ::1; done is called once, from the loop, unless the probe is freed before.
 * NULL with ERR_HOST where no socket can be made. The caller frees. */
struct tcp_probe *tcp_probe_new(struct loop *loop, uint16_t port, tcp_probe_fn *done, void *arg,
                                struct err *err);
void tcp_probe_free(struct tcp_probe *probe);

/* Begins a connection to the port at 127.0.0.1, or ::1. What *fd had is closed; the caller closes
 * the socket, which is -1 where there is none. 0, EINPROGRESS, or the errno of what failed. */
int tcp_probe_connect(bool is_v6, uint16_t port, int *fd);

#endif
