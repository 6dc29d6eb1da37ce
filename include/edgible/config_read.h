/*
 * config_read: what the sources of config share, and nobody else includes.
 */
#ifndef EDGIBLE_CONFIG_READ_H
#define EDGIBLE_CONFIG_READ_H

#include "edgible/config.h"
#include "edgible/docread.h"

doc_read_fn config_read_control_plane; /* struct config */
doc_read_fn config_read_policy;        /* struct policy_config, after config_init_policy() */

/* The defaults of a policy, also where the file has none. */
void config_init_policy(struct policy_config *policy);
void config_fini_policy(struct policy_config *policy);
/* *to is overwritten, and config_fini_policy() frees it. */
void config_copy_policy(struct policy_config *to, const struct policy_config *from);

/* The members that are paths are resolved from the folder that `file` stands in. */
void config_resolve_paths(struct config *config);

#endif
