/*
 * config_read: what the sources of config share, and nobody else includes.
 */
#ifndef EDGIBLE_CONFIG_READ_H
#define EDGIBLE_CONFIG_READ_H

#include "edgible/config.h"
#include "edgible/docread.h"

doc_read_fn config_read_control_plane; /* struct config */

/* The members that are paths are resolved from the folder that `file` stands in. */
void config_resolve_paths(struct config *config);

#endif
