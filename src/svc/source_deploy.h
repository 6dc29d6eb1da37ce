/*
 * source_deploy: puts documents into the files of a directory source, and takes them out again: all
 * of them or none, also where the agent is killed in between.
 *
 * New contents are prepared in `.edgible-deploy.new/`, which is renamed to `.edgible-deploy/`: from
 * then on the change is decided, and its files are moved into place one by one. What a killed agent
 * left of it is finished by the next.
 *
 * Any thread may do that, one at a time.
 *
 * All of that is done only in a directory that nobody but root and the agent's user can write to.
 */
#ifndef EDGIBLE_SOURCE_DEPLOY_H
#define EDGIBLE_SOURCE_DEPLOY_H

#include "edgible/err.h"
#include "edgible/mem.h"

#include <stddef.h>

struct source_deploy;

struct source_deploy *source_deploy_new(const char *directory);
void source_deploy_free(struct source_deploy *deploy);
DEFINE_CLEANUP(source_deploy, struct source_deploy, source_deploy_free)

/*
 * The application's document is to be text, in the file that has it (a path in the directory), or,
 * where that is NULL, in a new one of its own. text NULL: it is to be taken out. -1 with EEXIST
 * where a file is in the way or cannot be cut safely, with a sentence that says the way out.
 */
int source_deploy_set(struct source_deploy *deploy, const char *application, const char *path,
                      const char *text, size_t len, struct err *err) MUST_CHECK;

/* Does it. -1 with EEXIST as above, with EBUSY where somebody changed a file meanwhile, with
 * ERR_SPEC where others can write to the directory, or have put a folder of these names into it:
 * then nothing was done. */
int source_deploy_commit(struct source_deploy *deploy, struct err *err) MUST_CHECK;

/* Finishes what an agent that was killed had decided, and removes what it had only prepared; does
 * nothing while a thread of this agent commits. */
int source_deploy_recover(const char *directory, struct err *err) MUST_CHECK;

#endif
