/* persist: a record is read from its file. */
#include "edgible/fd.h"
#include "edgible/mem.h"
#include "edgible/state_doc.h"
#include "persist_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A sandbox does not keep a process of the agent's user from changing modes: a record that the
 * agent may not read any more is its own all the same, with the folders above it. */
static void take_back(const char *dir, const char *name)
{
    CLEANUP(free) char *path = xasprintf("%s/%s", dir, name);
    for (char *at = path + strlen(dir) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        (void) chmod(path, 0700);
        *at = '/';
    }
    (void) chmod(path, 0600);
}

int persist_read_file(const char *dir, const char *name, char **ret_text, size_t *ret_len,
                      struct err *err)
{
    CLEANUP(free) char *path = xasprintf("%s/%s", dir, name);
    struct err why = {0};
    int rc = fd_read_regular_file(path, STATE_DOC_MAX_BYTES, ret_text, ret_len, &why);
    if (rc < 0 && why.code == EACCES) {
        take_back(dir, name);
        rc = fd_read_regular_file(path, STATE_DOC_MAX_BYTES, ret_text, ret_len, &why);
    }
    if (rc < 0 && err != NULL) {
        *err = why;
    }
    return rc;
}
