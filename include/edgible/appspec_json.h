/*
 * appspec_json: an application or workload as the v3 document that says the same, in JSON. What
 * appspec_parse() makes of it equals what was written.
 */
#ifndef EDGIBLE_APPSPEC_JSON_H
#define EDGIBLE_APPSPEC_JSON_H

#include "edgible/appspec.h"
#include "edgible/json_doc.h"

/* The caller frees. What is unset is left out. */
struct json *appspec_to_json(const struct app_spec *app);
struct json *appspec_workload_to_json(const struct workload_spec *workload);
struct json *appspec_access_to_json(const struct access_spec *access);

#endif
