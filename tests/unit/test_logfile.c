/* logfile: rotation to the byte, crashes between its steps, foreign hands, full disks. */
#include "edgible/logfile.h"
#include "test_pump_kit.h"

#include <sys/xattr.h>

static struct logfile *open_log(const char *path, uint64_t max_size, unsigned max_files)
{
    struct pump_log log = {
        .file = path, .max_size_bytes = max_size, .max_files = max_files, NOBODY_ELSE};
    struct logfile *lf = logfile_new(&log);
    unsigned happened = 0;
    struct err err = {.code = 0};
    assert_int_equal(logfile_open(lf, 0, &happened, &err), 0);
    assert_int_equal(happened, 0);
    return lf;
}

static unsigned put(struct logfile *lf, const char *text, int64_t now_ms)
{
    return logfile_write(lf, text, strlen(text), now_ms);
}

static int open_fails(const char *path, uid_t uid)
{
    struct pump_log log = {
        .file = path, .max_size_bytes = 100, .owner = {.uid = uid, .gid = (gid_t) -1}
    };
    CLEANUP(logfile) struct logfile *lf = logfile_new(&log);
    unsigned happened = 0;
    struct err err = {.code = 0};
    return logfile_open(lf, 0, &happened, &err) < 0 ? err.code : 0;
}

static void folders_and_file_are_made_with_their_modes(void **state)
{
    (void) state;
    mode_t old = umask(022); /* the agent's, from its start on */
    CLEANUP(free) char *path = in_scratch("a/b/x.log");
    CLEANUP(free) char *dir = in_scratch("a/b");
    CLEANUP(logfile) struct logfile *lf = open_log(path, 100, 1);
    assert_non_null(lf);
    (void) umask(old);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
}

static const struct log_owner other_user = {
    .is_user = true, .uid = 4711, .gid = 4712, .group_count = 1, .groups = {4712}};

/* A folder of the other user's; the caller frees. */
static char *make_users_folder(const char *name)
{
    char *dir = in_scratch("%s", name);
    assert_int_equal(chmod(scratch, 0755), 0);
    assert_int_equal(mkdir(dir, 0755), 0);
    assert_int_equal(chown(dir, 4711, 4712), 0);
    return dir;
}

static int open_as(const char *path, const struct log_owner *owner, struct logfile **ret)
{
    struct pump_log log = {.file = path, .max_size_bytes = 10, .max_files = 2, .owner = *owner};
    unsigned happened = 0;
    struct err err = {.code = 0};
    *ret = logfile_new(&log);
    int rc = logfile_open(*ret, 0, &happened, &err);
    assert_int_equal(geteuid(), 0); /* of the process; and of this thread: */
    assert_int_equal(access("/root", R_OK), 0);
    return rc < 0 ? err.code : 0;
}

static void a_log_outside_is_made_and_rotated_by_the_workloads_user(void **state)
{
    (void) state;
    if (geteuid() != 0) {
        skip(); /* only root can act as another */
    }
    free(make_users_folder("own"));
    CLEANUP(free) char *path = in_scratch("own/sub/x.log");
    CLEANUP(free) char *old = in_scratch("own/sub/x.log.1");
    CLEANUP(free) char *dir = in_scratch("own/sub");
    CLEANUP(logfile) struct logfile *lf = NULL;
    assert_int_equal(open_as(path, &other_user, &lf), 0);
    assert_int_equal(put(lf, "123456789\n123\n", 0), LOGFILE_ROTATED);
    const char *const made[] = {path, old, dir};
    for (size_t i = 0; i < ARRAY_LEN(made); i++) {
        struct stat st;
        assert_int_equal(stat(made[i], &st), 0);
        assert_int_equal(st.st_uid, 4711);
        assert_int_equal(st.st_gid, 4712);
    }
}

static void what_the_workloads_user_may_not_write_is_no_log(void **state)
{
    (void) state;
    if (geteuid() != 0) {
        skip(); /* only root can act as another */
    }
    free(make_users_folder("steered"));
    CLEANUP(free) char *file = in_scratch("steered/root.txt");
    CLEANUP(free) char *roots = in_scratch("roots");
    CLEANUP(free) char *link = in_scratch("steered/sub");
    CLEANUP(free) char *path = in_scratch("steered/sub/x.log");
    CLEANUP(free) char *up = in_scratch("steered/../roots/x.log");
    put_file(file, "root's\n");
    assert_int_equal(mkdir(roots, 0755), 0);
    assert_int_equal(symlink(roots, link), 0);
    assert_int_equal(lchown(link, 4711, 4712), 0);
    const char *const paths[] = {file, path, up, "/proc/self/cwd/x.log"};
    const int codes[] = {EACCES, EACCES, ERR_SPEC, ERR_SPEC};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        CLEANUP(logfile) struct logfile *lf = NULL;
        assert_int_equal(open_as(paths[i], &other_user, &lf), codes[i]);
    }
    assert_file(file, "root's\n");
}

