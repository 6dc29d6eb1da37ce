/*
 * overview: the device as it is now: what the source wants, what was accepted of it, and what runs,
 * put together as reports.
 */
#ifndef EDGIBLE_OVERVIEW_H
#define EDGIBLE_OVERVIEW_H

#include "edgible/config.h"
#include "edgible/reconcile.h"
#include "edgible/report.h"
#include "edgible/source.h"
#include "edgible/supervisor.h"

struct probe;

/* All borrowed. */
struct overview {
    const struct config *config;
    const struct reconcile *reconcile;
    const struct supervisor *supervisor;
    const struct source *source; /* NULL: none just now */
    const struct probe *probe;   /* what the system alone tells; NULL: nothing of it */
};

/* Of a workload its status, reason, process, restarts and uptime alone. */
enum { OVERVIEW_BRIEF = 1 << 0 };
/* Of each application one error, and of all a hundred. */
enum { OVERVIEW_FEW_ERRORS = 1 << 1 };

struct device_report {
    struct app_report *apps; /* by name */
    size_t count;
    struct strv errors; /* of documents whose application could not be read, and their warnings */
    size_t unread;      /* how many documents or files those are */
    /* Of documents for other devices, the first few: their applications, and why. */
    struct strv ignored, ignored_why;
    size_t ignored_count;
};

void cleanup_device_report(struct device_report *report);

/* *report must be zeroed; the caller finishes it before the loop's next turn. */
void overview_take(const struct overview *view, unsigned what, struct device_report *report);
/* The same of one application, by its id or name; false where there is none. */
bool overview_take_app(const struct overview *view, const char *id, unsigned what,
                       struct app_report *report);

/* "app_" and the first 12 hex digits of SHA-256(organization/name), or the id that the document
 * gives. The caller frees. */
char *overview_app_id(const struct config *config, const struct app_spec *app, const char *name);

#endif
