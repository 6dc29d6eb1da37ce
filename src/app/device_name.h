/*
 * device_name: the name of a device whose configuration names none. It is the host name of the
 * first start, kept in <stateDir>/device-name: applications are placed by it, and a host name that
 * changes for a while (cloud-init, DHCP) must not remove them.
 */
#ifndef EDGIBLE_APP_DEVICE_NAME_H
#define EDGIBLE_APP_DEVICE_NAME_H

#include "edgible/config.h"

/* Puts the name kept into the configuration, where that names none and the record can be read. */
void device_name_restore(struct config *config);

/* Writes the record where there is none, and logs that another name than the host's is kept. Once,
 * when the agent has the lock of its stateDir. */
void device_name_keep(const struct config *config);

#endif
