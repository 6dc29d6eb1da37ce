/*
 * deploy: documents that somebody sends for the directory source: what they would change, and the
 * change. What takes long is done in turns of the loop, or on a thread beside it.
 */
#ifndef EDGIBLE_DEPLOY_H
#define EDGIBLE_DEPLOY_H

#include "edgible/diag.h"
#include "edgible/overview.h"

/* Why it cannot be done. */
struct deploy_refusal {
    unsigned status; /* of HTTP: 403 against the policy, 409 in conflict with what is there, 422
                        invalid, 500 the disk */
    char *detail;
    struct diag errors; /* of the documents */
};

void cleanup_deploy_refusal(struct deploy_refusal *refusal);

/* False where nothing can be deployed to the source of now. */
bool deploy_check_source(const struct overview *view, struct deploy_refusal *refusal);

/* --- what is to be written --- */

struct deploy_write;

/* The document of an application is to go; *ret is NULL where it is gone already. -1 where refused.
 */
int deploy_remove(const struct overview *view, const char *application, struct deploy_write **ret,
                  struct deploy_refusal *refusal);
/* Writes it to the files: all of it or nothing. On any thread. */
void deploy_write_run(void *write);
/* False where that failed. */
bool deploy_write_is_done(const struct deploy_write *write, struct deploy_refusal *refusal);
void deploy_write_free(void *write);

/* --- documents --- */

struct deploy;

/* text is what the documents were parsed from. */
struct deploy *deploy_new(struct app_docs *take_docs, const char *text, size_t len);
void deploy_free(struct deploy *deploy);
/* Checks and plans, for one turn: 1 where it is done, 0 where it is to be called again, -1 where
 * the documents are refused. */
int deploy_go_on(struct deploy *deploy, const struct overview *view,
                 struct deploy_refusal *refusal);
/* After that: the plan, as PUT /v1/applications answers it, and what is to be written. The caller
 * frees both. */
struct json *deploy_take_plan(struct deploy *deploy);
struct deploy_write *deploy_take_write(struct deploy *deploy, const struct overview *view);

#endif
