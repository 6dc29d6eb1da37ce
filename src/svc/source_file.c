#include "source_file.h"

#include "edgible/buf.h"
#include "edgible/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A file that stays open for writing, but in which nothing changes for so long, is complete. */
#define QUIET_WHILE_OPEN_MS 15000
/* The same where it cannot be known whether it is open. */
#define QUIET_UNKNOWN_MS 2000

struct source_file *source_file_new(const char *directory, const char *name)
{
    struct source_file *file = xcalloc(1, sizeof(*file));
    file->name = xstrdup(name);
    file->path = xasprintf("%s/%s", directory, name);
    return file;
}

static void free_apps(struct app_spec **apps, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        app_spec_free(apps[i]);
    }
    free(apps);
}

static void forget_problems(struct source_file *file)
{
    for (size_t i = 0; i < file->problem_count; i++) {
        free(file->problems[i].application);
        strv_fini(&file->problems[i].errors);
    }
    free(steal_ptr(&file->problems));
    file->problem_count = 0;
}

static struct strv *add_problem(struct source_file *file, const char *application)
{
    file->problems = xrealloc(file->problems, file->problem_count + 1, sizeof(*file->problems));
    struct source_problem *problem = &file->problems[file->problem_count++];
    *problem = (struct source_problem){.application = xstrdup_or_null(application)};
    return &problem->errors;
}

void source_file_free(struct source_file *file)
{
    if (file != NULL) {
        free_apps(file->apps, file->app_count);
        forget_problems(file);
        free(file->name);
        free(file->path);
        free(file);
    }
}

/* --- saying what is wrong -------------------------------------------------------------------- */

static void say_rejected(struct events *events, const char *application, const char *errors,
                         const char *message)
{
    struct event event = {
        .type = EVENT_REJECTED,
        .level = LOG_ERROR,
        .application = application,
        .fields = (struct log_field[]){{"status", "rejected"}, {"errors", errors}, {0}},
    };
    events_emit(events, &event, "%s", message);
}

/* Says trouble with the file as a whole, where it is not the one said last. */
static void say_trouble(struct source_file *file, struct events *events, int error,
                        const char *sentence)
{
    if (file->said_errno == error) {
        return;
    }
    file->said_errno = error;
    forget_problems(file);
    CLEANUP(free)
    char *message = xasprintf("'%s' %s; what it said before stays in force", file->path, sentence);
    strv_add(add_problem(file, NULL), message);
    say_rejected(events, NULL, message, message);
}

static void join_errors(const struct diag *diag, struct buf *text, struct strv *lines)
{
    for (size_t i = 0; i < diag->count; i++) {
        CLEANUP(free) char *line = diag_item_text(&diag->items[i]);
        if (diag->items[i].severity == DIAG_WARNING) {
            log_warn("source", "%s", line);
        } else {
            buf_printf(text, "%s%s", text->len > 0 ? "\n" : "", line);
            strv_add(lines, line);
        }
    }
}

static void say_diag(struct source_file *file, struct events *events, const char *application,
                     const struct diag *diag)
{
    CLEANUP(buf) struct buf text = {0};
    CLEANUP(strv) struct strv lines = {0};
    join_errors(diag, &text, &lines);
    if (lines.count == 0) {
        return;
    }
    strv_copy(add_problem(file, application), &lines);
    CLEANUP(buf) struct buf message = {0};
    buf_printf(&message, "%s is rejected, what ran before goes on: %s",
               application != NULL ? application : "a document", text.data);
    say_rejected(events, application, text.data, message.data);
}

/* --- reading ------------------------------------------------------------------------------------
 */

enum writer { WRITER_NONE, WRITER_SOME, WRITER_UNKNOWN };

/* A read lease is refused while anybody has the file open for writing (fcntl(2), F_SETLEASE). It
 * is given only to the owner and to root, and not by every file system. */
static enum writer look_for_writer(int fd)
{
    if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {
        (void) fcntl(fd, F_SETLEASE, F_UNLCK);
        return WRITER_NONE;
    }
    return errno == EAGAIN ? WRITER_SOME : WRITER_UNKNOWN;
}

/* How long ago the file was written to, by the wall clock: good enough to save a wait. */
static mono_ms age_ms(const struct stat *st)
{
    struct timespec now = {0};
    (void) clock_gettime(CLOCK_REALTIME, &now);
    return (mono_ms) (now.tv_sec - st->st_mtim.tv_sec) * 1000;
}

