/* pump: what the loop's thread sees of it, with real pipes and writers. */
#include "edgible/pump.h"
#include "test_pump_kit.h"

#include <dirent.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>

static atomic_int notified;

static void on_notify(void *arg)
{
    (void) arg;
    atomic_fetch_add(&notified, 1);
}

static struct pump *new_pump(void)
{
    struct err err = {.code = 0};
    struct pump *pump = pump_new(NULL, NULL, on_notify, NULL, &err);
    assert_non_null(pump);
    return pump;
}

/* Waits for an event of this type (of this channel where it is given); others are dropped. False
 * after wait_ms. */
static bool wait_event(struct pump *pump, const struct pump_channel *ch, enum pump_event_type type,
                       int wait_ms, struct pump_event *ret)
{
    int64_t end = clock_ms() + wait_ms;
    for (;;) {
        struct pump_event event;
        while (pump_next_event(pump, &event)) {
            if (event.type == type && (ch == NULL || event.channel == ch)) {
                *ret = event;
                return true;
            }
            strv_fini(&event.lines);
        }
        if (clock_ms() >= end) {
            return false;
        }
        sleep_ms(2);
    }
}

static void expect(struct pump *pump, const struct pump_channel *ch, enum pump_event_type type)
{
    struct pump_event event;
    if (!wait_event(pump, ch, type, 5000, &event)) {
        fail_msg("no event %d", (int) type);
    }
    strv_fini(&event.lines);
}

static struct pump_log log_of(const char *path, uint64_t max_size, unsigned max_files)
{
    return (struct pump_log){
        .file = path, .max_size_bytes = max_size, .max_files = max_files, NOBODY_ELSE};
}

static struct pump_channel *open_channel(struct pump *pump, const char *path)
{
    struct pump_log log = log_of(path, 1 << 20, 3);
    struct pump_channel *ch = pump_open(pump, &log, NULL);
    expect(pump, ch, PUMP_EV_OPENED);
    return ch;
}

/* A new run; the writing end is the caller's. */
static int attach(struct pump_channel *ch, uint64_t run)
{
    int read_end = -1;
    int write_end = -1;
    assert_int_equal(make_pipe(&read_end, &write_end), 0);
    pump_attach(ch, read_end, run, false);
    return write_end;
}

static void say(int fd, const char *text)
{
    assert_int_equal(fd_write_all(fd, text, strlen(text), NULL), 0);
}

static bool file_becomes(const char *path, const char *text, int wait_ms)
{
    for (int64_t end = clock_ms() + wait_ms; clock_ms() < end; sleep_ms(2)) {
        CLEANUP(free) char *data = get_file(path, NULL);
        if (data != NULL && strcmp(data, text) == 0) {
            return true;
        }
    }
    return false;
}

