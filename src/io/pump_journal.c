#include "pump_journal.h"

#include "edgible/fd.h"
#include "edgible/pump.h"
#include "logfile_private.h"
#include "pump_private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* A byte that no text has, UTF-8 or older: where a read's length is not known before, it ends
 * before the last of these. */
#define JOURNAL_FILL 0xFF
#define JOURNAL_MAGIC UINT64_C(0x316c6e726a676465) /* "edgjrnl1": format and version */
#define HEAD_BYTES ((size_t) 8192)
#define FILE_BYTES (HEAD_BYTES + PUMP_BATCH_BYTES)

enum journal_state { JOURNAL_EMPTY, JOURNAL_READING, JOURNAL_HELD };

/* In the mapped file. A killed thread has stored all that comes before in the program; only the
 * compiler could change the order, which barrier() keeps it from. */
struct journal_head {
    uint64_t magic;
    volatile uint32_t state;
    volatile uint32_t len; /* of JOURNAL_HELD */
    struct logfile_progress progress;
    uint64_t max_size;
    uint32_t max_files;
    uint32_t uid, gid;
    uint32_t starts_line;
    char path[PATH_MAX];
    struct log_owner
        owner; /* zeroes in what agents before 0.2 left: uid and gid above are it then */
    uint32_t is_limited;
    uint32_t expected; /* of JOURNAL_READING: the length, if it has happened; 0: not known */
    uint32_t mark_len; /* how the batch begins until then */
    char mark[PUMP_JOURNAL_MARK];
};
_Static_assert(sizeof(struct journal_head) <= HEAD_BYTES, "the head fits");

