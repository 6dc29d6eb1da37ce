#include "log_keeper.h"

#include "edgible/buf.h"
#include "edgible/fd.h"
#include "edgible/keeper.h"
#include "edgible/log.h"
#include "edgible/proc.h"
#include "edgible/work.h"
#include "look.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A record of this boot: a line for each keeper, its PID and when it began; the newest first. */
#define RECORD "keepers"
#define EARLIER_MAX 8
#define AGAIN_MS 1000
/* How long the loop waits for a process's own pipe. */
#define REOPEN_MS 50

struct log_keeper {
    struct loop *loop;
    struct persist *persist;
    struct keeper now;
    struct loop_io *io;
    struct loop_timer *again; /* armed: it was killed, or could not be made, and is made anew */
    uint64_t *inodes;         /* of what is held, by slot; 0: nothing */
    size_t slot_count;
    struct keeper_pipes earlier[EARLIER_MAX];
    size_t earlier_count;
};

/* --- the record ----------------------------------------------------------------------------------
 */

static void save(const struct log_keeper *k)
{
    CLEANUP(buf) struct buf text = {0};
    if (k->now.pid > 0) {
        buf_printf(&text, "%d %" PRIu64 "\n", (int) k->now.pid, k->now.start_ticks);
    }
    for (size_t i = 0; i < k->earlier_count; i++) {
        buf_printf(&text, "%d %" PRIu64 "\n", (int) k->earlier[i].pid, k->earlier[i].start_ticks);
    }
    persist_put_volatile(k->persist, RECORD, buf_str(&text));
}

static void look_at_earlier(struct log_keeper *k, const char *line)
{
    char *rest = NULL;
    char text[ERR_MSG_MAX];
    struct err err = {0};
    pid_t pid = (pid_t) strtol(line, &rest, 10);
    uint64_t ticks = strtoull(rest, NULL, 10);
    struct keeper_pipes pipes = {0};
    if (pid <= 0) {
        return;
    }
    if (keeper_look(pid, ticks, &pipes, &err) == 0 && k->earlier_count < EARLIER_MAX) {
        k->earlier[k->earlier_count++] = pipes;
    } else if (err.code == 0) { /* one pipe that nobody adopts keeps each of them */
        keeper_end_earlier(&pipes);
        keeper_pipes_fini(&pipes);
    } else if (err.code != ESRCH && err.code != ENOENT) {
        log_warn("supervisor", "%s", err_text(&err, text, sizeof(text)));
    }
}

static void read_record(struct log_keeper *k)
{
    size_t len = 0;
    CLEANUP(free) char *text = persist_read_volatile(k->persist, RECORD, &len, NULL);
    char *rest = NULL;
    for (char *line = text != NULL ? strtok_r(text, "\n", &rest) : NULL; line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        look_at_earlier(k, line);
    }
}

/* --- this agent's --------------------------------------------------------------------------------
 */

static bool on_gone(void *arg);

static int by_number(const void *a, const void *b)
{
    return ((const struct keeper_end *) a)->number - ((const struct keeper_end *) b)->number;
}

/* This process's own reading ends, whose descriptors belong to the log threads. */
static int find_ends(const struct log_keeper *k, struct keeper_end **ret, size_t *ret_count,
                     struct err *err)
{
    struct keeper_pipes own = {0};
    if (keeper_look_at_own(&own, err) < 0) {
        return -1;
    }
    struct keeper_end *ends = xcalloc(k->slot_count + 1, sizeof(*ends));
    size_t count = 0;
    for (size_t slot = 0; slot < k->slot_count; slot++) {
        int number = k->inodes[slot] != 0 ? keeper_find_number(&own, k->inodes[slot]) : -1;
        if (number >= 0) {
            ends[count++] = (struct keeper_end){(unsigned) slot, number, k->inodes[slot]};
        }
    }
    qsort(ends, count, sizeof(*ends), by_number);
    keeper_pipes_fini(&own);
    *ret = ends;
    *ret_count = count;
    return 0;
}

/* Makes the process; one that was there before is ended once the new one holds everything. */
static int start(struct log_keeper *k)
{
    char text[ERR_MSG_MAX];
    struct err err = {0};
    struct keeper before = k->now;
    CLEANUP(free) struct keeper_end *ends = NULL;
    size_t count = 0;
    if (find_ends(k, &ends, &count, &err) < 0 || keeper_start(ends, count, &k->now, &err) < 0) {
        log_warn("supervisor", "%s: a workload that prints while no agent runs may end of it",
                 err_text(&err, text, sizeof(text)));
        return -1;
    }
    loop_io_free(k->io);
    k->io = loop_io_new(k->loop, k->now.socket, on_gone, k);
    keeper_end(&before);
    save(k);
    return 0;
}

static void start_again(void *arg)
{
    struct log_keeper *k = arg;
    if (start(k) < 0) {
        loop_timer_arm(k->again, loop_now() + AGAIN_MS);
    }
}

/* It says nothing: what is readable is its end. */
static bool on_gone(void *arg)
{
    struct log_keeper *k = arg;
    log_warn("supervisor", "the keeper of log pipes (PID %d) was killed; another one is made",
             (int) k->now.pid);
    loop_io_free(steal_ptr(&k->io));
    keeper_end(&k->now);
    loop_timer_arm(k->again, loop_now());
    return true;
}