/* /proc/sys asks for the effective user, whatever that of the file system is. */
static void whoever_is_entered_cannot_change_the_kernel(void **state)
{
    (void) state;
    if (geteuid() != 0) {
        skip(); /* only root can act as another */
    }
    struct log_owner_before before;
    assert_int_equal(log_owner_enter(&other_user, &before, NULL), 0);
    CLEANUP(close_fd) int fd = open("/proc/sys/kernel/domainname", O_WRONLY | O_CLOEXEC);
    uid_t real = getuid();
    uid_t effective = geteuid();
    gid_t group = getegid();
    log_owner_leave(&before);
    assert_int_equal(fd, -1);
    assert_int_equal(real, 0);
    assert_int_equal(effective, 4711);
    assert_int_equal(group, 4712);
    assert_int_equal(geteuid(), 0);
    assert_int_equal(getegid(), 0);
    assert_int_equal(access("/root", R_OK), 0);
}

static void a_file_of_the_kernel_is_no_log(void **state)
{
    (void) state;
    CLEANUP(free) char *link = in_scratch("kernel");
    CLEANUP(free) char *linked = in_scratch("kernel/domainname");
    CLEANUP(free) char *made = in_scratch("kernel/sub/x.log");
    assert_int_equal(symlink("/proc/sys/kernel", link), 0);
    const char *const paths[] = {"/proc/sys/kernel/domainname", linked, made, "/sys/power/state"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        assert_int_equal(open_fails(paths[i], (uid_t) -1), ERR_SPEC);
    }
}

static void a_program_or_a_second_name_is_no_log(void **state)
{
    (void) state;
    CLEANUP(free) char *program = in_scratch("program");
    CLEANUP(free) char *file = in_scratch("precious");
    CLEANUP(free) char *second = in_scratch("second.log");
    put_file(program, "#!/bin/sh\n");
    assert_int_equal(chmod(program, 0755), 0);
    put_file(file, "precious\n");
    assert_int_equal(link(file, second), 0);
    assert_int_equal(open_fails(program, (uid_t) -1), ERR_SPEC);
    assert_int_equal(open_fails(second, (uid_t) -1), ERR_SPEC);
    assert_file(file, "precious\n");
}

static void under_a_policy_content_of_others_is_no_log(void **state)
{
    (void) state;
    CLEANUP(free) char *file = in_scratch("config.json");
    CLEANUP(free) char *real = realpath(scratch, NULL);
    CLEANUP(free) char *pattern = xasprintf("%s/**", real);
    put_file(file, "{}\n");
    assert_int_equal(chmod(file, 0644), 0);
    CLEANUP(strv) struct strv allowed = {0};
    strv_add(&allowed, pattern);
    struct pump_log log = {
        .file = file, .max_size_bytes = 100, .max_files = 1, .allowed = &allowed, NOBODY_ELSE};
    CLEANUP(logfile) struct logfile *lf = logfile_new(&log);
    unsigned happened = 0;
    struct err err = {.code = 0};
    assert_int_equal(logfile_open(lf, 0, &happened, &err), -1);
    assert_int_equal(err.code, ERR_SPEC);
    /* An empty one is a log to be: somebody set its owner and mode. */
    assert_int_equal(truncate(file, 0), 0);
    assert_int_equal(logfile_open(lf, 0, &happened, &err), 0);
}

static void the_policy_judges_each_opening(void **state)
{
    (void) state;
    CLEANUP(free) char *real = realpath(scratch, NULL);
    CLEANUP(free) char *pattern = xasprintf("%s/good/**", real);
    CLEANUP(free) char *good = in_scratch("good");
    CLEANUP(free) char *moved = in_scratch("moved");
    CLEANUP(free) char *bad = in_scratch("bad");
    CLEANUP(free) char *path = in_scratch("good/x.log");
    assert_int_equal(mkdir(good, 0755), 0);
    assert_int_equal(mkdir(bad, 0755), 0);
    CLEANUP(strv) struct strv allowed = {0};
    strv_add(&allowed, pattern);
    struct pump_log log = {
        .file = path, .max_size_bytes = 10, .max_files = 2, .allowed = &allowed, NOBODY_ELSE};
    CLEANUP(logfile) struct logfile *lf = logfile_new(&log);
    unsigned happened = 0;
    struct err err = {.code = 0};
    assert_int_equal(logfile_open(lf, 0, &happened, &err), 0);
    (void) put(lf, "123456789\n", 0);
    /* Its folder is a link to another one now: the rotation must not follow. */
    assert_int_equal(rename(good, moved), 0);
    assert_int_equal(symlink(bad, good), 0);
    assert_true((put(lf, "123\n", 5000) & LOGFILE_FULL) != 0);
    CLEANUP(free) char *leaked = in_scratch("bad/x.log");
    assert_int_equal(access(leaked, F_OK), -1);
}