static void a_pipe_has_one_end_for_both_directions(void **state)
{
    (void) state;
    CLEANUP(close_fd) int read_end = -1;
    CLEANUP(close_fd) int write_end = -1;
    assert_int_equal(make_pipe(&read_end, &write_end), 0);
    assert_true((fcntl(read_end, F_GETFL) & O_NONBLOCK) != 0);
    assert_int_equal(fcntl(write_end, F_GETFL) & (O_NONBLOCK | O_ACCMODE), O_RDWR);
    assert_int_equal(fcntl(read_end, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fcntl(write_end, F_GETFD), FD_CLOEXEC);
    assert_true(fcntl(read_end, F_GETPIPE_SZ) >= 65536);
    if (geteuid() == 0) {
        assert_int_equal(fcntl(read_end, F_GETPIPE_SZ), PUMP_PIPE_BYTES);
    }
    fd_close(&read_end);
    say(write_end, "no SIGPIPE"); /* it holds the reading side itself */
}

static void lines_land_and_close_answers(void **state)
{
    (void) state;
    CLEANUP(free) char *path = in_scratch("land.log");
    struct pump *pump = new_pump();
    struct pump_channel *ch = open_channel(pump, path);
    CLEANUP(close_fd) int fd = attach(ch, 1);
    say(fd, "hello\n");
    assert_true(file_becomes(path, "hello\n", 2000));
    assert_int_equal(pump_channel_counters(ch).bytes_written, 6);
    say(fd, "half");
    CLEANUP(close_fd) int second = attach(ch, 2);
    say(second, "new\n");
    pump_close(ch);
    expect(pump, ch, PUMP_EV_CLOSED);
    assert_file(path, "hello\nhalf\nnew\n");
    assert_true(atomic_load(&notified) > 0);
    pump_free(pump, 1000);
}

static void a_tail_is_of_the_run_and_comes_after_what_the_pipe_holds(void **state)
{
    (void) state;
    CLEANUP(free) char *path = in_scratch("tail.log");
    struct pump *pump = new_pump();
    struct pump_channel *ch = open_channel(pump, path);
    CLEANUP(close_fd) int first = attach(ch, 1);
    say(first, "old\n");
    CLEANUP(close_fd) int second = attach(ch, 7);
    for (int n = 0; n < 100; n++) {
        CLEANUP(free) char *line = xasprintf("line %d\n", n);
        say(second, line);
    }
    pump_tail(ch);
    struct pump_event event;
    assert_true(wait_event(pump, ch, PUMP_EV_TAIL, 5000, &event));
    assert_int_equal(event.run, 7);
    assert_int_equal(event.lines.count, PUMP_TAIL_LINES);
    assert_string_equal(event.lines.items[0], "line 80");
    assert_string_equal(event.lines.items[19], "line 99");
    strv_fini(&event.lines);
    pump_free(pump, 1000);
}

static void a_failed_open_says_why_and_is_tried_again(void **state)
{
    (void) state;
    CLEANUP(free) char *path = in_scratch("failed.log");
    assert_int_equal(mkdir(path, 0755), 0);
    struct pump *pump = new_pump();
    struct pump_log log = log_of(path, 100, 1);
    int owner = 0;
    struct pump_channel *ch = pump_open(pump, &log, &owner);
    struct pump_event event;
    assert_true(wait_event(pump, ch, PUMP_EV_OPEN_FAILED, 5000, &event));
    assert_int_equal(event.error, EINVAL);
    assert_ptr_equal(event.owner, &owner);
    assert_non_null(strstr(event.message, "failed.log' is not a regular file"));
    pump_reopen(ch);
    expect(pump, ch, PUMP_EV_OPEN_FAILED);
    assert_false(pump_configure(ch, &log));
    assert_int_equal(rmdir(path), 0);
    pump_reopen(ch);
    expect(pump, ch, PUMP_EV_OPENED);
    pump_free(pump, 1000);
}

static void another_file_gets_what_comes_later(void **state)
{
    (void) state;
    CLEANUP(free) char *one = in_scratch("one.log");
    CLEANUP(free) char *two = in_scratch("two/two.log");
    struct pump *pump = new_pump();
    struct pump_channel *ch = open_channel(pump, one);
    CLEANUP(close_fd) int fd = attach(ch, 1);
    say(fd, "one\n");
    struct pump_log log = log_of(two, 4, 9);
    pump_configure(ch, &log);
    expect(pump, ch, PUMP_EV_OPENED);
    say(fd, "two\n");
    assert_true(file_becomes(two, "two\n", 2000));
    assert_file(one, "one\n");
    say(fd, "three\n");
    expect(pump, ch, PUMP_EV_ROTATED);
    log.max_size_bytes = 1000; /* the same file: no answer, and new limits */
    pump_configure(ch, &log);
    pump_tail(ch);
    expect(pump, ch, PUMP_EV_TAIL);
    say(fd, "four\n");
    assert_true(file_becomes(two, "three\nfour\n", 2000));
    assert_int_equal(pump_channel_counters(ch).bytes_written, 19);
    pump_free(pump, 1000);
}

#define LINES_EACH 300000
#define WRITERS 4

struct writer {
    int fd;
    int number;
};

static void *write_lines(void *arg)
{
    const struct writer *writer = arg;
    char block[4096];
    size_t len = 0;
    for (int n = 0; n < LINES_EACH; n++) {
        len += (size_t) snprintf(block + len, sizeof(block) - len, "w%d %d %.*s\n", writer->number,
                                 n, n % 40, "........................................");
        /* Some write each line, some many at once, as programs do; never more than PIPE_BUF. */
        if (writer->number % 2 == 0 || len > sizeof(block) - 100) {
            assert_int_equal(fd_write_all(writer->fd, block, len, NULL), 0);
            len = 0;
        }
    }
    assert_int_equal(fd_write_all(writer->fd, block, len, NULL), 0);
    return NULL;
}

static void count_lines(const char *path, int next[WRITERS])
{
    CLEANUP(free) char *all = get_chain(path, NULL);
    for (char *line = all; *line != '\0';) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        int writer = -1;
        int n = -1;
        int used = 0;
        *end = '\0';
        assert_int_equal(sscanf(line, "w%d %d %n", &writer, &n, &used), 2);
        assert_in_range(writer, 0, WRITERS - 1);
        assert_int_equal(n, next[writer]);
        assert_int_equal(strspn(line + used, "."), n % 40);
        assert_int_equal(end - line, used + n % 40);
        next[writer]++;
        line = end + 1;
    }
}

