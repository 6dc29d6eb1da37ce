#include "edgible/event_store.h"

#include "edgible/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file is closed at either of these: whole files are dropped at the other end. */
#define SEGMENT_EVENTS 1000
#define SEGMENT_BYTES (1024L * 1024)
#define SEGMENTS_MAX 64
#define AHEAD_BYTES (64UL * 1024)
#define PREFIX "{\"seq\":"

struct segment {
    uint64_t first, last;
    size_t count;
    off_t bytes;
};

struct event_store {
    char *dir;
    struct segment segments[SEGMENTS_MAX]; /* the oldest first */
    size_t count;
    uint64_t last;
    int fd; /* of the newest, -1: none is open */
};

static char *segment_path(const struct event_store *store, uint64_t first)
{
    return xasprintf("%s/%020" PRIu64 ".jsonl", store->dir, first);
}

/* The number of a line; 0 where it is no event. */
static uint64_t seq_of(const char *line, size_t len)
{
    size_t skip = strlen(PREFIX);
    if (len <= skip || memcmp(line, PREFIX, skip) != 0) {
        return 0;
    }
    uint64_t seq = 0;
    for (size_t i = skip; i < len && line[i] >= '0' && line[i] <= '9' && i < skip + 18; i++) {
        seq = seq * 10 + (uint64_t) (line[i] - '0');
    }
    return seq;
}

/* --- what an earlier agent left --------------------------------------------------------------- */

/* Counts its events; what follows the last whole one is cut off. */
static int load_segment(const struct event_store *store, struct segment *segment, struct err *err)
{
    CLEANUP(free) char *path = segment_path(store, segment->first);
    CLEANUP(free) char *data = NULL;
    size_t len = 0;
    if (fd_read_regular_file(path, EVENT_STORE_MAX_BYTES, &data, &len, err) < 0) {
        return -1;
    }
    size_t at = 0;
    for (const char *end = memchr(data, '\n', len); end != NULL;
         end = memchr(data + at, '\n', len - at)) {
        uint64_t seq = seq_of(data + at, (size_t) (end - data) - at);
        if (seq < segment->first || seq <= segment->last) {
            break;
        }
        segment->last = seq;
        segment->count++;
        at = (size_t) (end - data) + 1;
    }
    segment->bytes = (off_t) at;
    if (at < len && truncate(path, segment->bytes) < 0) {
        return err_set(err, errno, "cut off '%s'", path);
    }
    return 0;
}

static int compare_segments(const void *a, const void *b)
{
    const struct segment *x = a;
    const struct segment *y = b;
    return (x->first > y->first) - (x->first < y->first);
}

static void list_segments(struct event_store *store, DIR *dir)
{
    for (struct dirent *entry = readdir(dir); entry != NULL && store->count < SEGMENTS_MAX;
         entry = readdir(dir)) {
        char *end = NULL;
        uint64_t first = strtoull(entry->d_name, &end, 10);
        if (first > 0 && strcmp(end, ".jsonl") == 0) {
            store->segments[store->count++] = (struct segment){.first = first};
        }
    }
    qsort(store->segments, store->count, sizeof(struct segment), compare_segments);
}

static void drop_segment(struct event_store *store, size_t index)
{
    CLEANUP(free) char *path = segment_path(store, store->segments[index].first);
    (void) unlink(path);
    store->count--;
    memmove(&store->segments[index], &store->segments[index + 1],
            (store->count - index) * sizeof(struct segment));
}

static void load_all(struct event_store *store)
{
    for (size_t i = 0; i < store->count;) {
        struct segment *segment = &store->segments[i];
        /* One that cannot be read, or does not follow the one before, is of no use. */
        if (load_segment(store, segment, NULL) < 0 || segment->count == 0 ||
            segment->first <= store->last) {
            drop_segment(store, i);
        } else {
            store->last = segment->last;
            i++;
        }
    }
}

struct event_store *event_store_open(const char *dir, struct err *err)
{
    /* On a disk that takes nothing there is no store until it does. */
    if (fd_make_dirs(dir, 0700, err) < 0 && !fd_is_disk_refusal(err->code)) {
        return NULL;
    }
    CLEANUP(event_store) struct event_store *store = xcalloc(1, sizeof(*store));
    store->dir = xstrdup(dir);
    store->fd = -1;
    DIR *handle = opendir(dir);
    if (handle != NULL) {
        list_segments(store, handle);
        (void) closedir(handle);
        load_all(store);
    } else if (errno != ENOENT) {
        (void) err_set(err, errno, "open '%s'", dir);
        return NULL;
    }
    return steal_ptr(&store);
}

void event_store_close(struct event_store *store)
{
    if (store != NULL) {
        fd_close(&store->fd);
        free(store->dir);
        free(store);
    }
}

uint64_t event_store_last_seq(const struct event_store *store)
{
    return store->last;
}

static size_t total_count(const struct event_store *store)
{
    size_t total = 0;
    for (size_t i = 0; i < store->count; i++) {
        total += store->segments[i].count;
    }
    return total;
}

uint64_t event_store_first_seq(const struct event_store *store)
{
    if (store->count == 0) {
        return store->last + 1;
    }
    size_t total = total_count(store);
    size_t extra = total > EVENT_STORE_MAX_EVENTS ? total - EVENT_STORE_MAX_EVENTS : 0;
    return store->segments[0].first + extra; /* numbers have no gaps but between boots */
}

/* --- adding ------------------------------------------------------------------------------------
 */