/* The same file, but where the policy does not allow it any more. */
static void cutting_a_file_off_is_judged_like_a_rotation(void **state)
{
    (void) state;
    CLEANUP(free) char *real = realpath(scratch, NULL);
    CLEANUP(free) char *pattern = xasprintf("%s/cut/**", real);
    CLEANUP(free) char *folder = in_scratch("cut");
    CLEANUP(free) char *moved = in_scratch("elsewhere");
    CLEANUP(free) char *path = in_scratch("cut/x.log");
    CLEANUP(free) char *there = in_scratch("elsewhere/x.log");
    CLEANUP(strv) struct strv allowed = {0};
    strv_add(&allowed, pattern);
    struct pump_log log = {.file = path, .max_size_bytes = 10, .allowed = &allowed, NOBODY_ELSE};
    CLEANUP(logfile) struct logfile *lf = logfile_new(&log);
    unsigned happened = 0;
    assert_int_equal(logfile_open(lf, 0, &happened, NULL), 0);
    (void) put(lf, "123456789\n", 0);
    assert_int_equal(rename(folder, moved), 0);
    assert_int_equal(symlink(moved, folder), 0);
    assert_true((put(lf, "123\n", 5000) & LOGFILE_FULL) != 0);
    assert_file(there, "123456789\n");
}

static void rotation_leaves_others_files_alone(void **state)
{
    (void) state;
    CLEANUP(free) char *path = in_scratch("tool");
    CLEANUP(free) char *second = in_scratch("tool.2");
    CLEANUP(free) char *beyond = in_scratch("tool.4");
    put_file(second, "another's\n");
    put_file(beyond, "another's\n");
    assert_int_equal(chmod(second, 0644), 0);
    assert_int_equal(chmod(beyond, 0644), 0);
    CLEANUP(logfile) struct logfile *lf = open_log(path, 10, 3);
    for (int i = 0; i < 6; i++) {
        (void) put(lf, "12345678\n", 0);
    }
    assert_file(second, "another's\n");
    assert_file(beyond, "another's\n");
    assert_file(path, "12345678\n");
}

/* A third user, who may make files in the folder, makes them first. */
static void what_a_third_user_made_is_no_log(void **state)
{
    (void) state;
    if (geteuid() != 0) {
        skip(); /* needs other users */
    }
    CLEANUP(free) char *dir = make_users_folder("squat");
    CLEANUP(free) char *path = in_scratch("squat/x.log");
    CLEANUP(free) char *rotated = in_scratch("squat/x.log.1");
    assert_int_equal(chmod(dir, 01777), 0);
    const struct log_owner nobody_else = {.uid = (uid_t) -1, .gid = (gid_t) -1};
    const struct log_owner *const owners[] = {&other_user, &nobody_else};
    for (size_t i = 0; i < ARRAY_LEN(owners); i++) {
        const struct {
            uid_t uid;
            int code;
        } cases[] = {
            {4713,                                ERR_SPEC                         },
            {0,                                   0                                },
            {owners[i]->is_user ? 4711U : 65533U, owners[i]->is_user ? 0 : ERR_SPEC},
        };
        for (size_t k = 0; k < ARRAY_LEN(cases); k++) {
            CLEANUP(logfile) struct logfile *lf = NULL;
            put_file(path, "");
            assert_int_equal(chmod(path, 0666), 0);
            assert_int_equal(chown(path, cases[k].uid, 4713), 0);
            assert_int_equal(open_as(path, owners[i], &lf), cases[k].code);
            assert_int_equal(unlink(path), 0);
        }
        /* With the mark, which its owner can set. It is neither renamed nor removed. */
        CLEANUP(logfile) struct logfile *lf = NULL;
        put_file(rotated, "another's\n");
        assert_int_equal(chown(rotated, 4713, 4713), 0);
        if (setxattr(rotated, "user.edgible.log", "1", 1, 0) < 0) {
            skip(); /* no attributes here, and so no mark */
        }
        assert_int_equal(open_as(path, owners[i], &lf), 0);
        (void) put(lf, "12345678\n", 0);
        (void) put(lf, "12345678\n", 0);
        assert_file(rotated, "another's\n");
        assert_file(path, "12345678\n");
        assert_int_equal(unlink(path), 0);
        assert_int_equal(unlink(rotated), 0);
    }
}

static void only_regular_files_are_opened(void **state)
{
    (void) state;
    CLEANUP(free) char *path = in_scratch("odd");
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(open_fails(path, (uid_t) -1), EINVAL);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/tmp/nowhere", path), 0);
    assert_int_equal(open_fails(path, (uid_t) -1), ERR_SPEC);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(open_fails(path, (uid_t) -1), EINVAL);
    assert_int_equal(open_fails("/dev/full", (uid_t) -1), EINVAL);
    assert_int_equal(open_fails("relative.log", (uid_t) -1), EINVAL);
}

static void no_log_opens_nothing_and_takes_all(void **state)
{
    (void) state;
    unsigned happened = 0;
    const struct pump_log log = {
        .file = "/dev/null", .max_size_bytes = 1, .owner = {.uid = (uid_t) -1, .gid = (gid_t) -1}
    };
    CLEANUP(logfile) struct logfile *lf = logfile_new(&log);
    int free_fd = dup(STDIN_FILENO);
    assert_int_equal(close(free_fd), 0);
    assert_int_equal(logfile_open(lf, 0, &happened, NULL), 0);
    assert_int_equal(logfile_write(lf, "a line\n", 7, 0), 0);
    assert_int_equal(logfile_check(lf, 10000), 0);
    logfile_trim(lf);
    assert_int_equal(fcntl(free_fd, F_GETFD), -1);
    struct logfile_counters counters = logfile_counters(lf);
    assert_int_equal(counters.bytes_written + counters.bytes_dropped + counters.rotations, 0);
    assert_int_equal(logfile_next_tick_ms(lf), -1);
    assert_true(logfile_is_in_place(lf));
}