/* Two writers to a pipe, two pipes: 1.2 million lines over hundreds of rotations. */
static void no_line_is_lost_or_doubled_over_rotations(void **state)
{
    (void) state;
    struct pump *pump = new_pump();
    char *paths[2];
    struct pump_channel *channels[2];
    int fds[2];
    for (int i = 0; i < 2; i++) {
        paths[i] = in_scratch("many%d.log", i);
        struct pump_log log = log_of(paths[i], 100000, 100000);
        channels[i] = pump_open(pump, &log, NULL);
        fds[i] = attach(channels[i], 1);
    }
    pthread_t threads[WRITERS];
    struct writer writers[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.fd = fds[i / 2], .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &writers[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        (void) pthread_join(threads[i], NULL);
    }
    int next[WRITERS] = {0};
    for (int i = 0; i < 2; i++) {
        pump_close(channels[i]);
        expect(pump, channels[i], PUMP_EV_CLOSED);
        fd_close(&fds[i]);
        count_lines(paths[i], next);
        free(paths[i]);
    }
    for (int i = 0; i < WRITERS; i++) {
        assert_int_equal(next[i], LINES_EACH);
    }
    pump_free(pump, 1000);
}

static void free_writes_what_the_pipes_hold(void **state)
{
    (void) state;
    struct pump *pump = new_pump();
    CLEANUP(free) char *path = in_scratch("free.log");
    struct pump_log log = log_of(path, 1 << 30, 1);
    struct pump_channel *ch = pump_open(pump, &log, NULL);
    CLEANUP(close_fd) int fd = attach(ch, 1);
    CLEANUP(free) char *block = xmalloc(400000);
    memset(block, 'z', 400000);
    assert_int_equal(fd_write_all(fd, block, 400000, NULL), 0);
    pump_free(pump, 5000);
    assert_int_equal(file_size(path), 400000);
}

static void a_removed_file_comes_back_while_quiet_and_while_busy(void **state)
{
    (void) state;
    CLEANUP(free) char *dir = in_scratch("gone");
    CLEANUP(free) char *path = in_scratch("gone/x.log");
    CLEANUP(free) char *away = in_scratch("gone-away");
    struct pump *pump = new_pump();
    struct pump_channel *ch = open_channel(pump, path);
    CLEANUP(close_fd) int fd = attach(ch, 1);
    say(fd, "one\n");
    assert_true(file_becomes(path, "one\n", 2000));
    assert_int_equal(unlink(path), 0);
    assert_true(file_becomes(path, "", 10000));
    expect(pump, ch, PUMP_EV_REOPENED);
    assert_int_equal(rename(dir, away), 0);
    assert_true(file_becomes(path, "", 10000));
    /* The new folder is watched as well. */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
    assert_true(file_becomes(path, "", 10000));
    int64_t end = clock_ms() + 1000;
    assert_int_equal(rename(path, away), -1);
    assert_int_equal(unlink(path), 0);
    while (clock_ms() < end) {
        say(fd, "busy\n");
        sleep_ms(1);
    }
    assert_true(file_size(path) > 0);
    CLEANUP(free) char *data = get_file(path, NULL);
    assert_memory_equal(data, "busy\n", 5);
    pump_tail(ch);
    expect(pump, ch, PUMP_EV_TAIL); /* all of it has been written */
    assert_int_equal(truncate(path, 0), 0);
    say(fd, "cut\n");
    assert_true(file_becomes(path, "cut\n", 2000));
    pump_free(pump, 1000);
}

/* As quickly as that, it goes before the new folder is watched. */
static void a_folder_that_goes_as_soon_as_it_comes_is_made_again(void **state)
{
    (void) state;
    CLEANUP(free) char *dir = in_scratch("fleeting");
    CLEANUP(free) char *path = in_scratch("fleeting/x.log");
    struct pump *pump = new_pump();
    struct pump_channel *ch = open_channel(pump, path);
    for (int round = 0; round < 12; round++) {
        int64_t end = clock_ms() + 10000;
        while (unlink(path) < 0 && clock_ms() < end) {
        }
        (void) rmdir(dir);
        assert_true(clock_ms() < end);
    }
    assert_true(file_becomes(path, "", 10000));
    pump_close(ch);
    pump_free(pump, 1000);
}

static void *flood(void *arg)
{
    int fd = *(int *) arg;
    static const char block[65536] = {'\n'};
    while (write(fd, block, sizeof(block)) > 0) {
    }
    return NULL;
}

static void a_chatty_workload_starves_nobody(void **state)
{
    (void) state;
    CLEANUP(free) char *loud = in_scratch("loud.log");
    CLEANUP(free) char *quiet = in_scratch("quiet.log");
    struct pump *pump = new_pump();
    struct pump_channel *loud_ch = open_channel(pump, loud);
    struct pump_channel *quiet_ch = open_channel(pump, quiet);
    CLEANUP(close_fd) int quiet_fd = attach(quiet_ch, 1);
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    pump_attach(loud_ch, ends[0], 1, false);
    (void) signal(SIGPIPE, SIG_IGN);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, flood, &ends[1]), 0);
    CLEANUP(free) char *want = xstrdup("");
    for (int n = 0; n < 20; n++) {
        sleep_ms(20);
        say(quiet_fd, "q\n");
        char *more = xasprintf("%sq\n", want);
        free(want);
        want = more;
        assert_true(file_becomes(quiet, want, 500));
    }
    assert_true(pump_channel_counters(loud_ch).bytes_written > 1000000);
    pump_close(loud_ch); /* ends although the writer goes on for ever */
    expect(pump, loud_ch, PUMP_EV_CLOSED);
    (void) pthread_join(thread, NULL);
    (void) close(ends[1]);
    pump_free(pump, 1000);
}

