/* fs_fuzz: what the agent does with logs and paths while the mutator is at work. */
#include "fs_session.h"

#include "edgible/buf.h"
#include "edgible/fd.h"
#include "edgible/log_reader.h"
#include "edgible/logfile.h"
#include "edgible/mem.h"
#include "edgible/pump.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define STEP_MS 700       /* more than a log waits before it compares path and descriptor again */
#define READ_TRIES 100000 /* of 0.1 ms and more */
#define REMOVE_TRIES 1000

struct session {
    struct ground *ground;
    struct counts *counts;
    enum arena arena;
    struct strv allowed;
    struct pump_log log;
    struct logfile *lf;
    struct log_place *place;
    int64_t now_ms;
};

static void wait_us(uint32_t us)
{
    struct timespec pause = {.tv_nsec = (long) us * 1000};
    (void) nanosleep(&pause, NULL);
}

void fs_say_fault(struct counts *counts, const char *what, const char *path)
{
    (void) fprintf(stderr, "FAULT: %s: '%s'\n", what, path);
    counts->faults++;
}

static char *some_log_path(struct ground *ground, enum arena arena)
{
    uint32_t folder = fs_random(ground, arena == ARENA_LOGS ? 2 : FS_LOG_FOLDERS);
    __atomic_store_n(&ground->shared->arena, (uint32_t) arena, __ATOMIC_RELAXED);
    __atomic_store_n(&ground->shared->folder, folder, __ATOMIC_RELAXED);
    uint32_t file = fs_chance(ground, 70) ? 0 : 1;
    __atomic_store_n(&ground->shared->file, file, __ATOMIC_RELAXED);
    return xasprintf("%s/%s/%s/%s", ground->base, arena_names[arena], fs_log_folders[folder],
                     fs_log_names[file]);
}

static struct log_owner make_owner(const struct ground *ground, enum arena arena)
{
    struct log_owner owner = {.uid = (uid_t) -1, .gid = (gid_t) -1};
    if (ground->is_root && arena != ARENA_STEERED) {
        owner = (struct log_owner){.is_user = arena != ARENA_LOGS,
                                   .uid = ground->uid,
                                   .gid = ground->gid,
                                   .group_count = 1,
                                   .groups = {ground->gid}};
    } else if (ground->is_root) {
        owner.uid = 0;
        owner.gid = 0;
    }
    if (arena == ARENA_LOGS) {
        owner.own_len = (uint32_t) (strlen(ground->base) + strlen("/logs"));
    }
    return owner;
}

/* What root left in a folder of the user's before: a link of its own, a second name of a file. The
 * user can move both. */
static void plant(struct ground *ground, enum arena arena)
{
    CLEANUP(free) char *path = fs_path(ground, arena_names[arena]);
    CLEANUP(close_fd) int top = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(close_fd) int dir = fs_open_some_folder(ground, top);
    struct stat st;
    if (dir < 0 || fstat(dir, &st) < 0 || st.st_uid != ground->uid) {
        return;
    }
    static const char *const folders[] = {"a", "b"};
    const char *name = fs_chance(ground, 50) ? folders[fs_random(ground, 2)] : fs_some_name(ground);
    if (fs_chance(ground, 60)) {
        (void) !symlinkat(canary_some_target(ground, arena), dir, name);
    } else {
        (void) !linkat(AT_FDCWD, canary_some_hard_link(ground, arena), dir, name, 0);
    }
}

