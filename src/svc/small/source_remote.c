/* The small agent (EDGIBLE_SOURCES=directory): in place of source_https.c and source_etcd.c. */
#include "../source_private.h"

static int refuse(struct err *err, const char *kind)
{
    return err_set(err, ERR_SPEC,
                   "controlPlane.%s: this edgible-agent is built for controlPlane.directory alone "
                   "(EDGIBLE_SOURCES=directory)",
                   kind);
}

struct source *source_https_open(const struct source_params *params, struct err *err)
{
    (void) params;
    (void) refuse(err, "https");
    return NULL;
}

struct source *source_etcd_open(const struct source_params *params, struct err *err)
{
    (void) params;
    (void) refuse(err, "etcd");
    return NULL;
}
