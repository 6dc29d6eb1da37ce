#include "edgible/trusted.h"

#include "edgible/doc_path.h"
#include "edgible/fd.h"
#include "edgible/mem.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>

#define FOLDERS_MAX 4096

static bool is_bound(const struct trusted_bounds *bounds, const struct stat *st)
{
    for (size_t i = 0; i < bounds->count; i++) {
        if (bounds->folders[i].dev == st->st_dev && bounds->folders[i].ino == st->st_ino) {
            return true;
        }
    }
    return false;
}

/* Whether the folder is one of the bounds, or below one; true where that cannot be told. */
static bool is_in_bounds(const struct trusted_bounds *bounds, int folder)
{
    CLEANUP(close_fd) int at = openat(folder, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct stat last = {0};
    for (int i = 0; i < FOLDERS_MAX && bounds->count > 0; i++) {
        struct stat st;
        if (at < 0 || fstat(at, &st) < 0 || is_bound(bounds, &st)) {
            return true;
        }
        if (i > 0 && st.st_dev == last.st_dev && st.st_ino == last.st_ino) {
            return false; /* the root */
        }
        last = st;
        int up = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
        fd_close(&at);
        at = up;
    }
    return bounds->count > 0;
}

static int check_bounds(const void *context, const struct doc_path_spot *spot, struct err *err)
{
    if (!is_in_bounds(context, spot->folder)) {
        return 0;
    }
    return doc_path_refuse_link(spot, "it is in a folder that the sandbox may write to", err);
}

int trusted_open(const char *path, const struct trusted_bounds *bounds, struct err *err)
{
    const struct doc_path_rules rules = {
        .closed_folders = true, .context = bounds, .on_link = check_bounds};
    return doc_path_open_fd(path, &rules, err);
}
