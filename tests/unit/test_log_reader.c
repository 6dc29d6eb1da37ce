/* A log is read by several while it is written and rotated: nothing lost, nothing doubled. */
#include "edgible/buf.h"
#include "edgible/fd.h"
#include "edgible/log_reader.h"
#include "edgible/logfile.h"
#include "edgible/pump.h"
#include "sys_test.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

static const struct log_owner agents_own = {.uid = (uid_t) -1, .gid = (gid_t) -1};

#define DEADLINE_MS 60000

/* A log in a folder of its own, written as the pump writes it. */
struct stage {
    char root[64];
    char *path;
    struct log_place *place;
    struct logfile *file;
    unsigned max_files;
};

/* A reader, and how it is waited for. */
struct watcher {
    struct log_reader *reader;
    int event_fd;
    struct buf got;
    bool ended;
};

static int make_stage(void **state)
{
    struct stage *stage = xcalloc(1, sizeof(*stage));
    (void) snprintf(stage->root, sizeof(stage->root), "/tmp/edgible-reader.XXXXXX");
    if (mkdtemp(stage->root) == NULL) {
        return -1;
    }
    stage->path = xasprintf("%s/web.log", stage->root);
    *state = stage;
    return 0;
}

static int strike_stage(void **state)
{
    struct stage *stage = *state;
    logfile_free(stage->file);
    log_place_unref(stage->place);
    int rc = remove_tree(stage->root);
    free(stage->path);
    free(stage);
    return rc;
}

static void open_log(struct stage *stage, uint64_t max_size, unsigned max_files)
{
    struct pump_log log = {
        .file = stage->path,
        .max_size_bytes = max_size,
        .max_files = max_files,
        .owner = {.uid = (uid_t) -1, .gid = (gid_t) -1}
    };
    unsigned happened = 0;
    stage->max_files = max_files;
    stage->place = log_place_new();
    stage->file = logfile_new(&log);
    logfile_set_place(stage->file, stage->place);
    assert_int_equal(logfile_open(stage->file, 0, &happened, NULL), 0);
}

static void write_lines(struct stage *stage, int from, int to)
{
    for (int i = from; i <= to; i++) {
        char line[32];
        int len = snprintf(line, sizeof(line), "line %d\n", i);
        /* In two pieces now and then, so that rotation finds half a line. */
        size_t first = i % 3 == 0 ? 4 : (size_t) len;
        (void) logfile_write(stage->file, line, first, 0);
        if (first < (size_t) len) {
            (void) logfile_write(stage->file, line + first, (size_t) len - first, 0);
        }
    }
}

static void on_notify(void *arg)
{
    struct watcher *watcher = arg;
    uint64_t one = 1;
    (void) !write(watcher->event_fd, &one, sizeof(one));
}

