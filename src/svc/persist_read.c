/* persist: a record is read from its file. */
#include "edgible/fd.h"
#include "edgible/mem.h"
#include "edgible/state_doc.h"
#include "persist_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
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

/* Of the files below a folder, and of folders in there where depth is not 0. */
static int64_t newest_below(const char *path, int depth)
{
    int64_t newest_ms = 0;
    DIR *folder = opendir(path);
    struct stat st;
    for (const struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        bool is_there = entry->d_name[0] != '.' &&
                        fstatat(dirfd(folder), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0;
        int64_t ms = 0;
        if (is_there && S_ISREG(st.st_mode)) {
            ms = (int64_t) st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
        } else if (is_there && S_ISDIR(st.st_mode) && depth > 0) {
            CLEANUP(free) char *inner = xasprintf("%s/%s", path, entry->d_name);
            ms = newest_below(inner, depth - 1);
        }
        newest_ms = ms > newest_ms ? ms : newest_ms;
    }
    if (folder != NULL) {
        (void) closedir(folder);
    }
    return newest_ms;
}

int64_t persist_newest_ms(const struct persist *persist)
{
    static const char *const folders[] = {"applications", "units", "device", "trust", "clock"};
    int64_t newest_ms = 0;
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        CLEANUP(free) char *path = xasprintf("%s/%s", persist->state_dir, folders[i]);
        int64_t ms = newest_below(path, 1);
        newest_ms = ms > newest_ms ? ms : newest_ms;
    }
    return newest_ms;
}
