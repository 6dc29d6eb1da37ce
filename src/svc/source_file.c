#include "source_file.h"

#include "edgible/fd.h"
#include "edgible/source_directory.h"
#include "edgible/source_trust.h"
#include "edgible/trusted.h"

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

bool source_directory_takes(const char *name)
{
    static const char *const endings[] = {".yaml", ".yml", ".json"};
    size_t len = strlen(name);
    for (size_t i = 0; i < ARRAY_LEN(endings) && name[0] != '.'; i++) {
        size_t n = strlen(endings[i]);
        if (len > n && strcmp(name + len - n, endings[i]) == 0) {
            return true;
        }
    }
    return false;
}

struct source_file *source_file_new(const char *directory, const char *name, struct source *source)
{
    struct source_file *file = xcalloc(1, sizeof(*file));
    file->name = xstrdup(name);
    file->events = source->params.events;
    CLEANUP(free) char *path = xasprintf("%s/%s", directory, name);
    source_docs_init(&file->docs, path, &source->load);
    return file;
}

void source_file_free(struct source_file *file)
{
    if (file != NULL) {
        source_reading_free(file->reading);
        source_docs_fini(&file->docs);
        free(file->name);
        free(file);
    }
}

/* --- saying what is wrong -------------------------------------------------------------------- */

/* Says trouble with the file as a whole, where it is not the one said last. */
static void say_trouble(struct source_file *file, struct events *events, int error,
                        const char *sentence)
{
    if (file->said_errno == error) {
        return;
    }
    file->said_errno = error;
    source_docs_refuse(&file->docs, events, sentence);
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

/* 0 where its documents may be taken, which are the first *len bytes. */
static int check_trust(struct source_file *file, const struct source *source, const char *data,
                       size_t *len)
{
    struct err err = {0};
    if (source->trust == NULL) {
        return 0;
    }
    if (strcmp(file->name, TRUST_SET_NAME) != 0) {
        (void) err_set(&err, ERR_REMOTE,
                       "with controlPlane.trustedKeys only the signed set '" TRUST_SET_NAME
                       "' is taken");
    } else if (trust_accept(source->trust, data, *len, len, &err) == 0) {
        return 0;
    }
    source_say_untrusted(source, file->docs.origin, err.msg);
    source_docs_refuse(&file->docs, source->params.events, err.msg);
    return -1;
}

void source_file_keep(struct source_file *file, struct events *events)
{
    file->is_read = false;
    say_trouble(file, events, ENOENT,
                "is the signed set, and is gone; a signed set without applications removes them");
}

static void take(struct source_file *file, struct app_docs *docs)
{
    if (docs->is_empty) {
        say_trouble(file, file->events, ENODATA,
                    "is empty; to remove its applications remove the file, or write []");
        return;
    }
    file->said_errno = 0;
    source_docs_take(&file->docs, file->events, docs, false);
}

static void on_texts(void *arg, struct source_text *texts, size_t count)
{
    struct source_file *file = arg;
    (void) count;
    take(file, &texts->docs);
    if (file->is_beside) {
        file->is_beside = false;
        file->on_read(file->arg);
    }
}

static enum source_read load(struct source_file *file, const struct source *source, char *take_data,
                             size_t len)
{
    if (check_trust(file, source, take_data, &len) < 0) {
        free(take_data);
        return SOURCE_READ_LOADED;
    }
    const struct source_reading_params reading = {
        .loop = source->params.loop,
        .keep = take_data,
        .free_keep = free,
        .done = on_texts,
        .arg = file,
    };
    source_docs_read(&file->docs, take_data, len, &reading, &file->reading);
    file->is_beside = file->reading != NULL;
    return file->is_beside ? SOURCE_READ_BESIDE : SOURCE_READ_LOADED;
}

void source_file_drop_reading(struct source_file *file)
{
    if (file->reading != NULL) {
        source_reading_free(steal_ptr(&file->reading));
        file->is_beside = false;
        file->is_read = false;
    }
}

/* why: NULL, or what else than error's text says it. */
static enum source_read cannot_read(struct source_file *file, struct events *events, int error,
                                    const char *why)
{
    CLEANUP(free)
    char *sentence = xasprintf("cannot be read: %s", error == ERR_SPEC ? why : strerror(error));
    say_trouble(file, events, error, sentence);
    return SOURCE_READ_SAME;
}

static enum source_read wait_for_writer(struct source_file *file)
{
    if (!file->wait_said) {
        file->wait_said = true;
        log_debug("source", "'%s' is being written; it is read when it is closed",
                  file->docs.origin);
    }
    return SOURCE_READ_WAIT;
}

enum source_read source_file_refresh(struct source_file *file, const struct source *source)
{
    struct events *events = file->events;
    mono_ms now = loop_now();
    struct stat st;
    struct err err = {0};
    CLEANUP(close_fd)
    int fd = trusted_open_file(source->params.config->directory, file->name, &err);
    if (fd < 0) {
        return cannot_read(file, events, err.code, err.msg);
    }
    if (fstat(fd, &st) < 0) {
        return cannot_read(file, events, errno, NULL);
    }
    if (!S_ISREG(st.st_mode)) {
        return cannot_read(file, events, EINVAL, NULL);
    }
    bool is_wanted = !file->is_read || source_docs_has_room(&file->docs);
    if (!is_wanted && is_same_file(&st, &file->seen)) {
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
    if (st.st_size > (off_t) SOURCE_MAX_FILE_BYTES) {
        file->is_read = true; /* nothing changes until it changes */
        return cannot_read(file, events, EFBIG, NULL);
    }
    if (fd_read_all(fd, SOURCE_MAX_FILE_BYTES, &data, &len, &err) < 0) {
        file->is_read = true;
        return cannot_read(file, events, err.code, NULL);
    }
    file->is_read = true;
    file->wait_said = false;
    file->written_at = 0;
    file->is_closed = false;
    return load(file, source, steal_ptr(&data), len);
}
