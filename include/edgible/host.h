/*
 * host: how the machine is.
 */
#ifndef EDGIBLE_HOST_H
#define EDGIBLE_HOST_H

#include <stdint.h>

/* -1 where it cannot be told. */
struct host_load {
    int64_t load1_thousandths; /* the load average of the last minute */
    int64_t memory_bytes, memory_available_bytes;
    int64_t disk_free_bytes; /* for others than root, where path is */
};

struct host_load host_read_load(const char *path);

#endif