static void begin(const struct stage *stage, struct watcher *watcher, size_t lines, bool follow)
{
    *watcher = (struct watcher){.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    struct log_reader_params params = {
        .file = stage->path,
        .max_files = stage->max_files,
        .place = stage->place,
        .lines = lines,
        .follow = follow,
        .notify = on_notify,
        .arg = watcher,
    };
    watcher->reader = log_reader_new(&params, NULL);
    assert_non_null(watcher->reader);
}

static void end(struct watcher *watcher)
{
    log_reader_free(watcher->reader);
    (void) close(watcher->event_fd);
    buf_fini(&watcher->got);
}

static bool take(struct watcher *watcher)
{
    char data[1000];
    struct err err = {0};
    ssize_t n = log_reader_take(watcher->reader, data, sizeof(data), &err);
    assert_int_equal(err.code, 0);
    watcher->ended = n < 0;
    if (n > 0) {
        buf_add(&watcher->got, data, (size_t) n);
    }
    return n > 0;
}

/* Until it has the text, or has ended where text is NULL. */
static void read_until(struct watcher *watcher, const char *text)
{
    for (;;) {
        while (take(watcher)) {
        }
        if (watcher->ended || (text != NULL && strstr(buf_str(&watcher->got), text) != NULL)) {
            return;
        }
        struct pollfd fd = {.fd = watcher->event_fd, .events = POLLIN};
        uint64_t count = 0;
        if (poll(&fd, 1, DEADLINE_MS) != 1) {
            fail_msg("nothing comes after: …%s",
                     buf_str(&watcher->got) +
                         (watcher->got.len > 200 ? watcher->got.len - 200 : 0));
        }
        (void) !read(watcher->event_fd, &count, sizeof(count));
    }
}

/* Lines from..to, each once and in order. */
static void check_lines(const struct watcher *watcher, int from, int to)
{
    const char *at = buf_str(&watcher->got);
    for (int i = from; i <= to; i++) {
        char line[32];
        int len = snprintf(line, sizeof(line), "line %d\n", i);
        if (strncmp(at, line, (size_t) len) != 0) {
            fail_msg("wanted line %d, found: %.40s", i, at);
        }
        at += len;
    }
    assert_int_equal(*at, '\0');
}

static void the_last_lines_come_from_rotated_files_too(void **state)
{
    struct stage *stage = *state;
    struct watcher watcher;
    open_log(stage, 1000, 5);
    write_lines(stage, 1, 500);
    static const size_t counts[] = {0, 1, 2, 100, 150, 300};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        begin(stage, &watcher, counts[i], false);
        read_until(&watcher, NULL);
        check_lines(&watcher, 501 - (int) counts[i], 500);
        end(&watcher);
    }
}

static void more_lines_than_there_are_is_all(void **state)
{
    struct stage *stage = *state;
    struct watcher watcher;
    open_log(stage, 100000, 5);
    write_lines(stage, 1, 10);
    begin(stage, &watcher, 1000, false);
    read_until(&watcher, NULL);
    check_lines(&watcher, 1, 10);
    end(&watcher);
}

static void without_a_file_there_is_nothing_and_a_follower_waits_for_it(void **state)
{
    struct stage *stage = *state;
    struct watcher once;
    struct watcher follower;
    begin(stage, &once, 10, false);
    read_until(&once, NULL);
    assert_int_equal(once.got.len, 0);
    end(&once);
    begin(stage, &follower, 10, true);
    open_log(stage, 100000, 5);
    write_lines(stage, 1, 3);
    read_until(&follower, "line 3\n");
    check_lines(&follower, 1, 3);
    end(&follower);
}

static void an_unfinished_line_is_read_and_goes_on(void **state)
{
    struct stage *stage = *state;
    struct watcher watcher;
    open_log(stage, 100000, 5);
    write_lines(stage, 1, 2);
    (void) logfile_write(stage->file, "line", 4, 0);
    begin(stage, &watcher, 1, true);
    read_until(&watcher, "line");
    (void) logfile_write(stage->file, " 3\n", 3, 0);
    read_until(&watcher, "line 3\n");
    check_lines(&watcher, 3, 3);
    end(&watcher);
}

struct writing {
    struct stage *stage;
    int to;
    atomic_bool done;
};

static void *write_all(void *arg)
{
    struct writing *writing = arg;
    for (int i = 1; i <= writing->to; i += 50) {
        write_lines(writing->stage, i, i + 49);
        struct timespec pause = {.tv_nsec = 200000};
        (void) nanosleep(&pause, NULL);
    }
    atomic_store(&writing->done, true);
    return NULL;
}

static void eight_followers_lose_and_double_nothing_over_rotations(void **state)
{
    struct stage *stage = *state;
    struct watcher watchers[8];
    pthread_t thread;
    open_log(stage, 2000, 50);
    struct writing writing = {.stage = stage, .to = 10000};
    for (size_t i = 0; i < ARRAY_LEN(watchers); i++) {
        begin(stage, &watchers[i], 10, true);
    }
    assert_int_equal(pthread_create(&thread, NULL, write_all, &writing), 0);
    for (size_t i = 0; i < ARRAY_LEN(watchers); i++) {
        read_until(&watchers[i], "line 10000\n");
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(watchers); i++) {
        /* One that began late has the last ten lines of then; from there on none is missing. */
        int from = (int) strtol(buf_str(&watchers[i].got) + strlen("line "), NULL, 10);
        check_lines(&watchers[i], from, 10000);
        end(&watchers[i]);
    }
}

