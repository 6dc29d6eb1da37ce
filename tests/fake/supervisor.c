/* A supervisor that runs nothing, behind the real one's header: for programs that are about sources
 * and reports alone. Linked as an object, it stands in for the one of the library. */
#include "edgible/supervisor.h"

#include <stddef.h>

void supervisor_apply(struct supervisor *sup, const struct app_spec *spec, int64_t generation,
                      bool suspended)
{
    (void) sup;
    (void) spec;
    (void) generation;
    (void) suspended;
}

void supervisor_fill(struct supervisor *sup, const struct app_spec *spec, int64_t generation)
{
    (void) sup;
    (void) spec;
    (void) generation;
}

void supervisor_remove(struct supervisor *sup, const char *const *names, size_t count)
{
    (void) sup;
    (void) names;
    (void) count;
}

const struct workload *supervisor_find(const struct supervisor *sup, const char *application,
                                       const char *workload)
{
    (void) sup;
    (void) application;
    (void) workload;
    return NULL;
}

const struct stop_times *supervisor_stop_times(const struct supervisor *sup)
{
    (void) sup;
    return NULL;
}

bool supervisor_has_leaving(const struct supervisor *sup)
{
    (void) sup;
    return false;
}

void supervisor_each(const struct supervisor *sup, const char *application, supervisor_fn *fn,
                     void *arg)
{
    (void) sup;
    (void) application;
    (void) fn;
    (void) arg;
}
