/*
 * logfile: what happens while it cannot be written. Output is dropped and counted; each second
 * there is a try, which begins with the line that says how much is missing and goes on at the
 * beginning of a line of output, so that no two halves of lines are glued together.
 */
#include "logfile_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* After so many retries without output a half line is taken to stay one for a while. */
#define QUIET_TICKS 3

bool logfile_is_full_error(int error)
{
    return error == ENOSPC || error == EDQUOT;
}

bool logfile_is_dropping_error(int error)
{
    return logfile_is_full_error(error) || error == EFBIG || error == EIO || error == EROFS;
}

void logfile_drop_start(struct logfile *lf, const struct err *why, int64_t now_ms)
{
    struct logfile_drop *drop = &lf->drop;
    if (!drop->active) {
        drop->bytes = 0;
        drop->in_line = lf->fd >= 0 && lf->line_start < lf->size && !lf->starts_line;
    }
    drop->active = true;
    drop->given_up = false;
    drop->quiet_ticks = 0;
    drop->error = why->code;
    free(drop->what);
    drop->what = xstrdup(why->msg);
    drop->retry_ms = now_ms + LOGFILE_RETRY_MS;
}

void logfile_drop_bytes(struct logfile *lf, const char *data, size_t len)
{
    if (len > 0) {
        lf->drop.bytes += len;
        lf->counters.bytes_dropped += len;
        lf->drop.in_line = data[len - 1] != '\n';
        lf->drop.quiet_ticks = 0;
    }
}

/* A point in the file that can be returned to while nothing was rotated. */
struct mark {
    uint64_t size, line_start, run_bytes, rotations;
};

static struct mark mark_here(const struct logfile *lf)
{
    return (struct mark){lf->size, lf->line_start, lf->run_bytes, lf->counters.rotations};
}

static bool return_to_mark(struct logfile *lf, const struct mark *mark)
{
    if (lf->counters.rotations != mark->rotations || ftruncate(lf->fd, (off_t) mark->size) < 0) {
        return false;
    }
    lf->size = mark->size;
    lf->line_start = mark->line_start;
    lf->run_bytes = mark->run_bytes;
    return true;
}

/* Writes the line that says what is missing. */
static int write_note(struct logfile *lf, struct err *err)
{
    char reason[128];
    CLEANUP(free)
    char *note = xasprintf("edgible: %" PRIu64 " bytes of output were dropped: %s\n",
                           lf->drop.bytes, strerror_r(lf->drop.error, reason, sizeof(reason)));
    size_t len = strlen(note);
    lf->starts_line = true;
    return logfile_append(lf, note, len, err) == len ? 0 : -1;
}

/*
 * One try to write again: data begins a line of output, or len is 0. Returns what landed of it.
 * Where the note finds room but none of data does, the note goes as well, or the little room
 * there is would be filled with notes; then *ret_resumed is false.
 */
static size_t try_again(struct logfile *lf, const char *data, size_t len, int64_t now_ms,
                        bool *ret_resumed)
{
    struct err err = {.code = 0};
    unsigned happened = 0;
    *ret_resumed = false;
    lf->drop.retry_ms = now_ms + LOGFILE_RETRY_MS;
    int rc = lf->fd >= 0 ? logfile_check_identity(lf, now_ms, &happened, &err)
                         : logfile_open_path(lf, &err);
    if (rc < 0) {
        return 0;
    }
    struct mark mark = mark_here(lf);
    if (lf->drop.bytes > 0 && write_note(lf, &err) < 0) {
        (void) return_to_mark(lf, &mark);
        return 0;
    }
    size_t done = logfile_append(lf, data, len, &err);
    if (len > 0 && done == 0 && return_to_mark(lf, &mark)) {
        return 0;
    }
    *ret_resumed = true;
    lf->drop.reported = lf->drop.bytes;
    lf->drop.bytes = 0;
    if (done < len) {
        lf->drop.active = false;
        logfile_drop_start(lf, &err, now_ms);
    }
    return done;
}

unsigned logfile_drop_write(struct logfile *lf, const char *data, size_t len, int64_t now_ms)
{
    struct logfile_drop *drop = &lf->drop;
    if (drop->given_up || now_ms < drop->retry_ms) {
        logfile_drop_bytes(lf, data, len);
        return 0;
    }
    const char *line_end = drop->in_line ? memchr(data, '\n', len) : NULL;
    size_t skip = line_end != NULL ? (size_t) (line_end - data) + 1 : drop->in_line ? len : 0;
    logfile_drop_bytes(lf, data, skip);
    if (skip == len) {
        return 0;
    }
    uint64_t rotations = lf->counters.rotations;
    bool resumed = false;
    size_t done = try_again(lf, data + skip, len - skip, now_ms, &resumed);
    lf->counters.bytes_written += done;
    unsigned happened = lf->counters.rotations != rotations ? LOGFILE_ROTATED : 0;
    logfile_drop_bytes(lf, data + skip + done, len - skip - done);
    if (!resumed) {
        return happened;
    }
    if (skip + done < len) {
        return happened | LOGFILE_ROOM | LOGFILE_FULL;
    }
    drop->active = false;
    return happened | LOGFILE_ROOM;
}

int64_t logfile_next_tick_ms(const struct logfile *lf)
{
    const struct logfile_drop *drop = &lf->drop;
    bool wants = drop->active && !drop->given_up && (drop->bytes > 0 || lf->fd < 0);
    return wants ? drop->retry_ms : -1;
}

unsigned logfile_tick(struct logfile *lf, int64_t now_ms)
{
    struct logfile_drop *drop = &lf->drop;
    int64_t due = logfile_next_tick_ms(lf);
    if (due < 0 || now_ms < due) {
        return 0;
    }
    /* The rest of a line is worth waiting for: what is reported is the exact number then. */
    if (drop->in_line && drop->bytes > 0 && drop->quiet_ticks++ < QUIET_TICKS) {
        drop->retry_ms = now_ms + LOGFILE_RETRY_MS;
        return 0;
    }
    bool resumed = false;
    (void) try_again(lf, NULL, 0, now_ms, &resumed);
    if (!resumed) {
        return 0;
    }
    /* Still in a line: what is left of it is dropped, and reported by itself. */
    drop->active = drop->in_line;
    return LOGFILE_ROOM;
}

int logfile_drop_reason(const struct logfile *lf, const char **ret_text)
{
    *ret_text = lf->drop.what != NULL ? lf->drop.what : "";
    return lf->drop.error;
}

uint64_t logfile_dropped_bytes(const struct logfile *lf)
{
    return lf->drop.reported;
}