static bool is_complete(const struct source_file *file, int fd, mono_ms now)
{
    switch (look_for_writer(fd)) {
    case WRITER_NONE:
        return true;
    case WRITER_SOME:
        return now - file->changed_at >= QUIET_WHILE_OPEN_MS;
    case WRITER_UNKNOWN:
        break;
    }
    if (file->is_closed) {
        return true;
    }
    mono_ms last = file->written_at > file->changed_at ? file->written_at : file->changed_at;
    return now - last >= QUIET_UNKNOWN_MS ||
           (file->written_at == 0 && age_ms(&file->seen) >= QUIET_UNKNOWN_MS);
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* An application of this name that the file had, taken out of the old list; NULL where none. */
static struct app_spec *take_old(struct source_file *file, const char *name)
{
    for (size_t i = 0; i < file->app_count; i++) {
        if (file->apps[i] != NULL && strcmp(file->apps[i]->name, name) == 0) {
            return steal_ptr(&file->apps[i]);
        }
    }
    return NULL;
}

/* Puts the documents in the old ones' place. An invalid document keeps the last good version of
 * its name; where it cannot be told which applications are meant, all that are missing stay. */
static void replace_apps(struct source_file *file, struct app_docs *docs)
{
    bool keep_missing = docs->diag.error_count > 0;
    struct app_spec **apps = xcalloc(docs->count + file->app_count, sizeof(struct app_spec *));
    size_t count = 0;
    for (size_t i = 0; i < docs->count; i++) {
        struct app_doc *doc = &docs->docs[i];
        struct app_spec *old = doc->name != NULL ? take_old(file, doc->name) : NULL;
        if (doc->spec != NULL) {
            apps[count++] = steal_ptr(&doc->spec);
            app_spec_free(old);
        } else if (old != NULL) {
            apps[count++] = old;
        }
        keep_missing = keep_missing || (doc->spec == NULL && doc->name == NULL);
    }
    for (size_t i = 0; i < file->app_count && keep_missing; i++) {
        if (file->apps[i] != NULL) {
            apps[count++] = steal_ptr(&file->apps[i]);
        }
    }
    free_apps(file->apps, file->app_count);
    file->apps = apps;
    file->app_count = count;
}

static void load(struct source_file *file, struct events *events, const char *data, size_t len)
{
    CLEANUP(app_docs) struct app_docs docs = {0};
    appspec_parse(file->path, data, len, &docs);
    if (docs.is_empty) {
        say_trouble(file, events, ENODATA,
                    "is empty; to remove its applications remove the file, or write []");
        return;
    }
    file->said_errno = 0;
    forget_problems(file);
    say_diag(file, events, NULL, &docs.diag);
    for (size_t i = 0; i < docs.count; i++) {
        say_diag(file, events, docs.docs[i].name, &docs.docs[i].diag);
    }
    replace_apps(file, &docs);
}

static enum source_read cannot_read(struct source_file *file, struct events *events, int error)
{
    CLEANUP(free) char *sentence = xasprintf("cannot be read: %s", strerror(error));
    say_trouble(file, events, error, sentence);
    return SOURCE_READ_SAME;
}

static enum source_read wait_for_writer(struct source_file *file)
{
    if (!file->wait_said) {
        file->wait_said = true;
        log_debug("source", "'%s' is being written; it is read when it is closed", file->path);
    }
    return SOURCE_READ_WAIT;
}

enum source_read source_file_refresh(struct source_file *file, struct events *events, mono_ms now)
{
    struct stat st;
    CLEANUP(close_fd) int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return cannot_read(file, events, errno);
    }
    if (fstat(fd, &st) < 0) {
        return cannot_read(file, events, errno);
    }
    if (!S_ISREG(st.st_mode)) {
        return cannot_read(file, events, EINVAL);
    }
    if (file->is_read && is_same_file(&st, &file->seen)) {
        return SOURCE_READ_SAME;
    }
    if (!is_same_file(&st, &file->seen)) {
        file->changed_at = now;
        file->seen = st;
        file->is_read = false;
    }
    if (!is_complete(file, fd, now)) {
        return wait_for_writer(file);
    }
    CLEANUP(free) char *data = NULL;
    size_t len = 0;
    struct err err = {0};
    if (fd_read_all(fd, SOURCE_MAX_FILE_BYTES, &data, &len, &err) < 0) {
        file->is_read = true; /* nothing changes until it changes */
        return cannot_read(file, events, err.code);
    }
    file->is_read = true;
    file->wait_said = false;
    file->written_at = 0;
    file->is_closed = false;
    load(file, events, data, len);
    return SOURCE_READ_LOADED;
}
