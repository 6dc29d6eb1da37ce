/* pump: kill -9 at random moments. A writer prints numbered lines into a pipe that it holds itself,
 * as a workload does, while one pump after the other is killed: no line is lost, doubled or torn.
 */
#include "../../src/io/pump_journal.h"
#include "edgible/pump.h"
#include "test_pump_kit.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define KILLS 150

struct shared {
    atomic_int stop;
    atomic_long lines; /* written by the writer at its end */
};

static struct shared *shared;
static int pipe_ends[2];

static void on_notify(void *arg)
{
    (void) arg;
}

/* In a child: lines of many lengths, several in a write, until told to stop. */
_Noreturn static void write_lines(void)
{
    char block[8192];
    long line = 0;
    while (!atomic_load(&shared->stop)) {
        size_t len = 0;
        long count = 1 + line % 37;
        for (long i = 0; i < count; i++, line++) {
            len += (size_t) snprintf(block + len, sizeof(block) - len, "line %ld %.*s\n", line,
                                     (int) (line % 150),
                                     "......................................."
                                     "........................................................."
                                     "..........................................................");
        }
        if (fd_write_all(pipe_ends[1], block, len, NULL) < 0) {
            _exit(1);
        }
    }
    atomic_store(&shared->lines, line);
    _exit(0);
}

/* In a child: an agent's pump, until it is killed. */
_Noreturn static void run_pump(const char *file, const char *journal, unsigned max_files,
                               bool continues)
{
    struct pump *pump = pump_new(journal, NULL, on_notify, NULL, NULL);
    struct pump_log log = {
        .file = file, .max_size_bytes = 150000, .max_files = max_files, NOBODY_ELSE};
    if (pump == NULL) {
        _exit(1);
    }
    struct pump_channel *ch = pump_open(pump, &log, NULL);
    pump_attach(ch, dup(pipe_ends[0]), 1, continues);
    for (;;) {
        (void) pause();
    }
}

static pid_t start(void (*fn)(void))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        fn();
    }
    return pid;
}

static void kill_pumps(const char *file, const char *journal, unsigned max_files, int kills)
{
    for (int i = 0; i < kills; i++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            run_pump(file, journal, max_files, i > 0);
        }
        struct timespec ts = {.tv_nsec = random() % 12 * 1000000 + random() % 1000000};
        (void) nanosleep(&ts, NULL);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
    }
}

/* Writes what is left as the last agent would, and ends. */
static void drain(const char *file, const char *journal, unsigned max_files)
{
    struct pump *pump = pump_new(journal, NULL, on_notify, NULL, NULL);
    assert_non_null(pump);
    struct pump_log log = {
        .file = file, .max_size_bytes = 150000, .max_files = max_files, NOBODY_ELSE};
    struct pump_channel *ch = pump_open(pump, &log, NULL);
    pump_attach(ch, dup(pipe_ends[0]), 1, true);
    int held = 1;
    for (int i = 0; i < 5000 && held > 0; i++) {
        sleep_ms(2);
        assert_int_equal(ioctl(pipe_ends[0], FIONREAD, &held), 0);
    }
    assert_int_equal(held, 0);
    pump_free(pump, 5000);
}

/* The lines of all files, oldest first, number by number. */
static void check_lines(const char *file, unsigned max_files, long expected)
{
    long line = 0;
    for (unsigned n = max_files + 1; n-- > 0;) {
        CLEANUP(free) char *path = n > 0 ? xasprintf("%s.%u", file, n) : xstrdup(file);
        CLEANUP(free) char *data = get_file(path, NULL);
        for (char *at = data; at != NULL && *at != '\0'; line++) {
            long found = -1;
            char *end = strchr(at, '\n');
            if (end == NULL) {
                fail_msg("%s: half a line at its end, '%.60s', not %ld", path, at, line);
            }
            *end = '\0';
            if (sscanf(at, "line %ld ", &found) != 1 || found != line ||
                strlen(strrchr(at, ' ') + 1) != (size_t) (line % 150)) {
                fail_msg("%s: '%.60s' stands where line %ld should", path, at, line);
            }
            at = end + 1;
        }
    }
    assert_int_equal(line, expected);
}

static void no_kill_loses_doubles_or_tears_a_line(void **state)
{
    (void) state;
    CLEANUP(free) char *file = in_scratch("killed.log");
    CLEANUP(free) char *journal = in_scratch("journal");
    unsigned max_files = 100000;
    assert_int_equal(mkdir(journal, 0700), 0);
    assert_int_equal(make_pipe(&pipe_ends[0], &pipe_ends[1]), 0);
    atomic_store(&shared->stop, 0);
    pid_t writer = start(write_lines);
    kill_pumps(file, journal, max_files, KILLS);
    atomic_store(&shared->stop, 1);
    /* It may wait for room in the pipe, which the last pump makes. */
    pid_t last = fork();
    assert_true(last >= 0);
    if (last == 0) {
        run_pump(file, journal, max_files, true);
    }
    int status = 0;
    assert_int_equal(waitpid(writer, &status, 0), writer);
    assert_int_equal(status, 0);
    assert_int_equal(kill(last, SIGKILL), 0);
    assert_int_equal(waitpid(last, NULL, 0), last);
    drain(file, journal, max_files);
    unsigned files = 0;
    for (bool there = true; there; files++) {
        CLEANUP(free) char *path = xasprintf("%s.%u", file, files + 1);
        there = access(path, F_OK) == 0;
    }
    print_message("%ld lines in %u files\n", atomic_load(&shared->lines), files);
    check_lines(file, files, atomic_load(&shared->lines));
}

