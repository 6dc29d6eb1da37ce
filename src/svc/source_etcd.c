#include "source_private.h"
struct source *source_etcd_open(const struct source_params *params, struct err *err)
{
    (void) params;
    (void) err_set(err, ERR_SPEC, "etcd: not yet");
    return NULL;
}
