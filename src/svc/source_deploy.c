#include "source_deploy.h"

#include "edgible/appspec.h"
#include "edgible/buf.h"
#include "edgible/fault.h"
#include "edgible/fd.h"
#include "edgible/map.h"
#include "edgible/trusted.h"
#include "source_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PREPARED ".edgible-deploy.new"
#define DECIDED ".edgible-deploy"
/* In the folder of what is decided: an empty file of this ending says that one is to go. */
#define GONE_ENDING ".gone"

/* Of the folders above, in this process. */
static pthread_mutex_t committing = PTHREAD_MUTEX_INITIALIZER;

/* What is to become of the document of one application. */
struct edit {
    char *application;
    const struct app_doc *doc; /* that it has in the file; NULL: none, the text is added */
    char *text;                /* NULL: it is taken out */
    size_t len;
};

/* One file and what it is to hold. */
struct target {
    char *name; /* in the directory */
    struct stat before;
    bool was_there;
    struct buf text;      /* as it is, and from the commit on as it is to be */
    struct app_docs docs; /* in it as it is */
    struct edit *edits;
    size_t edit_count;
    bool is_gone; /* nothing is left in it */
};

struct source_deploy {
    char *directory;
    struct map *targets; /* name → struct target */
};

struct source_deploy *source_deploy_new(const char *directory)
{
    struct source_deploy *deploy = xcalloc(1, sizeof(*deploy));
    deploy->directory = xstrdup(directory);
    deploy->targets = map_new();
    return deploy;
}

void source_deploy_free(struct source_deploy *deploy)
{
    if (deploy == NULL) {
        return;
    }
    size_t at = 0;
    void *value = NULL;
    while (map_next(deploy->targets, &at, NULL, &value)) {
        struct target *target = value;
        for (size_t i = 0; i < target->edit_count; i++) {
            free(target->edits[i].application);
            free(target->edits[i].text);
        }
        free(target->edits);
        app_docs_fini(&target->docs);
        free(target->name);
        buf_fini(&target->text);
        free(target);
    }
    map_free(deploy->targets);
    free(deploy->directory);
    free(deploy);
}

/* --- what a file is to hold ---------------------------------------------------------------------
 */

/* The file as it is. */
static struct target *get_target(struct source_deploy *deploy, const char *name, struct err *err)
{
    struct target *target = map_get(deploy->targets, name);
    if (target != NULL) {
        return target;
    }
    CLEANUP(free) char *path = xasprintf("%s/%s", deploy->directory, name);
    CLEANUP(free) char *data = NULL;
    size_t len = 0;
    struct stat st = {0};
    struct err why = {0};
    CLEANUP(close_fd) int fd = trusted_open_file(deploy->directory, name, &why);
    if (fd < 0 && why.code != ENOENT) {
        *err = why;
        (void) err_prefix(err, "'%s'", path);
        return NULL;
    }
    if (fd >= 0 &&
        (fstat(fd, &st) < 0 || fd_read_all(fd, SOURCE_MAX_FILE_BYTES, &data, &len, err) < 0)) {
        (void) err_prefix(err, "'%s'", path);
        return NULL;
    }
    target = xcalloc(1, sizeof(*target));
    target->name = xstrdup(name);
    target->before = st;
    target->was_there = fd >= 0;
    buf_add(&target->text, data != NULL ? data : "", len);
    if (len > 0) {
        appspec_parse(name, buf_str(&target->text), len, &target->docs);
    }
    map_put(deploy->targets, name, target);
    return target;
}

/* True where the text's document begins with `---`, comments before it left aside. */
static bool begins_with_marker(const char *text, size_t len)
{
    for (size_t at = 0; at < len;) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t line = (end != NULL ? (size_t) (end - text) : len) - at;
        if (line >= 3 && memcmp(text + at, "---", 3) == 0) {
            return true;
        }
        bool is_blank = line == 0 || text[at] == '#' || text[at] == '%' || text[at] == '\r';
        if (!is_blank) {
            return false;
        }
        at += line + 1;
    }
    return false;
}