static void a_full_disk_is_told_and_never_blocks(void **state)
{
    (void) state;
    if (!mount_small(65536)) {
        print_message("no tmpfs can be mounted here (needs root)\n");
        skip();
    }
    CLEANUP(free) char *path = in_scratch("small/d/x.log");
    CLEANUP(free) char *ballast = in_scratch("small/ballast");
    CLEANUP(close_fd) int full = open(ballast, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CLEANUP(free) char *block = xcalloc(1, 65536);
    memset(block, 'b', 65536);
    assert_int_equal(write(full, block, 65536), 65536);
    struct pump *pump = new_pump();
    struct pump_channel *ch = open_channel(pump, path); /* opened, though nothing can be written */
    CLEANUP(close_fd) int fd = attach(ch, 1);
    for (int n = 0; n < 2000; n++) {
        say(fd, "0123456789012345678901234567890123456789012345678901234567890123456789\n");
    }
    struct pump_event event;
    assert_true(wait_event(pump, ch, PUMP_EV_DISK_FULL, 3000, &event));
    assert_int_equal(event.error, ENOSPC);
    assert_non_null(strstr(event.message, "x.log"));
    assert_int_equal(ftruncate(full, 0), 0);
    assert_true(wait_event(pump, ch, PUMP_EV_DROPPED, 3000, &event));
    assert_int_equal(event.bytes, 71 * 2000);
    say(fd, "again\n");
    CLEANUP(free)
    char *want = xasprintf("edgible: %d bytes of output were dropped: No space left "
                           "on device\nagain\n",
                           71 * 2000);
    assert_true(file_becomes(path, want, 2000));
    assert_int_equal(pump_channel_counters(ch).bytes_dropped, 71 * 2000);
    pump_free(pump, 1000);
}

static int unmount(void **state)
{
    (void) state;
    unmount_small();
    return 0;
}

/* Sums a number of /proc/self/task/<tid>/status over the threads of the pump. */
static long sum_of_threads(const char *field, int *ret_threads)
{
    long sum = 0;
    *ret_threads = 0;
    DIR *dir = opendir("/proc/self/task");
    assert_non_null(dir);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        CLEANUP(free) char *path = xasprintf("/proc/self/task/%s/status", entry->d_name);
        CLEANUP(free) char *text = get_file(path, NULL);
        if (text == NULL || strstr(text, "Name:\tedgible-log") == NULL) {
            continue;
        }
        const char *at = strstr(text, field);
        assert_non_null(at);
        sum += strtol(at + strlen(field), NULL, 10);
        (*ret_threads)++;
    }
    (void) closedir(dir);
    return sum;
}