static void a_link_that_the_workload_made_is_not_followed(void **state)
{
    (void) state;
    if (geteuid() != 0) {
        skip(); /* needs a rotated user */
    }
    CLEANUP(free) char *real = in_scratch("real");
    CLEANUP(free) char *link = in_scratch("link");
    CLEANUP(free) char *path = in_scratch("link/x.log");
    assert_int_equal(mkdir(real, 0755), 0);
    assert_int_equal(symlink(real, link), 0);
    assert_int_equal(open_fails(path, (uid_t) -1), 0);
    assert_int_equal(lchown(link, 4711, 4711), 0);
    assert_int_equal(open_fails(path, 4711), ERR_SPEC);
}

/* What could be such a link came after the agent found the way without one. */
static void no_link_leads_to_the_log_folder(void **state)
{
    (void) state;
    CLEANUP(free) char *real = in_scratch("real-top");
    CLEANUP(free) char *top = in_scratch("top");
    CLEANUP(free) char *logs = in_scratch("top/logs");
    CLEANUP(free) char *path = in_scratch("top/logs/x.log");
    CLEANUP(free) char *outside = in_scratch("outside");
    CLEANUP(free) char *leaked = in_scratch("outside/x.log");
    struct pump_log log = {.file = path, .max_size_bytes = 100, NOBODY_ELSE};
    log.owner.own_len = (uint32_t) strlen(logs);
    assert_int_equal(mkdir(real, 0755), 0);
    assert_int_equal(mkdir(outside, 0755), 0);
    assert_int_equal(symlink(real, top), 0);
    unsigned happened = 0;
    struct err err = {.code = 0};
    CLEANUP(logfile) struct logfile *lf = logfile_new(&log);
    assert_int_equal(logfile_open(lf, 0, &happened, &err), -1);
    assert_int_equal(err.code, ELOOP);
    assert_int_equal(unlink(top), 0);
    assert_int_equal(mkdir(top, 0755), 0);
    assert_int_equal(symlink(outside, logs), 0);
    assert_int_equal(logfile_open(lf, 0, &happened, &err), -1);
    assert_int_equal(err.code, ELOOP);
    assert_int_equal(access(leaked, F_OK), -1);
    assert_int_equal(unlink(logs), 0);
    assert_int_equal(logfile_open(lf, 0, &happened, &err), 0);
}

/* Of two that name one file the later start has it; no output is lost by moving it to and fro. */
static void a_log_of_another_group_is_set_aside_once(void **state)
{
    (void) state;
    if (geteuid() != 0) {
        skip(); /* needs groups */
    }
    CLEANUP(free) char *top = in_scratch("judged");
    CLEANUP(free) char *path = in_scratch("judged/x.log");
    CLEANUP(free) char *old = in_scratch("judged/x.log.1");
    struct pump_log log = {.file = path, .max_size_bytes = 100, .max_files = 2, NOBODY_ELSE};
    log.owner.own_len = (uint32_t) strlen(top);
    log.owner.is_judged = true;
    log.owner.gid = 4711;
    CLEANUP(logfile) struct logfile *first = logfile_new(&log);
    log.owner.gid = 4712;
    CLEANUP(logfile) struct logfile *second = logfile_new(&log);
    unsigned happened = 0;
    assert_int_equal(mkdir(top, 0755), 0);
    assert_int_equal(logfile_open(first, 0, &happened, NULL), 0);
    (void) put(first, "first\nhal", 0);
    assert_int_equal(logfile_open(second, 0, &happened, NULL), 0);
    (void) put(second, "second\n", 0);
    assert_true((put(first, "more\n", 5000) & LOGFILE_FULL) != 0);
    assert_file(path, "second\n");
    assert_file(old, "first\nhal");
    /* Another user of the first one's workload: it starts, and does. */
    log.owner.gid = 4713;
    (void) logfile_set_limits(first, &log);
    logfile_close(first);
    assert_int_equal(logfile_open(first, 9000, &happened, NULL), 0);
    assert_file(old, "second\n");
    /* Who has an empty one open is not to read what comes. */
    CLEANUP(close_fd) int reader = open(path, O_RDONLY | O_CLOEXEC);
    log.owner.gid = 4714;
    (void) logfile_set_limits(second, &log);
    logfile_close(second);
    assert_int_equal(logfile_open(second, 9000, &happened, NULL), 0);
    (void) put(second, "secret\n", 9000);
    char text[16];
    assert_int_equal(read(reader, text, sizeof(text)), 0);
    assert_file(path, "secret\n");
    assert_file(old, "second\n");
}