/* The new document in place of len bytes at offset. */
static void replace_range(struct buf *text, size_t offset, size_t len, const char *with,
                          size_t with_len)
{
    CLEANUP(buf) struct buf out = {0};
    const char *old = buf_str(text);
    buf_add(&out, old, offset);
    if (out.len > 0 && out.data[out.len - 1] != '\n') {
        buf_add_char(&out, '\n');
    }
    if (with_len > 0) {
        if (out.len > 0 && !begins_with_marker(with, with_len)) {
            buf_add_str(&out, "---\n");
        }
        buf_add(&out, with, with_len);
        if (with[with_len - 1] != '\n') {
            buf_add_char(&out, '\n');
        }
    }
    size_t rest = offset + len;
    if (rest < text->len && out.len > 0 && !begins_with_marker(old + rest, text->len - rest)) {
        buf_add_str(&out, "---\n");
    }
    buf_add(&out, old + rest, text->len - rest);
    buf_fini(text);
    *text = out;
    out = (struct buf){0};
}

static const struct app_doc *find_doc(const struct app_docs *docs, const char *application)
{
    for (size_t i = 0; i < docs->count; i++) {
        if (docs->docs[i].name != NULL && strcmp(docs->docs[i].name, application) == 0) {
            return &docs->docs[i];
        }
    }
    return NULL;
}

static const struct edit *find_edit(const struct target *target, const char *application)
{
    for (size_t i = 0; i < target->edit_count; i++) {
        if (strcmp(target->edits[i].application, application) == 0) {
            return &target->edits[i];
        }
    }
    return NULL;
}

/* What is there after the changes is what was there before, but for their applications. */
static int check_result(const struct target *target, size_t wanted, struct err *err)
{
    CLEANUP(app_docs) struct app_docs after = {0};
    appspec_parse(target->name, buf_str(&target->text), target->text.len, &after);
    bool is_same = after.count == wanted;
    for (size_t i = 0; is_same && i < target->edit_count; i++) {
        const struct edit *edit = &target->edits[i];
        is_same = (find_doc(&after, edit->application) != NULL) == (edit->text != NULL);
    }
    for (size_t i = 0; is_same && i < target->docs.count; i++) {
        const char *name = target->docs.docs[i].name;
        is_same = name == NULL || find_edit(target, name) != NULL || find_doc(&after, name) != NULL;
    }
    return is_same ? 0
                   : err_set(err, EEXIST,
                             "'%s' cannot be changed document by document without touching the "
                             "others in it; edit the file",
                             target->name);
}

/* The document that has the file for itself is the file; others are cut out, from the last to the
 * first, so that the places of those before stay. */
static void change_documents(struct target *target)
{
    for (size_t i = target->docs.count; i-- > 0;) {
        const struct app_doc *doc = &target->docs.docs[i];
        const struct edit *edit = doc->name != NULL ? find_edit(target, doc->name) : NULL;
        if (edit != NULL && target->docs.count == 1) {
            buf_clear(&target->text);
            buf_add(&target->text, edit->text != NULL ? edit->text : "", edit->len);
        } else if (edit != NULL && edit->doc == doc) {
            replace_range(&target->text, doc->offset, doc->length, edit->text, edit->len);
        }
    }
}

/* Makes all changes of one file. */
static int change(struct target *target, struct err *err)
{
    size_t wanted = target->docs.count;
    for (size_t i = 0; i < target->edit_count; i++) {
        const struct edit *edit = &target->edits[i];
        wanted += edit->doc == NULL && edit->text != NULL ? 1 : 0;
        wanted -= edit->doc != NULL && edit->text == NULL ? 1 : 0;
    }
    target->is_gone = wanted == 0;
    if (target->is_gone) {
        return 0;
    }
    change_documents(target);
    for (size_t i = 0; i < target->edit_count; i++) {
        const struct edit *edit = &target->edits[i];
        if (edit->doc == NULL && edit->text != NULL) {
            replace_range(&target->text, target->text.len, 0, edit->text, edit->len);
        }
    }
    return check_result(target, wanted, err);
}