static void an_idle_pump_does_not_wake_up(void **state)
{
    (void) state;
    CLEANUP(free) char *path = in_scratch("idle.log");
    struct pump *pump = new_pump();
    struct pump_channel *ch = open_channel(pump, path);
    int fd = attach(ch, 1);
    say(fd, "hello\n");
    fd_close(&fd); /* the end of the pipe must not wake it either */
    sleep_ms(3500);
    int threads = 0;
    long before = sum_of_threads("\nvoluntary_ctxt_switches:", &threads);
    assert_int_equal(threads, 2);
    sleep_ms(2000);
    assert_int_equal(sum_of_threads("\nvoluntary_ctxt_switches:", &threads), before);
    pump_free(pump, 1000);
}

static void a_thousand_idle_logs_are_small(void **state)
{
    (void) state;
    static struct pump_channel *channels[1000];
    struct pump *pump = new_pump();
    struct mallinfo2 before = mallinfo2();
    for (size_t i = 0; i < ARRAY_LEN(channels); i++) {
        CLEANUP(free) char *path = in_scratch("thousand/%zu.log", i);
        struct pump_log log = log_of(path, 1 << 20, 3);
        channels[i] = pump_open(pump, &log, NULL);
    }
    for (size_t i = 0; i < ARRAY_LEN(channels); i++) {
        expect(pump, NULL, PUMP_EV_OPENED);
    }
    struct mallinfo2 after = mallinfo2();
    /* Zero under sanitizers, which have an allocator of their own. */
    assert_true(after.uordblks < before.uordblks + 1536 * ARRAY_LEN(channels));
    for (size_t i = 0; i < ARRAY_LEN(channels); i++) {
        pump_close(channels[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(channels); i++) {
        expect(pump, NULL, PUMP_EV_CLOSED);
    }
    pump_free(pump, 1000);
}

static void everything_at_once_is_free_of_races(void **state)
{
    (void) state;
    struct pump *pump = new_pump();
    struct pump_channel *channels[16];
    int fds[16];
    for (size_t i = 0; i < 16; i++) {
        CLEANUP(free) char *path = in_scratch("race%zu.log", i % 12);
        struct pump_log log = log_of(path, 5000, 2);
        channels[i] = pump_open(pump, &log, NULL);
        fds[i] = attach(channels[i], 1);
    }
    unsigned seed = 7;
    for (int n = 0; n < 4000; n++) {
        size_t i = (size_t) rand_r(&seed) % 16;
        CLEANUP(free) char *path = in_scratch("race%d.log", rand_r(&seed) % 12);
        switch (rand_r(&seed) % 8) {
        case 0:
            pump_tail(channels[i]);
            break;
        case 1:
            fd_close(&fds[i]);
            fds[i] = attach(channels[i], (uint64_t) n);
            break;
        case 2: {
            struct pump_log log = log_of(path, 4000, 1);
            pump_configure(channels[i], &log);
            break;
        }
        case 3:
            (void) unlink(path);
            break;
        case 4:
            (void) pump_channel_counters(channels[i]);
            pump_reopen(channels[i]);
            break;
        default:
            say(fds[i], "some text that is a line\nand half of one");
        }
        struct pump_event event;
        while (pump_next_event(pump, &event)) {
            strv_fini(&event.lines);
        }
    }
    for (size_t i = 0; i < 16; i++) {
        if (i % 2 == 0) {
            pump_close(channels[i]);
        }
        fd_close(&fds[i]);
    }
    pump_free(pump, 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pipe_has_one_end_for_both_directions),
        cmocka_unit_test(lines_land_and_close_answers),
        cmocka_unit_test(a_tail_is_of_the_run_and_comes_after_what_the_pipe_holds),
        cmocka_unit_test(a_failed_open_says_why_and_is_tried_again),
        cmocka_unit_test(another_file_gets_what_comes_later),
        cmocka_unit_test(no_line_is_lost_or_doubled_over_rotations),
        cmocka_unit_test(free_writes_what_the_pipes_hold),
        cmocka_unit_test(a_removed_file_comes_back_while_quiet_and_while_busy),
        cmocka_unit_test(a_folder_that_goes_as_soon_as_it_comes_is_made_again),
        cmocka_unit_test(a_chatty_workload_starves_nobody),
        cmocka_unit_test_teardown(a_full_disk_is_told_and_never_blocks, unmount),
        cmocka_unit_test(an_idle_pump_does_not_wake_up),
        cmocka_unit_test(a_thousand_idle_logs_are_small),
        cmocka_unit_test(everything_at_once_is_free_of_races),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
