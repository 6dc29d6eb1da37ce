/*
 * appspec_read: what the sources of appspec share with each other and with those of the documents
 * that an application or workload is part of.
 */
#ifndef EDGIBLE_APPSPEC_READ_H
#define EDGIBLE_APPSPEC_READ_H

#include "edgible/appspec.h"
#include "edgible/docread.h"

doc_read_fn appspec_read_workload;  /* struct workload_spec, zeroed */
doc_read_fn appspec_read_workloads; /* struct app_spec */
doc_read_fn appspec_read_access;    /* struct app_spec, whose workloads have been read */
doc_read_fn appspec_read_auth_mode; /* char * */
doc_read_fn appspec_read_health;    /* struct workload_spec, whose ports have been read */
doc_read_fn appspec_read_limits;    /* struct limits_spec */
doc_read_fn appspec_read_sandbox;   /* struct sandbox_spec */
doc_read_fn appspec_read_command;   /* struct strv */

/* A whole document. What is read is returned however wrong it is; its name may be of use. */
struct app_spec *appspec_read_document(struct doc_reader *reader, const struct doc_spot *spot);

/* The policies with every member unset. */
void appspec_init_policies(struct restart_policy *restart, struct stop_policy *stop,
                           struct log_policy *logs);

/* Names in the workloads' dependsOn exist, and none waits for itself by way of others. `workloads`
 * is the spot of the list that app's were read from. */
void appspec_check_depends(struct doc_reader *reader, const struct doc_spot *workloads,
                           const struct app_spec *app);

/* The port of that name or number; NULL where there is none. */
const struct port_spec *appspec_find_port(const struct workload_spec *workload, const char *port);

#endif