static int add_edit(struct target *target, const char *application, const char *text, size_t len,
                    struct err *err)
{
    const struct app_docs *docs = &target->docs;
    const struct app_doc *doc = find_doc(docs, application);
    if (docs->diag.error_count > 0 || (doc != NULL && doc->is_in_list && docs->count > 1)) {
        return err_set(err, EEXIST,
                       docs->diag.error_count > 0
                           ? "'%s' has errors of its own, and is not touched; correct or remove it"
                           : "'%s' holds a list of several documents, and is not touched; edit the "
                             "file",
                       target->name);
    }
    size_t count = target->edit_count++;
    target->edits = xrealloc(target->edits, target->edit_count, sizeof(*target->edits));
    target->edits[count] = (struct edit){.application = xstrdup(application),
                                         .doc = doc,
                                         .text = text != NULL ? xstrndup(text, len) : NULL,
                                         .len = len};
    return 0;
}

int source_deploy_set(struct source_deploy *deploy, const char *application, const char *path,
                      const char *text, size_t len, struct err *err)
{
    const char *slash = path != NULL ? strrchr(path, '/') : NULL;
    CLEANUP(free)
    char *name = path != NULL ? xstrdup(slash != NULL ? slash + 1 : path)
                              : xasprintf("%s.yaml", application);
    struct target *target = get_target(deploy, name, err);
    if (target == NULL) {
        return -1;
    }
    if (path == NULL && target->was_there) {
        const struct app_docs *docs = &target->docs;
        bool is_its_own =
            docs->count == 0 || (docs->count == 1 && find_doc(docs, application) != NULL);
        if (!is_its_own) {
            return err_set(err, EEXIST,
                           "'%s/%s' is in the way: it holds something else; rename that file",
                           deploy->directory, name);
        }
        buf_clear(&target->text); /* its own, and invalid so far: replaced */
        app_docs_fini(&target->docs);
        target->docs = (struct app_docs){0};
    }
    return add_edit(target, application, text, len, err);
}

/* --- doing it ------------------------------------------------------------------------------------
 */

/* A folder in the directory, and no link. */
static int open_folder(int at, const char *name, struct err *err)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return fd >= 0 ? fd : err_set(err, errno, "open '%s'", name);
}

/* One that an earlier agent left, which nobody else can have made or put anything into; *ret is -1
 * where there is none. */
static int open_left(int at, const char *name, int *ret, struct err *err)
{
    struct stat st;
    *ret = open_folder(at, name, NULL);
    if (*ret < 0 && errno == ENOENT) {
        return 0;
    }
    if (*ret < 0 && errno != ENOTDIR && errno != ELOOP) {
        return err_set(err, errno, "open '%s'", name);
    }
    if (*ret < 0 || fstat(*ret, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 0777) != 0700) {
        return err_set(err, ERR_SPEC,
                       "'%s' is not a folder of the agent's user with mode 0700: remove it", name);
    }
    return 0;
}

static DIR *list_folder(int folder)
{
    CLEANUP(close_fd) int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir != NULL) {
        (void) steal_fd(&fd);
    }
    return dir;
}

/* Removes the folder of what is prepared, which is open, and the files in it. */
static void remove_prepared(int at, int folder)
{
    DIR *dir = list_folder(folder);
    if (dir == NULL) {
        return;
    }
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        (void) unlinkat(folder, entry->d_name, 0);
    }
    (void) closedir(dir);
    (void) unlinkat(at, PREPARED, AT_REMOVEDIR);
}

