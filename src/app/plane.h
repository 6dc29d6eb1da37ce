/*
 * plane: a control plane as the commands see it: what it holds for a device, and what the device
 * reported last. It answers the paths of the agent's API, as far as that can be told from there.
 */
#ifndef EDGIBLE_PLANE_H
#define EDGIBLE_PLANE_H

#include "commands.h"
#include "edgible/appspec.h"
#include "edgible/buf.h"
#include "edgible/json_doc.h"
#include "edgible/mem.h"

struct plane;

/* NULL where the options name an agent, or, with *ret_code other than EXIT_OK, after it was said
 * what is wrong. options outlives it. */
struct plane *plane_open(const struct command_options *options, int *ret_code);
void plane_free(struct plane *plane);
DEFINE_CLEANUP(plane, struct plane, plane_free)

/* From now on the applications of these documents are looked for at the devices that they name. */
void plane_learn(struct plane *plane, const struct app_docs *docs);

/* Adds the documents for the device that is meant, as one stream. */
int plane_get_documents(struct plane *plane, struct buf *text);

/* As client_call() and client_find() */
int plane_call(struct plane *plane, const char *method, const char *path, const struct buf *body,
               struct json **ret);
int plane_find(struct plane *plane, const char *path, long *ret_status, struct json **ret);

#endif