/* What was delivered and what was missed is what was written, to the byte; but where it breaks off
 * in the middle of a line, a line feed is added before the sentence that says so. */
static void check_sum(const struct watcher *watcher, uint64_t written)
{
    uint64_t sum = 0;
    uint64_t breaks = 0;
    for (const char *at = buf_str(&watcher->got); *at != '\0';) {
        static const char mark[] = "[edgible: ";
        size_t len = strcspn(at, "\n") + 1;
        bool is_said = strncmp(at, mark, strlen(mark)) == 0;
        sum += is_said ? strtoull(at + strlen(mark), NULL, 10) : len;
        breaks += is_said ? 1 : 0;
        at += len;
    }
    assert_in_range(sum, written, written + breaks);
}

static uint64_t bytes_of_lines(int to)
{
    uint64_t sum = 0;
    for (int i = 1; i <= to; i++) {
        sum += (uint64_t) snprintf(NULL, 0, "line %d\n", i);
    }
    return sum;
}

static void what_a_slow_reader_misses_is_counted(void **state, unsigned max_files)
{
    struct stage *stage = *state;
    struct watcher watcher;
    open_log(stage, 20000, max_files);
    write_lines(stage, 1, 1);
    begin(stage, &watcher, 10, true);
    read_until(&watcher, "line 1\n");
    write_lines(stage, 2, 100000);
    read_until(&watcher, "line 100000\n");
    assert_non_null(strstr(buf_str(&watcher.got), "bytes of the log missed]"));
    check_sum(&watcher, bytes_of_lines(100000));
    end(&watcher);
}

static void what_a_slow_reader_misses_of_rotated_files_is_counted(void **state)
{
    what_a_slow_reader_misses_is_counted(state, 2);
}

static void what_it_misses_of_a_file_that_is_cut_off_is_counted(void **state)
{
    what_a_slow_reader_misses_is_counted(state, 0);
}

/* One that has taken a bit of the first of five files, before these were there. */
static void fall_behind(struct stage *stage, struct watcher *watcher, bool follow)
{
    open_log(stage, 500000, 10);
    write_lines(stage, 1, 40000);
    begin(stage, watcher, 100000, follow);
    while (!take(watcher)) {
        struct pollfd fd = {.fd = watcher->event_fd, .events = POLLIN};
        assert_int_equal(poll(&fd, 1, DEADLINE_MS), 1);
    }
    write_lines(stage, 40001, 210000);
}

static void where_the_next_file_is_out_of_reach_a_reader_ends(void **state)
{
    struct stage *stage = *state;
    struct watcher watcher;
    CLEANUP(free) char *away = xasprintf("%s.away", stage->root);
    fall_behind(stage, &watcher, false);
    assert_int_equal(rename(stage->root, away), 0);
    read_until(&watcher, NULL);
    assert_true(watcher.ended);
    assert_int_equal(rename(away, stage->root), 0);
    end(&watcher);
}

static void where_the_next_file_is_out_of_reach_a_follower_waits_for_it(void **state)
{
    struct stage *stage = *state;
    struct watcher watcher;
    CLEANUP(free) char *away = xasprintf("%s.away", stage->root);
    fall_behind(stage, &watcher, true);
    assert_int_equal(rename(stage->root, away), 0);
    read_until(&watcher, "line 40000\n");
    assert_int_equal(rename(away, stage->root), 0);
    read_until(&watcher, "line 210000\n");
    check_lines(&watcher, 1, 210000);
    end(&watcher);
}

