/* logfile: what goes into the file, and where it is cut. */
#include "edgible/logfile.h"

#include "edgible/fd.h"
#include "edgible/pump.h"
#include "logfile_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct logfile *logfile_new(const struct pump_log *log)
{
    struct logfile *lf = xcalloc(1, sizeof(*lf));
    lf->path = xstrdup(log->file);
    lf->is_null = strcmp(log->file, PUMP_NO_LOG) == 0;
    lf->fd = -1;
    logfile_set_limits(lf, log);
    return lf;
}

void logfile_free(struct logfile *lf)
{
    if (lf == NULL) {
        return;
    }
    fd_close(&lf->fd);
    free(lf->drop.what);
    strv_fini(&lf->allowed);
    free(lf->path);
    free(lf);
}

void logfile_close(struct logfile *lf)
{
    fd_close(&lf->fd);
}

void logfile_set_place(struct logfile *lf, struct log_place *place)
{
    lf->place = place;
}

bool logfile_set_limits(struct logfile *lf, const struct pump_log *log)
{
    bool keeps_fewer = log->max_files < lf->max_files;
    lf->max_size = log->max_size_bytes > 0 ? log->max_size_bytes : 1;
    lf->max_files = log->max_files;
    lf->is_settled = lf->is_settled && log_owner_equals(&lf->owner, &log->owner);
    lf->owner = log->owner;
    strv_fini(&lf->allowed);
    lf->is_limited = log->allowed != NULL;
    if (log->allowed != NULL) {
        strv_copy(&lf->allowed, log->allowed);
    }
    return keeps_fewer;
}

const char *logfile_path(const struct logfile *lf)
{
    return lf->path;
}

const struct log_owner *logfile_owner(const struct logfile *lf)
{
    return &lf->owner;
}

dev_t logfile_device(const struct logfile *lf)
{
    if (lf->fd >= 0 || lf->is_null) {
        return lf->is_null ? 0 : lf->dev;
    }
    CLEANUP(free) char *path = xstrdup(lf->path);
    struct stat st;
    while (stat(path, &st) < 0) {
        char *slash = strrchr(path, '/');
        if (slash == NULL || slash == path) {
            return 0;
        }
        *slash = '\0';
    }
    return st.st_dev;
}

struct logfile_counters logfile_counters(const struct logfile *lf)
{
    return lf->counters;
}

