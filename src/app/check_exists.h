/*
 * check_exists: what a configuration and its documents name and this device does not have: users,
 * groups, programs, folders. Warnings, as all of it may be there by the time it is needed.
 */
#ifndef EDGIBLE_CHECK_EXISTS_H
#define EDGIBLE_CHECK_EXISTS_H

#include "edgible/config.h"

/* Of the configuration, to diag. */
void check_exists_config(const struct config *config, struct diag *diag);
/* Of a document, complete, to diag. */
void check_exists_app(const struct app_spec *app, struct diag *diag);

#endif