/* A link of root's in a folder of another user's: that user can move it to any name there. */
static void a_link_that_another_user_can_move_is_not_followed(void **state)
{
    (void) state;
    if (geteuid() != 0) {
        skip(); /* needs another user */
    }
    CLEANUP(free) char *dir = make_users_folder("theirs");
    CLEANUP(free) char *real = in_scratch("ours");
    CLEANUP(free) char *link = in_scratch("theirs/link");
    CLEANUP(free) char *path = in_scratch("theirs/link/x.log");
    assert_int_equal(mkdir(real, 0755), 0);
    assert_int_equal(symlink(real, link), 0);
    assert_int_equal(open_fails(path, 0), ERR_SPEC);
    assert_int_equal(chown(dir, 0, 0), 0);
    assert_int_equal(open_fails(path, 0), 0);
    const struct {
        mode_t mode;
        int code;
    } cases[] = {
        {0775,  ERR_SPEC},
        {0757,  ERR_SPEC},
        {01777, ERR_SPEC},
        {0755,  0       }
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(chmod(dir, cases[i].mode), 0);
        assert_int_equal(open_fails(path, 0), cases[i].code);
    }
    /* With that user's rights it is no harm. */
    CLEANUP(logfile) struct logfile *lf = NULL;
    assert_int_equal(chown(dir, 4711, 4712), 0);
    assert_int_equal(chown(real, 4711, 4712), 0);
    CLEANUP(free) char *other = in_scratch("theirs/link/y.log");
    assert_int_equal(open_as(other, &other_user, &lf), 0);
}

/* Lines of 1..60 bytes, written in random pieces: nothing lost, no file too large or torn. */
static void rotation_is_exact_to_the_line(void **state)
{
    (void) state;
    CLEANUP(free) char *path = in_scratch("exact.log");
    CLEANUP(logfile) struct logfile *lf = open_log(path, 1000, 10000);
    size_t cap = (size_t) 1 << 20;
    CLEANUP(free) char *all = xmalloc(cap);
    unsigned seed = 42;
    size_t len = 0;
    for (unsigned n = 0; len + 100 < cap; n++) {
        int pad = (int) (rand_r(&seed) % 50);
        len += (size_t) snprintf(all + len, cap - len, "%u %*s\n", n, pad, "");
    }
    for (size_t at = 0; at < len;) {
        size_t piece = (size_t) rand_r(&seed) % 3000 + 1;
        piece = piece < len - at ? piece : len - at;
        (void) logfile_write(lf, all + at, piece, 0);
        at += piece;
    }
    size_t got_len = 0;
    CLEANUP(free) char *got = get_chain(path, &got_len);
    assert_int_equal(got_len, len);
    assert_memory_equal(got, all, len);
    uint64_t rotations = logfile_counters(lf).rotations;
    assert_true(rotations > 900);
    for (unsigned n = 1; n <= rotations; n++) {
        CLEANUP(free) char *name = xasprintf("%s.%u", path, n);
        size_t size = 0;
        CLEANUP(free) char *data = get_file(name, &size);
        assert_non_null(data);
        assert_in_range(size, 900, 1000);
        assert_int_equal(data[size - 1], '\n');
    }
}

static void the_oldest_goes(void **state)
{
    (void) state;
    CLEANUP(free) char *path = in_scratch("oldest.log");
    CLEANUP(free) char *fourth = in_scratch("oldest.log.4");
    CLEANUP(logfile) struct logfile *lf = open_log(path, 2, 3);
    assert_int_equal(put(lf, "1\n2\n3\n4\n5\n6\n", 0), LOGFILE_ROTATED);
    CLEANUP(free) char *got = get_chain(path, NULL);
    assert_string_equal(got, "3\n4\n5\n6\n");
    assert_int_equal(access(fourth, F_OK), -1);
    assert_int_equal(logfile_counters(lf).rotations, 5);
}

static void with_no_rotated_files_the_file_is_cut_off(void **state)
{
    (void) state;
    CLEANUP(free) char *path = in_scratch("cut.log");
    CLEANUP(free) char *first = in_scratch("cut.log.1");
    CLEANUP(logfile) struct logfile *lf = open_log(path, 6, 0);
    (void) put(lf, "1\n2\n3\n4", 0);
    (void) put(lf, "5\n6\n7", 0);
    assert_file(path, "45\n6\n7");
    (void) put(lf, "8", 0);
    assert_file(path, "78");
    assert_int_equal(access(first, F_OK), -1);
}

static void a_line_longer_than_files_are_has_one_to_itself(void **state)
{
    (void) state;
    CLEANUP(free) char *path = in_scratch("long.log");
    CLEANUP(free) char *first = in_scratch("long.log.1");
    CLEANUP(logfile) struct logfile *lf = open_log(path, 10, 9);
    (void) put(lf, "short\nlong long", 0);
    (void) put(lf, " long long\nx\n", 0);
    assert_file(first, "long long long long\n");
    assert_file(path, "x\n");
    CLEANUP(free) char *all = get_chain(path, NULL);
    assert_string_equal(all, "short\nlong long long long\nx\n");
}

static void an_endless_line_is_split(void **state)
{
    (void) state;
    CLEANUP(free) char *path = in_scratch("endless.log");
    CLEANUP(logfile) struct logfile *lf = open_log(path, 1000, 9);
    size_t len = (size_t) 3 << 20;
    CLEANUP(free) char *line = xmalloc(len);
    memset(line, 'x', len);
    for (size_t at = 0; at < len; at += 65536) {
        (void) logfile_write(lf, line + at, 65536, 0);
    }
    (void) put(lf, "\nend\n", 0);
    size_t got_len = 0;
    CLEANUP(free) char *got = get_chain(path, &got_len);
    assert_int_equal(got_len, len + 5);
    assert_memory_equal(got, line, len);
    for (unsigned n = 1; n <= 3; n++) {
        CLEANUP(free) char *name = xasprintf("%s.%u", path, n);
        assert_in_range(file_size(name), 1, 1 << 20);
    }
}