static void make_room(struct event_store *store, off_t bytes)
{
    for (size_t i = 0; i < store->count; i++) {
        bytes += store->segments[i].bytes;
    }
    while (store->count > 0 &&
           (store->count == SEGMENTS_MAX || bytes > (off_t) EVENT_STORE_MAX_BYTES ||
            total_count(store) - store->segments[0].count >= EVENT_STORE_MAX_EVENTS)) {
        bytes -= store->segments[0].bytes;
        drop_segment(store, 0);
    }
}

static bool is_full(const struct segment *segment)
{
    return segment->count >= SEGMENT_EVENTS || segment->bytes >= SEGMENT_BYTES;
}

/* The file that the next event goes to is open. */
static int open_newest(struct event_store *store, uint64_t seq, off_t bytes, struct err *err)
{
    bool begin = store->count == 0 || is_full(&store->segments[store->count - 1]);
    if (!begin && store->fd >= 0) {
        return 0;
    }
    fd_close(&store->fd);
    if (begin) {
        make_room(store, bytes);
    }
    uint64_t first = begin ? seq : store->segments[store->count - 1].first;
    CLEANUP(free) char *path = segment_path(store, first);
    int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | (begin ? O_TRUNC : 0);
    store->fd = open(path, flags, 0600);
    if (store->fd < 0 && errno == ENOENT && fd_make_dirs(store->dir, 0700, err) == 0) {
        store->fd = open(path, flags, 0600);
    }
    if (store->fd < 0) {
        return err_set(err, errno, "open '%s'", path);
    }
    if (begin) {
        store->segments[store->count++] = (struct segment){.first = seq};
    }
    return 0;
}

int event_store_add(struct event_store *store, uint64_t seq, const char *line, size_t len,
                    struct err *err)
{
    if (open_newest(store, seq, (off_t) len + 1, err) < 0) {
        return -1;
    }
    struct segment *segment = &store->segments[store->count - 1];
    CLEANUP(buf) struct buf text = {0};
    buf_add(&text, line, len);
    buf_add_char(&text, '\n');
    /* At its place, over what a write that failed half-way has left. */
    ssize_t written = pwrite(store->fd, text.data, text.len, segment->bytes);
    if (written != (ssize_t) text.len) {
        int error = written < 0 ? errno : ENOSPC;
        (void) !ftruncate(store->fd, segment->bytes);
        if (segment->count == 0) {
            fd_close(&store->fd);
            drop_segment(store, store->count - 1);
        }
        return err_set(err, error, "write an event to '%s'", store->dir);
    }
    segment->bytes += written;
    segment->last = seq;
    segment->count++;
    store->last = seq;
    return 0;
}

/* --- reading -----------------------------------------------------------------------------------
 */

void event_cursor_fini(struct event_cursor *cursor)
{
    buf_fini(&cursor->ahead);
    cursor->taken = 0;
}

static const struct segment *find_segment(const struct event_store *store,
                                          const struct event_cursor *cursor)
{
    for (size_t i = 0; i < store->count; i++) {
        if (store->segments[i].last >= cursor->next_seq) {
            return &store->segments[i];
        }
    }
    return NULL;
}

/* More of the segment behind what is there; 0: there is no more. */
static size_t read_ahead(const struct event_store *store, const struct segment *segment,
                         struct event_cursor *cursor)
{
    CLEANUP(free) char *path = segment_path(store, segment->first);
    CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || cursor->offset >= segment->bytes) {
        return 0;
    }
    size_t left = (size_t) (segment->bytes - cursor->offset);
    size_t want = left < AHEAD_BYTES ? left : AHEAD_BYTES;
    CLEANUP(free) char *data = xcalloc(1, want);
    ssize_t n = pread(fd, data, want, cursor->offset);
    if (n <= 0) {
        return 0;
    }
    CLEANUP(buf) struct buf rest = {0};
    buf_add(&rest, buf_str(&cursor->ahead) + cursor->taken, cursor->ahead.len - cursor->taken);
    buf_add(&rest, data, (size_t) n);
    buf_fini(&cursor->ahead);
    cursor->ahead = rest;
    rest = (struct buf){0};
    cursor->taken = 0;
    cursor->offset += n;
    return (size_t) n;
}

/* One line of what was read ahead; NULL where there is no whole one. */
static const char *take_line(struct event_cursor *cursor, size_t *ret_len)
{
    const char *start = buf_str(&cursor->ahead) + cursor->taken;
    const char *end = memchr(start, '\n', cursor->ahead.len - cursor->taken);
    if (end == NULL) {
        return NULL;
    }
    *ret_len = (size_t) (end - start);
    cursor->taken += *ret_len + 1;
    return start;
}

const char *event_store_next(const struct event_store *store, struct event_cursor *cursor,
                             size_t *ret_len)
{
    uint64_t first = event_store_first_seq(store);
    cursor->next_seq = cursor->next_seq < first ? first : cursor->next_seq;
    for (;;) {
        const struct segment *segment = find_segment(store, cursor);
        if (segment == NULL) {
            event_cursor_fini(cursor); /* nothing is kept for one that waits */
            return NULL;
        }
        if (cursor->segment != segment->first) {
            event_cursor_fini(cursor);
            cursor->segment = segment->first;
            cursor->offset = 0;
        }
        const char *line = take_line(cursor, ret_len);
        if (line == NULL && read_ahead(store, segment, cursor) == 0) {
            cursor->next_seq = segment->last + 1; /* somebody took the file away */
            continue;
        }
        uint64_t seq = line != NULL ? seq_of(line, *ret_len) : 0;
        if (seq >= cursor->next_seq) {
            cursor->next_seq = seq + 1;
            return line;
        }
    }
}
