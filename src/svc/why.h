/*
 * why: the chain of causes that led to an application's state now, and what happens next and when.
 */
#ifndef EDGIBLE_WHY_H
#define EDGIBLE_WHY_H

#include "edgible/event_store.h"
#include "edgible/report.h"

/* The caller frees. */
struct json *why_json(const struct app_report *app, const struct event_store *history);

#endif
