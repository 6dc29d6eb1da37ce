/*
 * The inside of the API, shared by api.c (routes), api_read.c (what is told), api_look.c (what
 * takes a look), api_change.c (what is asked for), api_deploy.c (deploys and removals),
 * api_events.c and api_logs.c (what goes on).
 */
#ifndef EDGIBLE_API_PRIVATE_H
#define EDGIBLE_API_PRIVATE_H

#include "edgible/api.h"
#include "edgible/clock.h"
#include "edgible/diag.h"
#include "edgible/json_doc.h"
#include "edgible/list.h"
#include "edgible/server.h"
#include "probe.h"

struct api {
    struct api_params params;
    struct source *source;
    struct server *server;
    gid_t group; /* who else may use it; (gid_t) -1: nobody */
    struct list log_streams;
    struct list asking;  /* requests that wait for the next look at the system */
    struct list asked;   /* those that wait for the one that is under way, or for their answer */
    struct probe *probe; /* it; NULL: none is under way */
    struct loop_timer *answer_timer;
    const struct probe *seen; /* for the answer that is made; NULL: nothing */
    struct list deploys;      /* the first is under way, the others wait for their turn */
    struct loop_timer *deploy_timer;
    struct events_watch *watch;
    mono_ms started_at;
    struct clock_moment started;
};

/* One request and the parts of its path that the route leaves open. */
struct api_call {
    struct server_request *request;
    char *args[2];
};

typedef void api_fn(struct api *api, const struct api_call *call);

/* api_look.c */
/* Answers by run(), once the system was looked at for it. */
void api_look(struct api *api, const struct api_call *call, api_fn *run);
void api_looks_init(struct api *api);
/* The server has ended. */
void api_looks_fini(struct api *api);

/* api.c */
struct overview api_overview(const struct api *api);
void api_reply_json(const struct api_call *call, unsigned status, const struct json *json);
/* application/problem+json; what is wrong in a document, each with its place, or NULL. */
void api_reply_problem(const struct api_call *call, unsigned status, const struct diag *errors,
                       const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* A query parameter that is a number; false after it was answered with a problem. */
bool api_query_number(const struct api_call *call, const char *name, uint64_t max, uint64_t *ret);
/* "true" or "false" (or absent: false); false after it was answered with a problem. */
bool api_query_flag(const struct api_call *call, const char *name, bool *ret);
/* Finds the application of the path's first part, or answers 404. */
bool api_find_app(const struct api *api, const struct api_call *call, unsigned what,
                  struct app_report *ret);

/* api_read.c */
api_fn api_get_agent;
api_fn api_get_health;
api_fn api_get_application_health;
api_fn api_get_applications;
api_fn api_get_application;
api_fn api_get_why;
api_fn api_get_metrics;

/* api_change.c */
api_fn api_patch_agent;
api_fn api_patch_application;
api_fn api_restart_application;

/* api_deploy.c */
api_fn api_put_applications;
api_fn api_delete_application;
void api_deploys_init(struct api *api);
/* The server has ended. */
void api_deploys_fini(struct api *api);
/* The API has another source. */
void api_deploys_on_source(struct api *api);

/* api_events.c */
api_fn api_get_events;
api_fn api_get_application_events;

/* api_logs.c */
api_fn api_get_logs;
api_fn api_get_agent_logs;
void api_logs_on_event(void *arg);

#endif