/* The renames of a rotation of x, .1, .2, .3 in their order; after each one the power goes. */
static void a_crash_between_two_renames_is_mended(void **state)
{
    (void) state;
    for (unsigned crash = 0; crash <= 4; crash++) {
        CLEANUP(free) char *path = in_scratch("crash%u.log", crash);
        for (unsigned n = 0; n <= 3; n++) {
            CLEANUP(free) char *name = n > 0 ? xasprintf("%s.%u", path, n) : xstrdup(path);
            CLEANUP(free) char *text = xasprintf("line %u\n", 4 - n);
            put_file(name, text);
        }
        for (unsigned step = 0; step < crash; step++) {
            unsigned from = 3 - step;
            CLEANUP(free) char *old = from > 0 ? xasprintf("%s.%u", path, from) : xstrdup(path);
            CLEANUP(free) char *new = xasprintf("%s.%u", path, from + 1);
            assert_int_equal(rename(old, new), 0);
        }
        CLEANUP(logfile) struct logfile *lf = open_log(path, 14, 5);
        (void) put(lf, "line 5\n", 0);
        CLEANUP(free) char *got = get_chain(path, NULL);
        assert_string_equal(got, "line 1\nline 2\nline 3\nline 4\nline 5\n");
        (void) put(lf, "line 6\nline 7\nline 8\n", 0);
        CLEANUP(free) char *later = get_chain(path, NULL);
        assert_string_equal(later,
                            "line 1\nline 2\nline 3\nline 4\nline 5\nline 6\nline 7\nline 8\n");
    }
}

/* The half line is taken along: copied, then cut from the old file. */
static void a_crash_while_a_half_line_moves_is_mended(void **state)
{
    (void) state;
    static const struct {
        const char *rotated;
        const char *file;
    } cases[] = {
        {"one\nhalf a li", NULL       },
        {"one\nhalf a li", ""         },
        {"one\nhalf a li", "half"     },
        {"one\nhalf a li", "half a li"},
        {"one\n",          "half a li"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(free) char *path = in_scratch("half%zu.log", i);
        CLEANUP(free) char *first = in_scratch("half%zu.log.1", i);
        put_file(first, cases[i].rotated);
        if (cases[i].file != NULL) {
            put_file(path, cases[i].file);
        }
        CLEANUP(logfile) struct logfile *lf = open_log(path, 100, 5);
        (void) put(lf, "ne\n", 0);
        assert_file(first, "one\n");
        assert_file(path, "half a line\n");
    }
}

static void rotated_files_beyond_a_lower_limit_go(void **state)
{
    (void) state;
    CLEANUP(free) char *path = in_scratch("lower.log");
    {
        CLEANUP(logfile) struct logfile *lf = open_log(path, 2, 9);
        (void) put(lf, "1\n2\n3\n4\n5\n", 0);
    }
    CLEANUP(logfile) struct logfile *lf = open_log(path, 2, 2);
    assert_non_null(lf);
    CLEANUP(free) char *got = get_chain(path, NULL);
    assert_string_equal(got, "3\n4\n5\n");
}

/* Without waiting for the next time that the file is opened. */
static void a_limit_that_is_lowered_holds_at_once(void **state)
{
    (void) state;
    CLEANUP(free) char *path = in_scratch("lowered.log");
    CLEANUP(logfile) struct logfile *lf = open_log(path, 2, 9);
    static const struct {
        unsigned max_files;
        const char *left;
    } steps[] = {
        {3, "2\n3\n4\n5\n"},
        {0, "5\n"         },
    };
    (void) put(lf, "1\n2\n3\n4\n5\n", 0);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        struct pump_log log = {
            .file = path, .max_size_bytes = 2, .max_files = steps[i].max_files, NOBODY_ELSE};
        assert_true(logfile_set_limits(lf, &log));
        logfile_trim(lf);
        CLEANUP(free) char *got = get_chain(path, NULL);
        assert_string_equal(got, steps[i].left);
    }
}