static size_t slot_of(const struct log_keeper *k, uint64_t inode)
{
    size_t slot = 0;
    while (slot < k->slot_count && k->inodes[slot] != inode) {
        slot++;
    }
    return slot;
}

bool log_keeper_hold(struct log_keeper *k, int read_end, uint64_t inode, uint64_t instead)
{
    size_t slot = slot_of(k, instead);
    if (slot == KEEPER_SLOTS || inode == 0) {
        return false;
    }
    if (slot == k->slot_count) {
        k->inodes = xrealloc(k->inodes, ++k->slot_count, sizeof(*k->inodes));
    }
    k->inodes[slot] = inode;
    if (loop_timer_is_armed(k->again)) {
        return false; /* the next one holds it */
    }
    /* One that is stopped, or that nothing can be sent to, is replaced by one that inherits all. */
    return (k->now.pid > 0 && keeper_hold(&k->now, (unsigned) slot, read_end, NULL) == 0) ||
           start(k) == 0;
}

pid_t log_keeper_pid(const struct log_keeper *k)
{
    return k->now.pid;
}

void log_keeper_drop(struct log_keeper *k, uint64_t inode)
{
    size_t slot = inode != 0 ? slot_of(k, inode) : k->slot_count;
    if (slot < k->slot_count) {
        k->inodes[slot] = 0;
        if (k->now.pid > 0) {
            (void) !keeper_hold(&k->now, (unsigned) slot, -1, NULL);
        }
    }
}

int log_keeper_find(const struct log_keeper *k, uint64_t inode)
{
    int fd = -1;
    for (size_t i = 0; i < k->earlier_count && fd < 0 && inode != 0; i++) {
        fd = keeper_copy_pipe(&k->earlier[i], inode);
    }
    return fd;
}

/* Whether this agent's keeper holds all that the earlier one holds by now. */
static bool has_taken_over(const struct log_keeper *k, const struct keeper_pipes *earlier)
{
    struct keeper_pipes now = {0};
    struct err err = {0};
    bool has_all = true;
    if (keeper_look(earlier->pid, earlier->start_ticks, &now, &err) < 0) {
        return err.code == ESRCH;
    }
    for (size_t i = 0; i < now.count && has_all; i++) {
        has_all = slot_of(k, now.items[i].inode) < k->slot_count;
    }
    keeper_pipes_fini(&now);
    return has_all;
}

/* --- without a keeper ----------------------------------------------------------------------------
 */

struct reopening {
    pid_t pid;
    uint64_t inode;
    int fd;
    struct err err;
};

static void reopen(void *arg)
{
    struct reopening *job = arg;
    job->fd = proc_reopen_pipe(job->pid, job->inode, &job->err);
}

static void free_reopening(void *arg)
{
    struct reopening *job = arg;
    fd_close(&job->fd);
    free(job);
}

int log_keeper_reopen(pid_t pid, uint64_t inode, uid_t user, struct err *err)
{
    struct reopening *job = xcalloc(1, sizeof(*job));
    *job = (struct reopening){.pid = pid, .inode = inode, .fd = -1};
    const struct work_params params = {.run = reopen, .free_arg = free_reopening, .arg = job};
    bool is_over = false;
    struct work *work = look_start(&params, user, REOPEN_MS, &is_over, err);
    int fd = is_over ? steal_fd(&job->fd) : -1;
    if (is_over && err != NULL) {
        *err = job->err;
    } else if (work != NULL) {
        (void) err_set(err, ETIMEDOUT, "open its log pipe, which a process keeps locked");
    } else {
        free_reopening(job);
    }
    work_free(work);
    return fd;
}

void log_keeper_end_earlier(struct log_keeper *k)
{
    size_t left = 0;
    for (size_t i = 0; i < k->earlier_count; i++) {
        struct keeper_pipes *earlier = &k->earlier[i];
        if (has_taken_over(k, earlier)) {
            keeper_end_earlier(earlier);
            keeper_pipes_fini(earlier);
        } else {
            k->earlier[left++] = *earlier;
        }
    }
    bool any = left < k->earlier_count;
    k->earlier_count = left;
    if (any) {
        save(k);
    }
}

struct log_keeper *log_keeper_new(struct loop *loop, struct persist *persist)
{
    struct log_keeper *k = xcalloc(1, sizeof(*k));
    k->loop = loop;
    k->persist = persist;
    k->again = loop_timer_new(loop, start_again, k);
    read_record(k);
    return k;
}

void log_keeper_end(struct log_keeper *k)
{
    keeper_end(&k->now);
    for (size_t i = 0; i < k->earlier_count; i++) {
        keeper_end_earlier(&k->earlier[i]);
    }
    persist_remove_volatile(k->persist, RECORD);
}

void log_keeper_free(struct log_keeper *k)
{
    if (k == NULL) {
        return;
    }
    loop_io_free(k->io);
    loop_timer_free(k->again);
    keeper_leave(&k->now);
    for (size_t i = 0; i < k->earlier_count; i++) {
        keeper_pipes_fini(&k->earlier[i]);
    }
    free(k->inodes);
    free(k);
}