static void barrier(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

void pump_journal_init(struct pump_journal *journal, const char *dir, size_t number)
{
    *journal = (struct pump_journal){
        .path = dir != NULL ? xasprintf("%s/lane-%zu", dir, number) : NULL, .side = {-1, -1}
    };
}

void pump_journal_fini(struct pump_journal *journal)
{
    pump_journal_unmap(journal);
    free(steal_ptr(&journal->path));
}

static void *map_plain(void)
{
    void *mem = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert(mem != MAP_FAILED); /* out of memory, as xmalloc() */
    return mem;
}

/* NULL where it cannot be had: then the batch is plain memory. */
static void *map_file(const char *path)
{
    int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW;
    CLEANUP(close_fd) int fd = path != NULL ? open(path, flags, 0600) : -1;
    /* The blocks are there before they are written: on a full disk a write into the map would end
     * the agent with SIGBUS. */
    if (fd < 0 || posix_fallocate(fd, 0, (off_t) FILE_BYTES) != 0) {
        return NULL;
    }
    void *mem = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return mem != MAP_FAILED ? mem : NULL;
}

void pump_journal_map(struct pump_journal *journal)
{
    if (journal->head != NULL) {
        return;
    }
    void *mem = map_file(journal->path);
    bool is_file = mem != NULL;
    mem = is_file ? mem : map_plain();
    journal->head = mem;
    journal->batch = (char *) mem + HEAD_BYTES;
    journal->dirty = 0;
    if (is_file) {
        journal->head->state = JOURNAL_EMPTY;
        barrier();
        journal->head->magic = JOURNAL_MAGIC;
        journal->dirty = PUMP_BATCH_BYTES;
        ssize_t len = (ssize_t) sizeof(journal->random);
        if (getrandom(journal->random, sizeof(journal->random), GRND_NONBLOCK) != len ||
            pipe2(journal->side, O_CLOEXEC | O_NONBLOCK) < 0) {
            journal->side[0] = journal->side[1] = -1;
        }
    }
}

void pump_journal_unmap(struct pump_journal *journal)
{
    if (journal->head == NULL) {
        return;
    }
    (void) munmap(journal->head, FILE_BYTES);
    journal->head = NULL;
    fd_close(&journal->side[0]);
    fd_close(&journal->side[1]);
    if (journal->path != NULL) {
        (void) unlink(journal->path);
    }
}

/* What a read of at most max bytes brings; 0: that cannot be told. Notes how the batch is to begin
 * until then. */
static size_t look_ahead(const struct pump_journal *journal, int fd, size_t max)
{
    struct journal_head *head = journal->head;
    int held = 0;
    char first = 0;
    if (journal->side[0] < 0 || ioctl(fd, FIONREAD, &held) < 0 || held <= 0) {
        return 0;
    }
    size_t expected = (size_t) held < max ? (size_t) held : max;
    if (expected >= sizeof(head->mark)) {
        memcpy(head->mark, journal->random, sizeof(head->mark));
        head->mark_len = sizeof(head->mark);
        return expected;
    }
    if (tee(fd, journal->side[1], 1, SPLICE_F_NONBLOCK) != 1 ||
        read(journal->side[0], &first, 1) != 1) {
        return 0;
    }
    head->mark[0] = (char) ~first;
    head->mark_len = 1;
    return expected;
}

size_t pump_journal_begin(struct pump_journal *journal, struct logfile *lf, int fd, size_t max)
{
    struct journal_head *head = journal->head;
    size_t expected = look_ahead(journal, fd, max);
    if (journal->dirty > 0) {
        memset(journal->batch, JOURNAL_FILL, journal->dirty);
        journal->dirty = 0;
    }
    if (strcmp(head->path, lf->path) != 0) {
        (void) snprintf(head->path, sizeof(head->path), "%s", lf->path);
    }
    head->max_size = lf->max_size;
    head->max_files = lf->max_files;
    head->uid = lf->owner.uid;
    head->gid = lf->owner.gid;
    head->owner = lf->owner;
    head->is_limited = lf->is_limited;
    head->starts_line = lf->starts_line;
    head->progress = (struct logfile_progress){0};
    head->expected = (uint32_t) expected;
    if (expected > 0) {
        memcpy(journal->batch, head->mark, head->mark_len);
    }
    barrier();
    head->state = JOURNAL_READING;
    return expected > 0 ? expected : max;
}

/* While lf writes the batch, the head is told how far it has come. */
static void follow(struct logfile *lf, struct journal_head *head, const char *batch, size_t len)
{
    lf->progress = &head->progress;
    lf->batch = batch;
    lf->batch_len = len;
}

void pump_journal_hold(struct pump_journal *journal, struct logfile *lf, size_t len)
{
    struct journal_head *head = journal->head;
    journal->dirty = len > PUMP_JOURNAL_MARK ? len : PUMP_JOURNAL_MARK;
    head->len = (uint32_t) len;
    barrier();
    head->state = len > 0 ? JOURNAL_HELD : JOURNAL_EMPTY;
    if (len > 0) {
        follow(lf, head, journal->batch, len);
    }
}

void pump_journal_end(struct pump_journal *journal, struct logfile *lf)
{
    lf->progress = NULL;
    barrier();
    journal->head->state = JOURNAL_EMPTY;
}

/* --- recovery ----------------------------------------------------------------------------------
 */

static size_t find_length(const struct journal_head *head, const unsigned char *batch)
{
    if (head->state == JOURNAL_HELD) {
        return head->len;
    }
    if (head->expected > 0) {
        return memcmp(batch, head->mark, head->mark_len) != 0 ? head->expected : 0;
    }
    size_t len = PUMP_BATCH_BYTES;
    while (len > 0 && batch[len - 1] == JOURNAL_FILL) {
        len--;
    }
    return len;
}

/* The size of the file that was being written, which may have been rotated since; false where it
 * is not there. */
static bool find_size_entered(const struct logfile *lf, const struct logfile_place *place,
                              uint64_t *ret_size)
{
    CLEANUP(close_fd) int dir = -1;
    if (place->ino == 0 || logfile_open_dir(lf, false, &dir, NULL) < 0) {
        return false;
    }
    CLEANUP(free) char *rotated = logfile_rotated_name(lf, 1);
    const char *const names[] = {logfile_base(lf), rotated};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct stat st;
        if (fstatat(dir, names[i], &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
            st.st_dev == place->dev && st.st_ino == place->ino) {
            *ret_size = (uint64_t) st.st_size;
            return true;
        }
    }
    return false;
}

static bool find_size(const struct logfile *lf, const struct logfile_place *place,
                      uint64_t *ret_size)
{
    struct log_owner_before before;
    if (log_owner_enter(&lf->owner, &before, NULL) < 0) {
        return false;
    }
    bool is_found = find_size_entered(lf, place, ret_size);
    log_owner_leave(&before);
    return is_found;
}

/* How much of the batch is in a file. */
static size_t find_done(const struct logfile *lf, const struct logfile_progress *progress,
                        size_t len)
{
    const struct logfile_place *place = &progress->places[progress->which & 1];
    size_t done = place->done < len ? (size_t) place->done : len;
    uint64_t size = 0;
    if (find_size(lf, place, &size) && size > place->size) {
        uint64_t more = size - place->size;
        done += more < len - done ? (size_t) more : len - done;
    }
    return done;
}

static bool is_sane(const struct journal_head *head)
{
    return head->magic == JOURNAL_MAGIC && head->state != JOURNAL_EMPTY &&
           memchr(head->path, '\0', sizeof(head->path)) != NULL && head->path[0] == '/' &&
           head->len <= PUMP_BATCH_BYTES && head->expected <= PUMP_BATCH_BYTES &&
           head->mark_len <= sizeof(head->mark);
}

/* An agent before 0.2 acted as itself; what it left is written with the workload's rights, and as
 * if it had been in a sandbox. */
static struct log_owner find_owner(const struct journal_head *head)
{
    struct log_owner owner = head->owner;
    if (owner.uid == 0 && owner.gid == 0 && head->uid != 0) {
        bool is_other = head->uid != (uid_t) -1 && geteuid() == 0;
        owner = (struct log_owner){.is_user = is_other,
                                   .is_confined = true,
                                   .uid = head->uid,
                                   .gid = head->gid,
                                   .group_count = 1};
        owner.groups[0] = head->gid;
    }
    owner.group_count = owner.group_count < LOG_OWNER_GROUPS ? owner.group_count : LOG_OWNER_GROUPS;
    return owner;
}

/* A document may have named a file in the agent's log folder. What agents before 0.2 left says
 * nothing of that, nor of their folder. */
static bool is_limited(const struct journal_head *head)
{
    return head->is_limited != 0 || head->owner.own_len == 0;
}

static int recover_batch(struct journal_head *head, const char *batch, const struct strv *allowed,
                         uint64_t *ret_left, struct err *err)
{
    size_t len = find_length(head, (const unsigned char *) batch);
    struct pump_log log = {
        .file = head->path,
        .max_size_bytes = head->max_size,
        .max_files = head->max_files,
        .owner = find_owner(head),
        .allowed = is_limited(head) ? allowed : NULL,
    };
    CLEANUP(logfile) struct logfile *lf = logfile_new(&log);
    size_t done = find_done(lf, &head->progress, len);
    unsigned happened = 0;
    *ret_left = len - done;
    if (done == len) {
        return 0;
    }
    if (logfile_open(lf, 0, &happened, err) < 0) {
        return err_prefix(err, "'%s'", head->path);
    }
    /* Noted as it goes, should this agent be killed as well. */
    head->len = (uint32_t) len;
    head->state = JOURNAL_HELD;
    lf->starts_line = head->starts_line != 0 && done == 0;
    follow(lf, head, batch, len);
    (void) logfile_write(lf, batch + done, len - done, 0);
    lf->progress = NULL;
    return 0;
}

static void recover_file(int fd, const struct strv *allowed, pump_refused_fn *refused,
                         struct pump *pump)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (size_t) st.st_size != FILE_BYTES) {
        return;
    }
    void *mem = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mem == MAP_FAILED) {
        return;
    }
    struct journal_head *head = mem;
    if (is_sane(head)) {
        struct err err = {0};
        uint64_t left = 0;
        if (recover_batch(head, (const char *) mem + HEAD_BYTES, allowed, &left, &err) < 0) {
            refused(pump, left, &err);
        }
        head->state = JOURNAL_EMPTY;
    }
    (void) munmap(mem, FILE_BYTES);
}

void pump_journal_recover(const char *dir, const struct strv *allowed, pump_refused_fn *refused,
                          struct pump *pump)
{
    for (size_t i = 0; i < PUMP_MAX_LANES; i++) {
        CLEANUP(free) char *path = xasprintf("%s/lane-%zu", dir, i);
        CLEANUP(close_fd) int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0) {
            recover_file(fd, allowed, refused, pump);
            (void) unlink(path);
        }
    }
}