static void removal_moving_and_truncation_are_noticed(void **state)
{
    (void) state;
    CLEANUP(free) char *path = in_scratch("foreign.log");
    CLEANUP(free) char *away = in_scratch("foreign.away");
    CLEANUP(logfile) struct logfile *lf = open_log(path, 1000, 2);
    assert_int_equal(put(lf, "one\n", 0), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(put(lf, "two\n", 1), LOGFILE_REOPENED);
    assert_file(path, "two\n");
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(put(lf, "three\n", 2), LOGFILE_REOPENED);
    assert_file(path, "three\n");
    assert_int_equal(rename(path, away), 0);
    (void) put(lf, "four\n", 3); /* looked at each 500 ms only */
    assert_int_equal(put(lf, "five\n", 600), LOGFILE_REOPENED);
    assert_file(path, "five\n");
    assert_file(away, "three\nfour\n");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(logfile_check(lf, 700), LOGFILE_REOPENED);
    assert_file(path, "");
}

static void a_run_starts_on_a_new_line_unless_it_continues(void **state)
{
    (void) state;
    CLEANUP(free) char *path = in_scratch("run.log");
    CLEANUP(logfile) struct logfile *lf = open_log(path, 1000, 2);
    (void) put(lf, "half", 0);
    logfile_begin_run(lf, true);
    (void) put(lf, " line\nhalf", 0);
    logfile_begin_run(lf, false);
    (void) put(lf, "new\n", 0);
    logfile_begin_run(lf, false);
    (void) put(lf, "third\n", 0);
    assert_file(path, "half line\nhalf\nnew\nthird\n");
    CLEANUP(strv) struct strv lines = {0};
    logfile_tail(lf, &lines);
    assert_int_equal(lines.count, 1);
    assert_string_equal(lines.items[0], "third");
}

static void the_tail_reaches_over_a_rotation(void **state)
{
    (void) state;
    CLEANUP(free) char *path = in_scratch("tail.log");
    CLEANUP(logfile) struct logfile *lf = open_log(path, 200, 9);
    (void) put(lf, "before\n", 0);
    logfile_begin_run(lf, false);
    for (int n = 0; n < 30; n++) {
        char line[32];
        (void) snprintf(line, sizeof(line), "number %d\n", n);
        (void) put(lf, line, 0);
    }
    CLEANUP(strv) struct strv lines = {0};
    logfile_tail(lf, &lines);
    assert_int_equal(lines.count, PUMP_TAIL_LINES);
    assert_string_equal(lines.items[0], "number 10");
    assert_string_equal(lines.items[19], "number 29");
    logfile_begin_run(lf, false);
    CLEANUP(strv) struct strv none = {0};
    logfile_tail(lf, &none);
    assert_int_equal(none.count, 0);
}

static void the_tail_is_bounded(void **state)
{
    (void) state;
    CLEANUP(free) char *path = in_scratch("bound.log");
    CLEANUP(logfile) struct logfile *lf = open_log(path, 1 << 20, 9);
    logfile_begin_run(lf, false);
    char line[1001];
    memset(line, 'y', 1000);
    line[999] = '\n';
    line[1000] = '\0';
    for (int n = 0; n < 30; n++) {
        (void) put(lf, line, 0);
    }
    (void) logfile_write(lf, "a\0b", 3, 0);
    CLEANUP(strv) struct strv lines = {0};
    logfile_tail(lf, &lines);
    assert_int_equal(lines.count, 9);
    assert_int_equal(strlen(lines.items[0]), 999);
    assert_string_equal(lines.items[8], "a?b");
}

/* Every line is one that was written, whole, in order; counts the notes' bytes. */
static uint64_t check_lines(char *text, unsigned *ret_lines)
{
    uint64_t dropped = 0;
    int64_t last = -1;
    *ret_lines = 0;
    for (char *line = text; *line != '\0';) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        *end = '\0';
        uint64_t bytes = 0;
        int64_t number = 0;
        int used = 0;
        if (sscanf(line, "edgible: %" SCNu64 " bytes of output were dropped: %n", &bytes, &used) ==
                1 &&
            used > 0) {
            dropped += bytes;
        } else if (sscanf(line, "line %" SCNd64 " of this test%n", &number, &used) == 1 &&
                   (size_t) used == strlen(line)) {
            assert_true(number > last);
            last = number;
            (*ret_lines)++;
        } else {
            /* torn by the full disk, but not glued to another */
            if (strncmp("line ", line, strnlen(line, 5)) != 0) {
                fail_msg("glued: '%s'", line);
            }
            assert_null(strstr(line, "edgible"));
            assert_null(strstr(line + 1, "line"));
        }
        line = end + 1;
    }
    return dropped;
}

