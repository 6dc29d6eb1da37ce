/*
 * config_file: reads the agent's configuration from its file, with the defaults of this machine.
 */
#ifndef EDGIBLE_CONFIG_FILE_H
#define EDGIBLE_CONFIG_FILE_H

#include "edgible/config.h"

/* NULL where it cannot be read or is invalid: then *diag or *err says why. */
struct config *config_file_load(const char *path, struct diag *diag, struct err *err);

#endif
