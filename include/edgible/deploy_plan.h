/*
 * deploy_plan: what a deploy of an application would change.
 */
#ifndef EDGIBLE_DEPLOY_PLAN_H
#define EDGIBLE_DEPLOY_PLAN_H

#include "edgible/appspec.h"
#include "edgible/json_doc.h"

/* One item of what PUT /v1/applications answers. from: NULL where there is none yet. */
struct json *deploy_plan_app(const struct app_spec *from, const struct app_spec *to,
                             const char *id);

#endif
