#include "edgible/log_reader.h"

#include "edgible/buf.h"
#include "edgible/fd.h"
#include "edgible/thread.h"
#include "log_reader_private.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define READ_BYTES (32UL * 1024)
/* Where nothing tells that there is more: no inotify, or no file yet. */
#define POLL_MS 250
#define RETRY_MS 2
/* A rotation that takes longer hangs on its disk. */
#define RETRIES_MAX 200

struct log_reader {
    pthread_mutex_t lock;
    pthread_cond_t room; /* for the thread: something was taken, or it is to end */
    unsigned refs;       /* the loop's and the thread's */
    bool quitting;
    bool ended;
    struct err err; /* why it ended; empty: all was read */
    struct buf out; /* what waits to be taken, from `taken` on */
    size_t taken;
    /* The log as it is to be; the thread takes it over when it is through with the old one. */
    struct pump_log_copy log;
    struct log_place *place;
    bool is_changed;
    int wake_fd; /* eventfd: for the thread's poll */
    size_t lines;
    bool has_from; /* where it begins, instead of the last lines */
    struct log_position from;
    bool framed;
    bool follow;
    unsigned retries; /* the thread's; since something else was next */
    void (*notify)(void *arg);
    void *arg;
};

static void unref(struct log_reader *reader)
{
    (void) pthread_mutex_lock(&reader->lock);
    bool is_last = --reader->refs == 0;
    (void) pthread_mutex_unlock(&reader->lock);
    if (is_last) {
        (void) pthread_mutex_destroy(&reader->lock);
        (void) pthread_cond_destroy(&reader->room);
        buf_fini(&reader->out);
        pump_log_copy_fini(&reader->log);
        log_place_unref(reader->place);
        fd_close(&reader->wake_fd);
        free(reader);
    }
}

/* --- the thread ----------------------------------------------------------------------------------
 */

/* Under the lock, so that log_reader_free() returns only when nobody will call it any more. */
static void notify_locked(const struct log_reader *reader)
{
    if (!reader->quitting) {
        reader->notify(reader->arg);
    }
}

/* What was taken makes room for what comes: the buffer does not grow beyond its bound. */
static void drop_taken(struct log_reader *reader)
{
    size_t rest = reader->out.len - reader->taken;
    if (reader->taken > 0) {
        memmove(reader->out.data, reader->out.data + reader->taken, rest);
        reader->out.len = rest;
        reader->taken = 0;
    }
}

/* Waits for room; false where it is to end. */
static bool deliver(struct log_reader *reader, const char *data, size_t len)
{
    (void) pthread_mutex_lock(&reader->lock);
    while (!reader->quitting && reader->out.len - reader->taken + len > LOG_READER_BUFFER_BYTES) {
        (void) pthread_cond_wait(&reader->room, &reader->lock);
    }
    bool goes_on = !reader->quitting;
    if (goes_on) {
        bool was_empty = reader->taken == reader->out.len;
        drop_taken(reader);
        buf_add(&reader->out, data, len);
        if (was_empty) {
            notify_locked(reader);
        }
    }
    (void) pthread_mutex_unlock(&reader->lock);
    return goes_on;
}

/* With the line before it that says where it is, where that is wanted. */
static bool deliver_piece(struct log_reader *reader, const struct log_position *at,
                          const char *data, size_t len)
{
    if (!reader->framed) {
        return len == 0 || deliver(reader, data, len);
    }
    CLEANUP(buf) struct buf piece = {0};
    buf_printf(&piece, "%" PRIu64 " %" PRIu64 " %zu\n", at->inode, at->offset, len);
    buf_add(&piece, data, len);
    return deliver(reader, piece.data, piece.len);
}

static bool deliver_missed(struct log_reader *reader, uint64_t missed, bool in_line)
{
    CLEANUP(free)
    char *text = xasprintf("%s[edgible: %" PRIu64 " bytes of the log missed]\n",
                           in_line ? "\n" : "", missed);
    return deliver_piece(reader, &(struct log_position){0}, text, strlen(text));
}

