/*
 * caps: what the agent needs of root, and the rest given up.
 *
 * Capabilities are a thread's own: to be called before any thread is made. Workloads of root are
 * not narrowed by it, for an exec as root gives what the bounding set allows.
 */
#ifndef EDGIBLE_CAPS_H
#define EDGIBLE_CAPS_H

#include "edgible/err.h"

/* Gives up every capability but those that the agent needs. *ret_kept, if not NULL, lists the names
 * of what is left ("chown kill …"), which the caller frees. Does nothing where there is none. */
int caps_keep_needed(char **ret_kept, struct err *err) MUST_CHECK;

#endif
