#include "edgible/fault.h"

#ifdef EDGIBLE_FAULT_POINTS

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void fault_point(const char *name)
{
    static atomic_long hits;
    const char *wanted = getenv("EDGIBLE_FAULT");
    size_t len = strlen(name);
    if (wanted == NULL || strncmp(wanted, name, len) != 0 ||
        (wanted[len] != '\0' && wanted[len] != ':')) {
        return;
    }
    long at = wanted[len] == ':' ? strtol(wanted + len + 1, NULL, 10) : 1;
    if (atomic_fetch_add(&hits, 1) + 1 >= at) {
        _exit(FAULT_EXIT);
    }
}

#endif
