#include "edgible/trusted.h"

#include "edgible/doc_path.h"
#include "edgible/fd.h"
#include "edgible/mem.h"
#include "trusted_climb.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>

#define FOLDERS_MAX 4096

int trusted_climb(int folder, trusted_folder_fn *fn, const void *context, struct err *err)
{
    CLEANUP(close_fd) int at = openat(folder, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct stat last = {0};
    for (int i = 0; i < FOLDERS_MAX; i++) {
        struct stat st;
        if (at < 0 || fstat(at, &st) < 0) {
            return err_set(err, errno, "open a folder on the way to it");
        }
        if (i > 0 && st.st_dev == last.st_dev && st.st_ino == last.st_ino) {
            return 0; /* the root */
        }
        int rc = fn(context, at, &st, err);
        if (rc != 0) {
            return rc;
        }
        last = st;
        int up = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
        fd_close(&at);
        at = up;
    }
    return err_set(err, ELOOP, "find the root folder above it");
}

/* 1: it is one of the bounds. */
static int find_bound(const void *context, int folder, const struct stat *st, struct err *err)
{
    const struct trusted_bounds *bounds = context;
    (void) folder;
    if (bounds->steps_left != NULL && (*bounds->steps_left)-- == 0) {
        *bounds->steps_left = 0;
        return err_set(err, ERR_SPEC, "too many folders are above its links");
    }
    for (size_t i = 0; i < bounds->count; i++) {
        if (bounds->folders[i].dev == st->st_dev && bounds->folders[i].ino == st->st_ino) {
            return 1;
        }
    }
    return 0;
}

static int check_bounds(const void *context, const struct doc_path_spot *spot, struct err *err)
{
    const struct trusted_bounds *bounds = context;
    int found = bounds->count > 0 ? trusted_climb(spot->folder, find_bound, bounds, err) : 0;
    if (found <= 0) {
        return found;
    }
    return doc_path_refuse_link(spot, "it is in a folder that the sandbox may write to", err);
}

int trusted_open(const char *path, const struct trusted_bounds *bounds, struct err *err)
{
    const struct doc_path_rules rules = {.closed_folders = true,
                                         .steps_left = bounds->steps_left,
                                         .context = bounds,
                                         .on_link = check_bounds};
    return doc_path_open_fd(path, &rules, err);
}