static void a_full_disk_costs_old_files_then_output(void **state)
{
    (void) state;
    if (!mount_small(64 * 1024)) {
        print_message("no tmpfs can be mounted here (needs root)\n");
        skip();
    }
    CLEANUP(free) char *path = in_scratch("small/x.log");
    CLEANUP(free) char *ballast = in_scratch("small/ballast");
    CLEANUP(logfile) struct logfile *lf = open_log(path, 8192, 3);
    char line[64];
    unsigned n = 0;
    uint64_t total = 0;
    int64_t now = 0;
    unsigned happened = 0;
    for (; n < 2000; n++, now++) {
        (void) snprintf(line, sizeof(line), "line %u of this test\n", n);
        total += strlen(line);
        happened |= put(lf, line, now);
    }
    assert_int_equal(happened, LOGFILE_ROTATED);
    CLEANUP(free) char *fill = xmalloc(65536);
    memset(fill, 'b', 65536);
    int fd = open(ballast, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    happened = 0;
    for (; n < 9000; n++, now++) {
        (void) !write(fd, fill, 4096); /* takes what the log gives up */
        (void) snprintf(line, sizeof(line), "line %u of this test\n", n);
        total += strlen(line);
        happened |= put(lf, line, now);
    }
    assert_int_equal(close(fd), 0);
    assert_true((happened & LOGFILE_FULL) != 0);
    CLEANUP(free) char *rotated = in_scratch("small/x.log.1");
    assert_int_equal(access(rotated, F_OK), -1); /* gone before anything was dropped */
    assert_true(logfile_counters(lf).bytes_dropped > 0);
    assert_int_equal(unlink(ballast), 0);
    happened = 0;
    for (; n < 9100; n++, now += 50) {
        (void) snprintf(line, sizeof(line), "line %u of this test\n", n);
        total += strlen(line);
        happened |= put(lf, line, now);
    }
    assert_true((happened & LOGFILE_ROOM) != 0);
    struct logfile_counters counters = logfile_counters(lf);
    assert_int_equal(counters.bytes_written + counters.bytes_dropped, total);
    CLEANUP(free) char *got = get_chain(path, NULL);
    unsigned lines = 0;
    assert_int_equal(check_lines(got, &lines), counters.bytes_dropped);
    assert_true(lines > 100);
}

static void a_quiet_program_learns_of_room_by_the_clock(void **state)
{
    (void) state;
    if (!mount_small(16384)) {
        print_message("no tmpfs can be mounted here (needs root)\n");
        skip();
    }
    CLEANUP(free) char *path = in_scratch("small/x.log");
    CLEANUP(logfile) struct logfile *lf = open_log(path, 1 << 20, 0);
    CLEANUP(free) char *block = xmalloc(100000);
    memset(block, 'x', 100000);
    block[10] = '\n';
    assert_int_equal(logfile_write(lf, block, 100000, 0), LOGFILE_FULL);
    assert_int_equal(logfile_next_tick_ms(lf), 1000);
    assert_int_equal(truncate(path, 0), 0);
    /* In the middle of a line it waits a little for the rest of it. */
    int64_t now = 1000;
    unsigned happened = 0;
    for (; now <= 10000 && happened == 0; now += 1000) {
        happened = logfile_tick(lf, now);
    }
    assert_int_equal(happened, LOGFILE_ROOM);
    uint64_t first = logfile_dropped_bytes(lf);
    assert_int_equal(first, 100000 - 16384);
    assert_int_equal(logfile_next_tick_ms(lf), -1);
    assert_int_equal(put(lf, "rest\nnext\n", now + 2000), LOGFILE_ROOM);
    assert_int_equal(logfile_dropped_bytes(lf), 5);
    CLEANUP(free)
    char *want =
        xasprintf("edgible: %" PRIu64 " bytes of output were dropped: No space left on device\n"
                  "edgible: 5 bytes of output were dropped: No space left on device\nnext\n",
                  first);
    assert_file(path, want);
}

static int unmount(void **state)
{
    (void) state;
    unmount_small();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_and_file_are_made_with_their_modes),
        cmocka_unit_test(a_log_outside_is_made_and_rotated_by_the_workloads_user),
        cmocka_unit_test(what_the_workloads_user_may_not_write_is_no_log),
        cmocka_unit_test(whoever_is_entered_cannot_change_the_kernel),
        cmocka_unit_test(a_file_of_the_kernel_is_no_log),
        cmocka_unit_test(a_program_or_a_second_name_is_no_log),
        cmocka_unit_test(under_a_policy_content_of_others_is_no_log),
        cmocka_unit_test(the_policy_judges_each_opening),
        cmocka_unit_test(cutting_a_file_off_is_judged_like_a_rotation),
        cmocka_unit_test(rotation_leaves_others_files_alone),
        cmocka_unit_test(what_a_third_user_made_is_no_log),
        cmocka_unit_test(only_regular_files_are_opened),
        cmocka_unit_test(no_log_opens_nothing_and_takes_all),
        cmocka_unit_test(a_link_that_the_workload_made_is_not_followed),
        cmocka_unit_test(no_link_leads_to_the_log_folder),
        cmocka_unit_test(a_log_of_another_group_is_set_aside_once),
        cmocka_unit_test(a_link_that_another_user_can_move_is_not_followed),
        cmocka_unit_test(rotation_is_exact_to_the_line),
        cmocka_unit_test(the_oldest_goes),
        cmocka_unit_test(with_no_rotated_files_the_file_is_cut_off),
        cmocka_unit_test(a_line_longer_than_files_are_has_one_to_itself),
        cmocka_unit_test(an_endless_line_is_split),
        cmocka_unit_test(a_crash_between_two_renames_is_mended),
        cmocka_unit_test(a_crash_while_a_half_line_moves_is_mended),
        cmocka_unit_test(rotated_files_beyond_a_lower_limit_go),
        cmocka_unit_test(a_limit_that_is_lowered_holds_at_once),
        cmocka_unit_test(removal_moving_and_truncation_are_noticed),
        cmocka_unit_test(a_run_starts_on_a_new_line_unless_it_continues),
        cmocka_unit_test(the_tail_reaches_over_a_rotation),
        cmocka_unit_test(the_tail_is_bounded),
        cmocka_unit_test_teardown(a_full_disk_costs_old_files_then_output, unmount),
        cmocka_unit_test_teardown(a_quiet_program_learns_of_room_by_the_clock, unmount),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