/* Until the file changes, somebody wakes us, or timeout_ms (-1: none). */
static void wait_for_more(const struct log_reader *reader, const struct log_files *files,
                          int timeout_ms)
{
    struct pollfd fds[] = {
        {.fd = reader->wake_fd,   .events = POLLIN},
        {.fd = files->inotify_fd, .events = POLLIN},
    };
    char scratch[4096];
    (void) poll(fds, ARRAY_LEN(fds), timeout_ms);
    if (fds[0].revents != 0) {
        (void) !read(reader->wake_fd, scratch, sizeof(uint64_t));
    }
    if (files->inotify_fd >= 0 && fds[1].revents != 0) {
        (void) !read(files->inotify_fd, scratch, sizeof(scratch));
    }
}

/* What the loop's thread has said meanwhile. True where the log is another now. */
static bool take_change(struct log_reader *reader, struct log_files *files, bool *quitting)
{
    (void) pthread_mutex_lock(&reader->lock);
    bool is_changed = reader->is_changed;
    *quitting = reader->quitting;
    reader->is_changed = false;
    bool is_same_path = strcmp(files->path, reader->log.file) == 0;
    if (is_changed && is_same_path) {
        /* Another writer or owner of the same file. */
        (void) logfile_set_limits(files->way, &reader->log.log);
        log_place_unref(files->place);
        files->place = log_place_ref(reader->place);
        files->max_files = reader->log.log.max_files;
        files->is_managed = false;
    } else if (is_changed) {
        log_files_fini(files);
        log_files_init(files, &reader->log.log, reader->place);
    }
    (void) pthread_mutex_unlock(&reader->lock);
    if (is_changed && is_same_path) {
        log_files_judge_again(files);
    } else if (is_changed) {
        log_files_seek_current(files);
    }
    return is_changed;
}

static int wait_ms(struct log_reader *reader, const struct log_files *files, enum files_next next)
{
    if (next == FILES_RETRY) {
        return ++reader->retries <= RETRIES_MAX ? RETRY_MS : POLL_MS;
    }
    return log_files_is_told(files) ? -1 : POLL_MS;
}

/* At the end of a file. False where all has been said. */
static bool go_on(struct log_reader *reader, struct log_files *files, bool in_line)
{
    uint64_t missed = 0;
    bool quitting = false;
    enum files_next next = log_files_advance(files, &missed);
    reader->retries = next == FILES_RETRY ? reader->retries : 0;
    if (missed > 0 && !deliver_missed(reader, missed, in_line)) {
        return false;
    }
    if (next == FILES_MORE) {
        return true;
    }
    if (next == FILES_WAIT && take_change(reader, files, &quitting)) {
        return !quitting;
    }
    if (quitting || (next == FILES_WAIT && !reader->follow)) {
        return false;
    }
    wait_for_more(reader, files, wait_ms(reader, files, next));
    (void) pthread_mutex_lock(&reader->lock);
    quitting = reader->quitting;
    (void) pthread_mutex_unlock(&reader->lock);
    return !quitting;
}

static void read_all(struct log_reader *reader, struct log_files *files, struct err *err)
{
    CLEANUP(free) char *block = xmalloc(READ_BYTES);
    bool in_line = false;
    if (reader->has_from) {
        log_files_seek_to(files, &reader->from);
    } else if (log_files_seek_back(files, reader->lines, err) < 0) {
        return;
    }
    struct log_position at = log_files_position(files);
    if (!deliver_piece(reader, &at, "", 0)) {
        return;
    }
    for (;;) {
        ssize_t n = log_files_read(files, block, READ_BYTES, err);
        at = log_files_position(files); /* behind what was read */
        at.offset -= n > 0 ? (uint64_t) n : 0;
        if (n < 0 || (n > 0 && !deliver_piece(reader, &at, block, (size_t) n))) {
            return;
        }
        if (n > 0) {
            in_line = block[n - 1] != '\n';
        } else if (!go_on(reader, files, in_line)) {
            return;
        }
    }
}