/* Before a write of bytes of the batch: from here on the file's size tells how much is in it. */
static void note_place(const struct logfile *lf, const char *data)
{
    struct logfile_progress *progress = lf->progress;
    if (progress == NULL || data < lf->batch || data >= lf->batch + lf->batch_len) {
        return;
    }
    uint32_t next = 1 - (progress->which & 1);
    progress->places[next] = (struct logfile_place){
        .dev = lf->dev,
        .ino = lf->ino,
        .size = lf->size,
        .done = (uint64_t) (data - lf->batch),
    };
    /* A thread that is killed has stored all that comes before in the program; only the compiler
     * could change the order. */
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    progress->which = next;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* Writes at the file's end; removes rotated files while the disk is full. */
static size_t write_piece(struct logfile *lf, const char *data, size_t len, struct err *err)
{
    size_t done = 0;
    note_place(lf, data);
    while (done < len) {
        ssize_t n = write(lf->fd, data + done, len - done);
        if (n > 0) {
            done += (size_t) n;
            continue;
        }
        int cause = n < 0 ? errno : EIO;
        if (cause == EINTR || (logfile_is_full_error(cause) && logfile_remove_oldest(lf))) {
            continue;
        }
        (void) err_set(err, cause, "write '%s'", lf->path);
        break;
    }
    const char *line_end = done > 0 ? memrchr(data, '\n', done) : NULL;
    if (line_end != NULL) {
        lf->line_start = lf->size + (uint64_t) (line_end - data) + 1;
    }
    lf->size += done;
    lf->run_bytes += done;
    return done;
}

/* How much of data may go into the file as it is; 0: rotate first. */
static size_t plan_piece(const struct logfile *lf, const char *data, size_t len)
{
    uint64_t room = lf->max_size > lf->size ? lf->max_size - lf->size : 0;
    if (len <= room) {
        return len;
    }
    const char *line_end = room > 0 ? memrchr(data, '\n', (size_t) room) : NULL;
    if (line_end != NULL) {
        return (size_t) (line_end - data) + 1;
    }
    if (lf->line_start > 0) {
        return 0;
    }
    /* One line has the file to itself, and may make it larger than files should be. */
    uint64_t limit = lf->max_size > LOGFILE_LINE_BYTES ? lf->max_size : LOGFILE_LINE_BYTES;
    room = limit > lf->size ? limit - lf->size : 0;
    if (room > len) {
        room = len;
    }
    line_end = memchr(data, '\n', (size_t) room);
    return line_end != NULL ? (size_t) (line_end - data) + 1 : (size_t) room;
}

static size_t append_as_is(struct logfile *lf, const char *data, size_t len, struct err *err)
{
    size_t done = 0;
    while (done < len) {
        size_t piece = plan_piece(lf, data + done, len - done);
        if (piece == 0) {
            if (logfile_rotate(lf, err) < 0) {
                break;
            }
            continue;
        }
        size_t n = write_piece(lf, data + done, piece, err);
        done += n;
        if (n < piece) {
            break;
        }
    }
    return done;
}

size_t logfile_append(struct logfile *lf, const char *data, size_t len, struct err *err)
{
    if (lf->starts_line && len > 0) {
        uint64_t run_bytes = lf->run_bytes;
        if (lf->line_start < lf->size && append_as_is(lf, "\n", 1, err) == 0) {
            return 0;
        }
        lf->run_bytes = run_bytes;
        lf->starts_line = false;
    }
    return append_as_is(lf, data, len, err);
}

/* The descriptor as it is now: 1 gone, 0 still linked. Takes over a size changed by others. */
static int check_descriptor(struct logfile *lf, unsigned *happened)
{
    struct stat st;
    if (fstat(lf->fd, &st) < 0 || st.st_nlink == 0) {
        return 1;
    }
    uint64_t size = (uint64_t) st.st_size;
    if (size != lf->size) {
        if (size < lf->size) {
            log_place_move(lf->place, lf->ino, 0, false);
            *happened |= LOGFILE_REOPENED;
        }
        lf->size = size;
        lf->line_start = logfile_find_line_start(lf->fd, size);
        lf->run_bytes = 0;
        lf->rotated_run_bytes = 0;
    }
    return 0;
}

static bool path_is_ours(const struct logfile *lf)
{
    struct stat st;
    return lstat(lf->path, &st) == 0 && st.st_dev == lf->dev && st.st_ino == lf->ino;
}

bool logfile_is_in_place(const struct logfile *lf)
{
    return lf->drop.active || lf->fd < 0 || path_is_ours(lf);
}

/* The chain of rotated files; and, where a rotation may have been cut off, a line that it moved. */
static void mend(struct logfile *lf, bool may_be_cut_off)
{
    struct log_owner_before before;
    CLEANUP(close_fd) int dir = -1;
    if (log_owner_enter(&lf->owner, &before, NULL) < 0) {
        return;
    }
    if (logfile_open_dir(lf, false, &dir, NULL) == 0) {
        logfile_mend_chain(lf, dir);
        if (may_be_cut_off) {
            logfile_mend_line(lf, dir);
        }
    }
    log_owner_leave(&before);
}

void logfile_trim(struct logfile *lf)
{
    if (!lf->is_null) {
        mend(lf, false);
    }
}

int logfile_open(struct logfile *lf, int64_t now_ms, unsigned *ret_happened, struct err *err)
{
    struct err why;
    *ret_happened = 0;
    if (lf->is_null || (lf->fd >= 0 && !lf->drop.active && path_is_ours(lf))) {
        return 0;
    }
    if (lf->path[0] != '/') {
        (void) err_set(&why, EINVAL, "'%s' is not an absolute path", lf->path);
    } else if (logfile_open_path(lf, &why) == 0) {
        mend(lf, true);
        log_place_move(lf->place, lf->ino, 0, false);
        lf->next_check_ms = now_ms + LOGFILE_CHECK_MS;
        lf->drop.given_up = false;
        lf->drop.retry_ms = now_ms;
        if (lf->drop.active && lf->drop.bytes == 0) {
            lf->drop.active = false;
        }
        return 0;
    }
    bool can_wait = logfile_is_dropping_error(why.code);
    logfile_drop_start(lf, &why, now_ms);
    lf->drop.given_up = !can_wait;
    if (can_wait) {
        *ret_happened = LOGFILE_FULL;
        return 0;
    }
    return err_set(err, why.code, "%s", why.msg);
}

int logfile_check_identity(struct logfile *lf, int64_t now_ms, unsigned *happened, struct err *err)
{
    bool lost = check_descriptor(lf, happened) != 0;
    if (!lost && now_ms >= lf->next_check_ms) {
        lf->next_check_ms = now_ms + LOGFILE_CHECK_MS;
        lost = !path_is_ours(lf);
    }
    if (!lost) {
        return 0;
    }
    fd_close(&lf->fd);
    lf->run_bytes = 0;
    lf->rotated_run_bytes = 0;
    if (logfile_open_path(lf, err) < 0) {
        return -1;
    }
    /* Somebody else may have made it, and not to its last line's end. */
    lf->starts_line = lf->starts_line || lf->size > 0;
    lf->next_check_ms = now_ms + LOGFILE_CHECK_MS;
    log_place_move(lf->place, lf->ino, 0, false);
    *happened |= LOGFILE_REOPENED;
    return 0;
}

unsigned logfile_check(struct logfile *lf, int64_t now_ms)
{
    unsigned happened = 0;
    struct err err;
    if (lf->drop.active || lf->fd < 0) {
        return 0;
    }
    lf->next_check_ms = now_ms;
    if (logfile_check_identity(lf, now_ms, &happened, &err) < 0) {
        logfile_drop_start(lf, &err, now_ms);
        happened |= LOGFILE_FULL;
    }
    return happened;
}

unsigned logfile_write(struct logfile *lf, const char *data, size_t len, int64_t now_ms)
{
    unsigned happened = 0;
    struct err err;
    if (lf->is_null) {
        return 0;
    }
    if (lf->drop.active) {
        return logfile_drop_write(lf, data, len, now_ms);
    }
    uint64_t rotations = lf->counters.rotations;
    size_t done = 0;
    if (logfile_check_identity(lf, now_ms, &happened, &err) == 0) {
        done = logfile_append(lf, data, len, &err);
    }
    lf->counters.bytes_written += done;
    if (done < len) {
        logfile_drop_start(lf, &err, now_ms);
        logfile_drop_bytes(lf, data + done, len - done);
        happened |= LOGFILE_FULL;
    }
    if (lf->counters.rotations != rotations) {
        happened |= LOGFILE_ROTATED;
    }
    return happened;
}

void logfile_begin_run(struct logfile *lf, bool continues)
{
    /* Where a run that continues began is not known: it is taken for all of the file, unless
     * somebody else wrote what the file held when it was opened. */
    lf->run_bytes = continues && lf->was_ours ? lf->size : 0;
    lf->rotated_run_bytes = 0;
    if (!continues) {
        lf->starts_line = true;
        lf->drop.in_line = false;
    }
}
