/*
 * The inside of deploy, shared by deploy.c (checks and the plan) and deploy_write.c (the files).
 */
#ifndef EDGIBLE_DEPLOY_PRIVATE_H
#define EDGIBLE_DEPLOY_PRIVATE_H

#include "deploy.h"
#include "edgible/admission.h"
#include "edgible/source_directory.h"

struct deploy {
    struct app_docs docs;
    char *text;                   /* of them */
    struct admission_load *loads; /* of each document */
    struct app_spec **complete;   /* likewise */
    size_t completed, planned;    /* so many of them are, the first */
    struct json *plan;
    struct deploy_write *write;
};

void deploy_refuse(struct deploy_refusal *refusal, unsigned status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* deploy_write.c */
struct deploy_write *deploy_write_new(size_t max_changes);
/* text NULL: the document is to go. */
void deploy_write_add(struct deploy_write *write, const char *application, char *take_text,
                      size_t len);
/* The files that the documents are in now; then run. */
void deploy_write_find_files(struct deploy_write *write, const struct overview *view);

#endif
