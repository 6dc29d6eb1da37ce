/*
 * config_warn: warnings about a policy that allows more, or less, than its words suggest. They
 * depend on the files of this machine.
 */
#ifndef EDGIBLE_CONFIG_WARN_H
#define EDGIBLE_CONFIG_WARN_H

#include "edgible/config.h"
#include "edgible/diag.h"

/* Adds a warning for each pattern that matches nothing, as it is compared without following the
 * links that it leads through, and one that names the interpreters that the policy allows. The
 * patterns of the configuration have been resolved. */
void config_warn(const struct config *config, struct diag *diag);

#endif
