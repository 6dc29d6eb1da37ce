/*
 * deploy: documents that somebody sends for the directory source: what they would change, and the
 * change.
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

/* Does it, unless dry_run. NULL where it is refused: then nothing was done. Else the plan, as
 * PUT /v1/applications answers it; the caller frees. */
struct json *deploy_documents(const struct overview *view, const char *text, size_t len,
                              bool dry_run, struct deploy_refusal *refusal);

/* Takes the application's document out of the source. -1 where refused. */
int deploy_remove(const struct overview *view, const char *application,
                  struct deploy_refusal *refusal);

#endif
