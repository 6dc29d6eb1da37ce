/*
 * creds: who a workload runs as. Looked up in the parent before the fork (NSS allocates and
 * blocks); the child only sets what stands here.
 */
#ifndef EDGIBLE_CREDS_H
#define EDGIBLE_CREDS_H

#include "edgible/err.h"
#include "edgible/mem.h"

#include <stdbool.h>
#include <sys/types.h>

struct creds {
    uid_t uid;
    gid_t gid;
    gid_t *groups; /* owned: exactly the user's (getgrouplist), with gid among them */
    size_t group_count;
    char *user, *home, *shell; /* owned */
    bool change; /* the agent is root and sets uid, gid and groups; otherwise they are its own */
};

/*
 * Looks user up (NULL: the agent's own) with its groups; group, where not NULL, replaces the
 * primary group. Codes: ERR_SPEC where a user or group does not exist or the agent may not
 * become it, ERR_HOST where the look-up itself failed.
 */
struct creds *creds_lookup(const char *user, const char *group, struct err *err);
struct creds *creds_copy(const struct creds *creds);
void creds_free(struct creds *creds);
DEFINE_CLEANUP(creds, struct creds, creds_free)

#endif
