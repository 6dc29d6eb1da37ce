/*
 * api: what the agent answers over HTTP on its Unix socket: docs/api/agent.openapi.yaml.
 */
#ifndef EDGIBLE_API_H
#define EDGIBLE_API_H

#include "edgible/events.h"
#include "edgible/overview.h"
#include "edgible/persist.h"

#include <sys/types.h>

struct api;

struct api_params {
    struct loop *loop; /* borrowed, as is all here; outlives the API */
    struct supervisor *supervisor;
    struct reconcile *reconcile;
    struct events *events;
    struct persist *persist;
    const struct config *config;
    const char *boot_id;
    int listen_fd; /* taken over: of the agent that executed this program; -1: none */
};

/* Listens from now on. */
struct api *api_new(const struct api_params *params, struct err *err);
void api_free(struct api *api);
DEFINE_CLEANUP(api, struct api, api_free)

/* From now on these count. source: NULL while there is none. */
void api_set_config(struct api *api, const struct config *config);
void api_set_source(struct api *api, struct source *source);

/* A deploy or a removal is not answered yet. */
bool api_is_deploying(const struct api *api);
/* An answer is not sent yet: its reader may never take it. */
bool api_is_answering(const struct api *api);

/* For an exec in this process: the listening socket, inheritable where keep. */
int api_keep_socket(struct api *api, bool keep);

#endif