static int prepare_file(int folder, const struct target *target, bool syncs, struct err *err)
{
    CLEANUP(free)
    char *name = xasprintf("%s%s", target->name, target->is_gone ? GONE_ENDING : "");
    CLEANUP(close_fd)
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0) {
        return err_set(err, errno, "make '%s'", name);
    }
    if (!target->is_gone && fd_write_all(fd, buf_str(&target->text), target->text.len, err) < 0) {
        return err_prefix(err, "write '%s'", name);
    }
    if (target->was_there && !target->is_gone) {
        (void) !fchown(fd, target->before.st_uid, target->before.st_gid);
        (void) fchmod(fd, target->before.st_mode & 07777);
    }
    return !syncs || fsync(fd) == 0 ? 0 : err_set(err, errno, "write '%s' to the disk", name);
}

static bool is_untouched(int at, const struct target *target)
{
    struct stat now;
    if (fstatat(at, target->name, &now, 0) < 0) {
        return errno == ENOENT && !target->was_there;
    }
    const struct stat *before = &target->before;
    return target->was_there && now.st_ino == before->st_ino && now.st_dev == before->st_dev &&
           now.st_size == before->st_size && now.st_mtim.tv_sec == before->st_mtim.tv_sec &&
           now.st_mtim.tv_nsec == before->st_mtim.tv_nsec &&
           now.st_ctim.tv_sec == before->st_ctim.tv_sec &&
           now.st_ctim.tv_nsec == before->st_ctim.tv_nsec;
}

/* Files that the file system does not let be replaced: before anything is decided. */
static int check_replaceable(int at, const struct target *target, struct err *err)
{
    struct statx st;
    if (!target->was_there || statx(at, target->name, AT_SYMLINK_NOFOLLOW, 0, &st) < 0) {
        return 0;
    }
    uint64_t attributes = st.stx_attributes & st.stx_attributes_mask;
    if ((attributes & STATX_ATTR_MOUNT_ROOT) != 0) {
        return err_set(err, EEXIST,
                       "'%s' is a mount point, which cannot be replaced; change it where it is "
                       "mounted from, or mount the folder instead",
                       target->name);
    }
    if ((attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND)) != 0) {
        return err_set(err, EEXIST, "'%s' may not be replaced: chattr -i -a '%s'", target->name,
                       target->name);
    }
    return 0;
}

static int prepare(const struct source_deploy *deploy, int at, int folder, struct err *err)
{
    bool together = map_count(deploy->targets) >= FD_SYNC_ALL_FROM;
    size_t next = 0;
    void *value = NULL;
    while (map_next(deploy->targets, &next, NULL, &value)) {
        if (prepare_file(folder, value, !together, err) < 0) {
            return -1;
        }
    }
    if ((together ? syncfs(folder) : fsync(folder)) < 0) {
        return err_set(err, errno, "write '%s' to the disk", PREPARED);
    }
    next = 0;
    while (map_next(deploy->targets, &next, NULL, &value)) {
        const struct target *target = value;
        if (check_replaceable(at, target, err) < 0) {
            return -1;
        }
        if (!is_untouched(at, target)) {
            return err_set(err, EBUSY, "'%s' was changed meanwhile; nothing was done, try again",
                           target->name);
        }
    }
    return 0;
}

static int decide(int at, struct err *err)
{
    FAULT_POINT("deploy-prepared");
    return renameat(at, PREPARED, at, DECIDED) == 0 ? 0 : err_set(err, errno, "make '%s'", DECIDED);
}

/* Moves one file into place, or takes the one away that it speaks of. */
static int move_file(int from, int to, const char *name, struct err *err)
{
    size_t len = strlen(name);
    size_t ending = strlen(GONE_ENDING);
    if (len > ending && strcmp(name + len - ending, GONE_ENDING) == 0) {
        CLEANUP(free) char *gone = xstrndup(name, len - ending);
        if (unlinkat(to, gone, 0) < 0 && errno != ENOENT) {
            return err_set(err, errno, "remove '%s'", gone);
        }
        (void) unlinkat(from, name, 0);
        return 0;
    }
    return renameat(from, name, to, name) == 0 ? 0 : err_set(err, errno, "move '%s' in", name);
}

