/*
 * trusted: opens a path by no other links than those that nobody else can have made or changed, and
 * tells folders that nobody else can write to.
 */
#ifndef EDGIBLE_TRUSTED_H
#define EDGIBLE_TRUSTED_H

#include "edgible/err.h"

#include <stddef.h>
#include <sys/types.h>

struct trusted_folder {
    dev_t dev;
    ino_t ino;
};

/* Folders below which no link is followed, whoever made it. */
struct trusted_bounds {
    const struct trusted_folder *folders; /* borrowed */
    size_t count;
    unsigned *steps_left; /* as in doc_path.h, also for the folders above links; NULL: no matter */
};

/*
 * Opens an absolute path with O_PATH, part by part. A link is followed where it belongs to root or
 * this process's user, lies in a folder of theirs that nobody else can write to, sticky or not, and
 * lies below none of the bounds; a link of /proc never, nor a `..` of the path itself. -1 with
 * ERR_SPEC where the path is refused for that, else with errno. The caller closes.
 */
int trusted_open(const char *path, const struct trusted_bounds *bounds, struct err *err) MUST_CHECK;

/*
 * 0 where the folder at path may hold what this process relies on: it is no link, belongs to root
 * or this process's user (where that is root: to root), and neither a group nor others can write to
 * it, sticky or not, and the way to it is trusted, too. -1 with ERR_SPEC and what to do about it
 * where that is not so, else with errno; ENOENT where there is none.
 */
int trusted_check_folder(const char *path, struct err *err) MUST_CHECK;
/*
 * 0 where nobody but root and this process's user can make the path lead to something else, or make
 * what is missing of it first: each folder on the way, also by links, is theirs, and others can
 * write to it only if it is sticky. The last component, where it is there, is not judged. -1 with
 * ERR_SPEC where that is not so, else with errno.
 */
int trusted_check_way(const char *path, struct err *err) MUST_CHECK;

/*
 * Opens the file of that name in a folder for reading, without waiting. Links of others are not
 * followed. In a folder that others than root and this process's user can change, no link is, and
 * a file must belong to the folder's owner under this name alone, or be readable for all: nothing
 * is read there that who put it there could not read. The same holds where others can put another
 * folder in its place (trusted_check_way()). -1 with ERR_SPEC where that is not so, else
 * with errno.
 */
int trusted_open_file(const char *folder, const char *name, struct err *err) MUST_CHECK;

/*
 * Opens a folder for reading, in which the caller is about to make, rename and remove files with
 * its own rights. -1 with ERR_SPEC and what to do about it where links of others lead to it, or
 * where others than root and this process's user can write to it, sticky or not, or can put another
 * folder in its place; else with errno.
 * The caller closes.
 */
int trusted_open_to_write(const char *folder, struct err *err) MUST_CHECK;

#endif