static void *reader_main(void *arg)
{
    struct log_reader *reader = arg;
    struct log_files files;
    struct err err = {0};
    (void) pthread_mutex_lock(&reader->lock);
    log_files_init(&files, &reader->log.log, reader->place);
    (void) pthread_mutex_unlock(&reader->lock);
    read_all(reader, &files, &err);
    log_files_fini(&files);
    (void) pthread_mutex_lock(&reader->lock);
    reader->ended = true;
    reader->err = err;
    notify_locked(reader);
    (void) pthread_mutex_unlock(&reader->lock);
    unref(reader);
    return NULL;
}

/* --- the loop's side -----------------------------------------------------------------------------
 */

struct log_reader *log_reader_new(const struct log_reader_params *params, struct err *err)
{
    struct log_reader *reader = xcalloc(1, sizeof(*reader));
    (void) pthread_mutex_init(&reader->lock, NULL);
    (void) pthread_cond_init(&reader->room, NULL);
    reader->refs = 2;
    const struct pump_log log = {.file = params->file,
                                 .max_files = params->max_files,
                                 .owner = params->owner,
                                 .allowed = params->allowed};
    pump_log_copy(&reader->log, &log);
    reader->place = log_place_ref(params->place);
    reader->lines = params->lines < LOG_READER_MAX_LINES ? params->lines : LOG_READER_MAX_LINES;
    reader->has_from = params->from != NULL;
    reader->from = params->from != NULL ? *params->from : reader->from;
    reader->framed = params->framed;
    reader->follow = params->follow;
    reader->notify = params->notify;
    reader->arg = params->arg;
    reader->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (reader->wake_fd < 0) {
        (void) err_set(err, errno, "make an eventfd");
    } else if (thread_start_detached(THREAD_STACK_BYTES, reader_main, reader, err) == 0) {
        return reader;
    }
    reader->refs = 1;
    unref(reader);
    return NULL;
}

static void wake(const struct log_reader *reader)
{
    uint64_t one = 1;
    (void) !write(reader->wake_fd, &one, sizeof(one));
}

void log_reader_free(struct log_reader *reader)
{
    if (reader == NULL) {
        return;
    }
    (void) pthread_mutex_lock(&reader->lock);
    reader->quitting = true;
    (void) pthread_cond_signal(&reader->room);
    (void) pthread_mutex_unlock(&reader->lock);
    wake(reader);
    unref(reader);
}

ssize_t log_reader_take(struct log_reader *reader, char *data, size_t max, struct err *err)
{
    (void) pthread_mutex_lock(&reader->lock);
    size_t left = reader->out.len - reader->taken;
    size_t n = left < max ? left : max;
    if (n > 0) {
        memcpy(data, reader->out.data + reader->taken, n);
        reader->taken += n;
        (void) pthread_cond_signal(&reader->room);
    }
    bool is_over = n == 0 && reader->ended;
    if (is_over && reader->err.msg[0] != '\0' && err != NULL) {
        *err = reader->err;
    }
    (void) pthread_mutex_unlock(&reader->lock);
    return is_over ? -1 : (ssize_t) n;
}

void log_reader_set_file(struct log_reader *reader, const char *file, const struct log_owner *owner,
                         const struct strv *allowed, unsigned max_files, struct log_place *place)
{
    const struct pump_log log = {
        .file = file, .max_files = max_files, .owner = *owner, .allowed = allowed};
    (void) pthread_mutex_lock(&reader->lock);
    bool is_same = reader->log.log.max_files == max_files && reader->place == place &&
                   pump_log_is_judged_alike(&reader->log.log, &log);
    if (!is_same) {
        pump_log_copy(&reader->log, &log);
        log_place_unref(reader->place);
        reader->place = log_place_ref(place);
        reader->is_changed = true;
    }
    (void) pthread_mutex_unlock(&reader->lock);
    if (!is_same) {
        wake(reader);
    }
}