/* What is decided, the open folder, is done; again after a crash. A file that cannot be moved is
 * given up, and told of: it would hold up all later changes, and be done when nobody expects it. */
static int finish(int at, int folder, struct err *err)
{
    DIR *dir = list_folder(folder);
    if (dir == NULL) {
        return err_set(err, errno, "list '%s'", DECIDED);
    }
    int rc = 0;
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            if (move_file(folder, at, entry->d_name, rc == 0 ? err : NULL) < 0) {
                (void) unlinkat(folder, entry->d_name, 0);
                rc = -1;
            }
            FAULT_POINT("deploy-file-moved");
        }
    }
    (void) closedir(dir);
    if ((fsync(at) < 0 || unlinkat(at, DECIDED, AT_REMOVEDIR) < 0) && rc == 0) {
        rc = err_set(err, errno, "remove '%s'", DECIDED);
    }
    return rc;
}

/* Removes what is only prepared, and finishes what is decided. */
static int recover(int at, struct err *err)
{
    CLEANUP(close_fd) int prepared = -1;
    CLEANUP(close_fd) int decided = -1;
    if (open_left(at, PREPARED, &prepared, err) < 0) {
        return -1;
    }
    if (prepared >= 0) {
        remove_prepared(at, prepared);
    }
    if (open_left(at, DECIDED, &decided, err) < 0) {
        return -1;
    }
    return decided >= 0 ? finish(at, decided, err) : 0;
}

static int commit(const struct source_deploy *deploy, int at, struct err *err)
{
    if (recover(at, err) < 0) {
        return -1;
    }
    if (mkdirat(at, PREPARED, 0700) < 0) {
        return err_set(err, errno, "make '%s'", PREPARED);
    }
    CLEANUP(close_fd) int folder = open_folder(at, PREPARED, err);
    if (folder < 0) {
        return -1;
    }
    if (prepare(deploy, at, folder, err) < 0 || decide(at, err) < 0) {
        remove_prepared(at, folder);
        return -1;
    }
    FAULT_POINT("deploy-decided");
    return finish(at, folder, err);
}

int source_deploy_commit(struct source_deploy *deploy, struct err *err)
{
    size_t next = 0;
    void *value = NULL;
    while (map_next(deploy->targets, &next, NULL, &value)) {
        if (change(value, err) < 0) {
            return -1;
        }
    }
    CLEANUP(close_fd) int at = trusted_open_to_write(deploy->directory, err);
    if (at < 0) {
        return -1;
    }
    (void) pthread_mutex_lock(&committing);
    int rc = commit(deploy, at, err);
    (void) pthread_mutex_unlock(&committing);
    return rc == 0 ? 0 : err_prefix(err, "'%s'", deploy->directory);
}

int source_deploy_recover(const char *directory, struct err *err)
{
    CLEANUP(free) char *decided = xasprintf("%s/" DECIDED, directory);
    CLEANUP(free) char *prepared = xasprintf("%s/" PREPARED, directory);
    struct stat st;
    if (lstat(decided, &st) < 0 && lstat(prepared, &st) < 0) {
        return 0; /* others may well write to a directory that is only read */
    }
    CLEANUP(close_fd) int at = trusted_open_to_write(directory, err);
    if (at < 0) {
        return -1;
    }
    if (pthread_mutex_trylock(&committing) != 0) {
        return 0; /* a thread of this agent is at it */
    }
    int rc = recover(at, err);
    (void) pthread_mutex_unlock(&committing);
    return rc == 0 ? 0 : err_prefix(err, "'%s'", directory);
}