/* The log folder of an agent before 0.2, which gave its folders to the workloads' users. */
static void give_folders(struct ground *ground)
{
    CLEANUP(free) char *path = fs_path(ground, "logs");
    CLEANUP(close_fd) int top = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* The user can still change what it was given before, until all of it is gone. */
    for (int tries = 0; mkdirat(top, "a", 0755) < 0; tries++) {
        if (errno != EEXIST || tries == REMOVE_TRIES) {
            fs_die("make folders of an older agent");
        }
        (void) !fchownat(top, "a", 0, 0, AT_SYMLINK_NOFOLLOW);
        fs_remove_below(top, NULL, 64);
    }
    if (mkdirat(top, "a/b", 0755) < 0) {
        fs_die("make folders of an older agent");
    }
    for (uint32_t i = fs_random(ground, 4); i > 0; i--) {
        CLEANUP(free)
        char *name = xasprintf("%s%s", fs_chance(ground, 50) ? "a/" : "a/b/", fs_some_name(ground));
        (void) !linkat(AT_FDCWD, canary_some_hard_link(ground, ARENA_LOGS), top, name, 0);
    }
    if (fchownat(top, "a/b", ground->uid, ground->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
        fchownat(top, "a", ground->uid, ground->gid, AT_SYMLINK_NOFOLLOW) < 0) {
        fs_die("give folders to the user");
    }
    wait_us(fs_random(ground, 1500));
}

void fs_prepare(struct ground *ground, enum arena arena)
{
    if (!ground->is_root) {
        return;
    }
    for (uint32_t i = fs_random(ground, 4); i > 0 && arena != ARENA_LOGS; i--) {
        plant(ground, arena);
    }
    if (arena == ARENA_LOGS) {
        give_folders(ground);
    } else if (arena == ARENA_STEERED && fs_chance(ground, 10)) {
        /* What the agent made there as root can be in the user's way. */
        CLEANUP(free) char *path = fs_path(ground, arena_names[arena]);
        CLEANUP(close_fd) int top = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        fs_remove_below(top, NULL, 64);
    }
}

static void check_secret(struct session *s, const char *data, size_t len, const char *where)
{
    /* Where both are one user, links within the policy's folder may lead a reader anywhere. */
    bool is_free = !s->ground->is_root && s->arena == ARENA_LIMITED;
    if (!is_free && canary_is_secret(s->ground, data, len)) {
        fs_say_fault(s->counts, where, s->log.file);
    }
}

static void read_tail(struct session *s)
{
    CLEANUP(strv) struct strv lines = {0};
    logfile_tail(s->lf, &lines);
    for (size_t i = 0; i < lines.count; i++) {
        check_secret(s, lines.items[i], strlen(lines.items[i]), "the tail has a secret");
    }
    s->counts->tails += lines.count > 0;
}

static void ignore(void *arg)
{
    (void) arg;
}

static void read_back(struct session *s)
{
    struct err err = {0};
    char block[8192];
    struct buf all = {0};
    struct log_reader_params params = {.file = s->log.file,
                                       .owner = s->log.owner,
                                       .max_files = s->log.max_files,
                                       .place = fs_chance(s->ground, 50) ? s->place : NULL,
                                       .lines = 1 + fs_random(s->ground, 2000),
                                       .notify = ignore};
    CLEANUP(log_reader) struct log_reader *reader = log_reader_new(&params, &err);
    if (reader == NULL) {
        fs_say_fault(s->counts, err.msg, s->log.file);
        return;
    }
    ssize_t n = 0;
    for (int tries = 0; n >= 0; tries += n == 0) {
        n = log_reader_take(reader, block, sizeof(block), &err);
        if (n > 0) {
            buf_add(&all, block, (size_t) n);
        } else if (n == 0) {
            wait_us(100);
        }
        if (tries == READ_TRIES) {
            fs_say_fault(s->counts, "a reader hangs", s->log.file);
            break;
        }
    }
    if (all.len > 0) {
        s->counts->reads[s->arena]++;
        check_secret(s, all.data, all.len, "a secret was read back");
    }
    buf_fini(&all);
}

static void write_lines(struct session *s)
{
    char text[2048];
    size_t len = 0;
    for (uint32_t lines = 1 + fs_random(s->ground, 6); lines > 0; lines--) {
        int width = 1 + (int) fs_random(s->ground, 250);
        len += (size_t) snprintf(text + len, sizeof(text) - len, "%0*u%s", width,
                                 fs_random(s->ground, 1000), fs_chance(s->ground, 90) ? "\n" : "");
    }
    (void) logfile_write(s->lf, text, len, s->now_ms);
}

static void open_log(struct session *s)
{
    unsigned happened = 0;
    struct err err = {0};
    bool is_open = logfile_open(s->lf, s->now_ms, &happened, &err) == 0 &&
                   (happened & (unsigned) LOGFILE_FULL) == 0;
    s->counts->opens[s->arena] += is_open;
    s->counts->refusals += !is_open;
}

static void take_step(struct session *s)
{
    s->now_ms += STEP_MS;
    switch (fs_random(s->ground, 12)) {
    case 0:
        read_tail(s);
        break;
    case 1:
        (void) logfile_check(s->lf, s->now_ms);
        break;
    case 2:
        (void) logfile_tick(s->lf, s->now_ms);
        break;
    case 3:
        open_log(s);
        break;
    case 4:
        logfile_begin_run(s->lf, fs_chance(s->ground, 50));
        break;
    case 5:
        s->log.max_size_bytes = 100 + fs_random(s->ground, 2000);
        if (logfile_set_limits(s->lf, &s->log)) {
            logfile_trim(s->lf);
        }
        break;
    case 6:
        (void) logfile_device(s->lf);
        (void) logfile_is_in_place(s->lf);
        break;
    default:
        write_lines(s);
        break;
    }
}

void session_run_log(struct ground *ground, enum arena arena, struct counts *counts)
{
    CLEANUP(free) char *path = some_log_path(ground, arena);
    struct session s = {.ground = ground, .counts = counts, .arena = arena, .now_ms = 1000};
    strv_add_take(&s.allowed, xasprintf("%s/limited/**", ground->base));
    s.log = (struct pump_log){.file = path,
                              .max_size_bytes = 100 + fs_random(ground, 2000),
                              .max_files = fs_random(ground, 4),
                              .owner = make_owner(ground, arena),
                              .allowed = arena == ARENA_LIMITED ? &s.allowed : NULL};
    fs_prepare(ground, arena);
    s.lf = logfile_new(&s.log);
    s.place = log_place_new();
    logfile_set_place(s.lf, s.place);
    open_log(&s);
    logfile_begin_run(s.lf, fs_chance(ground, 30));
    for (uint32_t steps = fs_random(ground, 30); steps > 0; steps--) {
        take_step(&s);
    }
    if (fs_chance(ground, 60)) {
        read_back(&s);
    }
    counts->rotations[arena] += logfile_counters(s.lf).rotations;
    log_place_close(s.place);
    logfile_free(s.lf);
    log_place_unref(s.place);
    strv_fini(&s.allowed);
}