static void a_gap_among_the_files_is_counted(void **state)
{
    struct stage *stage = *state;
    struct watcher watcher;
    CLEANUP(free) char *second = xasprintf("%s.2", stage->path);
    fall_behind(stage, &watcher, true);
    assert_int_equal(unlink(second), 0);
    read_until(&watcher, "line 210000\n");
    assert_non_null(strstr(buf_str(&watcher.got), "bytes of the log missed]"));
    check_sum(&watcher, bytes_of_lines(210000));
    end(&watcher);
}

static void a_file_that_somebody_takes_away_is_read_to_its_end(void **state)
{
    struct stage *stage = *state;
    struct watcher watcher;
    open_log(stage, 100000, 5);
    write_lines(stage, 1, 5);
    begin(stage, &watcher, 100, true);
    read_until(&watcher, "line 5\n");
    assert_int_equal(unlink(stage->path), 0);
    (void) logfile_check(stage->file, 1000000);
    write_lines(stage, 6, 9);
    read_until(&watcher, "line 9\n");
    check_lines(&watcher, 1, 9);
    end(&watcher);
}

static void another_file_is_gone_over_to(void **state)
{
    struct stage *stage = *state;
    struct watcher watcher;
    open_log(stage, 100000, 5);
    write_lines(stage, 1, 5);
    begin(stage, &watcher, 100, true);
    read_until(&watcher, "line 5\n");
    CLEANUP(free) char *other = xasprintf("%s/other.log", stage->root);
    log_reader_set_file(watcher.reader, other, &agents_own, NULL, 5, NULL);
    free(stage->path);
    stage->path = xstrdup(other);
    logfile_free(stage->file);
    log_place_close(stage->place);
    log_place_unref(stage->place);
    open_log(stage, 100000, 5);
    log_reader_set_file(watcher.reader, other, &agents_own, NULL, 5, stage->place);
    write_lines(stage, 6, 9);
    read_until(&watcher, "line 9\n");
    check_lines(&watcher, 1, 9);
    end(&watcher);
}