static void nothing_is_left_of_the_journal_when_the_pump_is_freed(void **state)
{
    (void) state;
    CLEANUP(free) char *lane = in_scratch("journal/lane-0");
    assert_int_equal(access(lane, F_OK), -1);
}

struct refusal {
    uint64_t bytes;
    struct err err;
};

static struct refusal refusal;

static void on_refused(struct pump *pump, uint64_t bytes, const struct err *err)
{
    (void) pump;
    refusal = (struct refusal){.bytes = bytes, .err = *err};
}

/* What an agent leaves that is killed around its read from the pipe. */
static void leave_batch(const char *dir, const struct pump_log *log, int fd, bool has_read)
{
    struct pump_journal journal;
    CLEANUP(free) char *lane = xasprintf("%s/lane-0", dir);
    CLEANUP(free) char *left = xasprintf("%s/lane-1", dir);
    pump_journal_init(&journal, dir, 0);
    pump_journal_map(&journal);
    CLEANUP(logfile) struct logfile *lf = logfile_new(log);
    size_t want = pump_journal_begin(&journal, lf, fd, 4096);
    assert_true(!has_read || read(fd, journal.batch, want) > 0);
    assert_int_equal(rename(lane, left), 0);
    pump_journal_fini(&journal);
}

static char *make_journal_folder(const char *name)
{
    char *dir = in_scratch("%s", name);
    assert_int_equal(mkdir(dir, 0700), 0);
    return dir;
}

/* 0xFF is what a batch is filled with before a read. */
static void every_byte_of_a_batch_comes_back(void **state)
{
    (void) state;
    static const char *const texts[] = {
        "\xff",
        "a\xff\xff",
        "\xff\xff\n\xff",
        "line\n",
        "a line of more than 16 bytes\xff",
        "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"};
    CLEANUP(free) char *dir = make_journal_folder("bytes");
    CLEANUP(free) char *file = in_scratch("bytes.log");
    const struct pump_log log = {.file = file, .max_size_bytes = 1000, .max_files = 1, NOBODY_ELSE};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        int ends[2];
        int held = 0;
        assert_int_equal(make_pipe(&ends[0], &ends[1]), 0);
        assert_int_equal(fd_write_all(ends[1], texts[i], strlen(texts[i]), NULL), 0);
        leave_batch(dir, &log, ends[0], false);
        pump_journal_recover(dir, NULL, on_refused, NULL);
        assert_int_equal(access(file, F_OK), -1);
        assert_int_equal(ioctl(ends[0], FIONREAD, &held), 0);
        assert_int_equal(held, strlen(texts[i]));
        leave_batch(dir, &log, ends[0], true);
        pump_journal_recover(dir, NULL, on_refused, NULL);
        CLEANUP(free) char *written = get_file(file, NULL);
        assert_string_equal(written, texts[i]);
        assert_int_equal(unlink(file), 0);
        fd_close(&ends[0]);
        fd_close(&ends[1]);
    }
}

static void what_was_left_is_judged_by_todays_policy(void **state)
{
    (void) state;
    CLEANUP(free) char *dir = make_journal_folder("judged");
    CLEANUP(free) char *real = realpath(scratch, NULL);
    CLEANUP(free) char *file = xasprintf("%s/judged.log", real);
    const struct pump_log log = {.file = file, .max_size_bytes = 1000, .max_files = 1, NOBODY_ELSE};
    int ends[2];
    assert_int_equal(make_pipe(&ends[0], &ends[1]), 0);
    const char *const patterns[] = {"/nowhere/**", file};
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++) {
        CLEANUP(strv) struct strv allowed = {0};
        strv_add(&allowed, patterns[i]);
        assert_int_equal(fd_write_all(ends[1], "12345\n", 6, NULL), 0);
        leave_batch(dir, &log, ends[0], true);
        refusal = (struct refusal){0};
        pump_journal_recover(dir, &allowed, on_refused, NULL);
        bool is_allowed = patterns[i] == file;
        assert_int_equal(refusal.bytes, is_allowed ? 0 : 6);
        assert_int_equal(refusal.err.code, is_allowed ? 0 : ERR_SPEC);
        assert_int_equal(access(file, F_OK), is_allowed ? 0 : -1);
    }
    fd_close(&ends[0]);
    fd_close(&ends[1]);
}

static int make_shared(void **state)
{
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return shared == MAP_FAILED ? -1 : make_scratch(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_kill_loses_doubles_or_tears_a_line),
        cmocka_unit_test(every_byte_of_a_batch_comes_back),
        cmocka_unit_test(what_was_left_is_judged_by_todays_policy),
        cmocka_unit_test(nothing_is_left_of_the_journal_when_the_pump_is_freed),
    };
    return cmocka_run_group_tests(tests, make_shared, remove_scratch);
}
