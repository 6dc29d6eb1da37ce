/*
 * resolve: where a path leads, with every link followed.
 */
#ifndef EDGIBLE_RESOLVE_H
#define EDGIBLE_RESOLVE_H

#include "edgible/err.h"

#include <stdbool.h>
#include <sys/stat.h>

/*
 * The path without links, `.` and `..`; of what does not exist yet the parts are added as they
 * stand, where none of them is `..`. path is absolute. NULL with errno's code, ERR_SPEC for such a
 * `..`. The caller frees.
 */
char *resolve_path(const char *path, struct err *err);

/* A file or folder that was opened, and what was opened. */
struct resolved {
    int fd;         /* O_PATH, the caller closes; -1: none */
    char *path;     /* without links; owned */
    struct stat st; /* of fd */
};

/* Opens first and asks the kernel what was opened: *ret is what will be used, whatever happens to
 * the path meanwhile. Codes: errno. */
int resolve_open(const char *path, struct resolved *ret, struct err *err) MUST_CHECK;
/* The path, without links, of what is open; NULL with ESTALE where it is no longer there, else with
 * errno's code. The caller frees. */
char *resolve_descriptor(int fd, struct err *err);
void resolved_fini(struct resolved *resolved);
void cleanup_resolved(struct resolved *resolved);

/* Nobody but root and this process's user can make the resolved path lead to something else:
 * each of its folders is theirs, and no other may write to it. */
bool resolve_is_settled(const char *path);

#endif