/* What a reader from that place gets is the rest of all. */
static void check_from(const struct stage *stage, const struct log_position *from, const char *rest)
{
    struct watcher watcher = {.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    struct log_reader_params params = {
        .file = stage->path,
        .max_files = stage->max_files,
        .place = stage->place,
        .from = from,
        .notify = on_notify,
        .arg = &watcher,
    };
    watcher.reader = log_reader_new(&params, NULL);
    assert_non_null(watcher.reader);
    read_until(&watcher, NULL);
    assert_string_equal(buf_str(&watcher.got), rest);
    end(&watcher);
}

static void a_reader_goes_on_from_each_place_over_rotations(void **state)
{
    struct stage *stage = *state;
    struct watcher all;
    struct watcher framed = {.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    open_log(stage, 1000, 8);
    write_lines(stage, 1, 500);
    begin(stage, &all, 1000, false);
    read_until(&all, NULL);
    check_lines(&all, 1, 500);
    struct log_reader_params params = {
        .file = stage->path,
        .max_files = stage->max_files,
        .place = stage->place,
        .lines = 1000,
        .framed = true,
        .notify = on_notify,
        .arg = &framed,
    };
    framed.reader = log_reader_new(&params, NULL);
    assert_non_null(framed.reader);
    read_until(&framed, NULL);
    const char *rest = buf_str(&all.got);
    size_t pieces = 0;
    for (const char *at = buf_str(&framed.got); *at != '\0'; pieces++) {
        unsigned long long inode = 0;
        unsigned long long offset = 0;
        unsigned long long len = 0;
        assert_int_equal(sscanf(at, "%llu %llu %llu", &inode, &offset, &len), 3);
        at = strchr(at, '\n') + 1;
        assert_memory_equal(at, rest, len);
        const unsigned long long steps[] = {0, 1, len / 2, len};
        for (size_t i = 0; i < ARRAY_LEN(steps) && steps[i] <= len; i++) {
            struct log_position from = {inode, offset + steps[i]};
            check_from(stage, &from, rest + steps[i]);
        }
        at += len;
        rest += len;
    }
    assert_string_equal(rest, "");
    assert_true(pieces > 4);
    check_from(stage, &(struct log_position){.inode = UINT64_MAX, .offset = 5}, buf_str(&all.got));
    check_from(stage, &(struct log_position){0}, buf_str(&all.got));
    end(&framed);
    end(&all);
}

/* Its writer may still go by the old limit. */
static void a_reader_removes_nothing_where_fewer_files_are_kept(void **state)
{
    struct stage *stage = *state;
    struct watcher watcher;
    open_log(stage, 100, 5);
    write_lines(stage, 1, 200);
    CLEANUP(free) char *oldest = xasprintf("%s.5", stage->path);
    assert_int_equal(access(oldest, F_OK), 0);
    begin(stage, &watcher, 3, true);
    read_until(&watcher, "line 200\n");
    log_reader_set_file(watcher.reader, stage->path, &agents_own, NULL, 0, stage->place);
    for (int i = 201; i <= 205; i++) { /* in between it takes the change */
        CLEANUP(free) char *line = xasprintf("line %d\n", i);
        write_lines(stage, i, i);
        read_until(&watcher, line);
    }
    assert_int_equal(access(oldest, F_OK), 0);
    end(&watcher);
}

static void one_is_freed_in_any_state(void **state)
{
    struct stage *stage = *state;
    open_log(stage, 10000000, 5);
    write_lines(stage, 1, 50000);
    for (int i = 0; i < 100; i++) {
        struct watcher watcher;
        begin(stage, &watcher, i % 2 == 0 ? 0 : 100000, i % 3 != 0);
        if (i % 4 == 0) {
            (void) take(&watcher);
        }
        end(&watcher);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_last_lines_come_from_rotated_files_too, make_stage,
                                        strike_stage),
        cmocka_unit_test_setup_teardown(more_lines_than_there_are_is_all, make_stage, strike_stage),
        cmocka_unit_test_setup_teardown(without_a_file_there_is_nothing_and_a_follower_waits_for_it,
                                        make_stage, strike_stage),
        cmocka_unit_test_setup_teardown(an_unfinished_line_is_read_and_goes_on, make_stage,
                                        strike_stage),
        cmocka_unit_test_setup_teardown(eight_followers_lose_and_double_nothing_over_rotations,
                                        make_stage, strike_stage),
        cmocka_unit_test_setup_teardown(what_a_slow_reader_misses_of_rotated_files_is_counted,
                                        make_stage, strike_stage),
        cmocka_unit_test_setup_teardown(what_it_misses_of_a_file_that_is_cut_off_is_counted,
                                        make_stage, strike_stage),
        cmocka_unit_test_setup_teardown(where_the_next_file_is_out_of_reach_a_reader_ends,
                                        make_stage, strike_stage),
        cmocka_unit_test_setup_teardown(where_the_next_file_is_out_of_reach_a_follower_waits_for_it,
                                        make_stage, strike_stage),
        cmocka_unit_test_setup_teardown(a_gap_among_the_files_is_counted, make_stage, strike_stage),
        cmocka_unit_test_setup_teardown(a_file_that_somebody_takes_away_is_read_to_its_end,
                                        make_stage, strike_stage),
        cmocka_unit_test_setup_teardown(another_file_is_gone_over_to, make_stage, strike_stage),
        cmocka_unit_test_setup_teardown(a_reader_goes_on_from_each_place_over_rotations, make_stage,
                                        strike_stage),
        cmocka_unit_test_setup_teardown(a_reader_removes_nothing_where_fewer_files_are_kept,
                                        make_stage, strike_stage),
        cmocka_unit_test_setup_teardown(one_is_freed_in_any_state, make_stage, strike_stage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
