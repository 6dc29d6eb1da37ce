#include "edgible/fd.h"
#include "edgible/log.h"
#include "edgible/mem.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* stderr as a pipe that nobody but the test reads. */
struct capture {
    int saved;
    int read_end;
};

static void capture_start(struct capture *capture)
{
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    capture->saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    assert_int_equal(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
    capture->read_end = fds[0];
    fd_close(&fds[1]);
    assert_int_equal(fd_set_nonblocking(capture->read_end, NULL), 0);
}

/* What has been written so far, cut at size. */
static void capture_read(const struct capture *capture, char *text, size_t size)
{
    ssize_t n = read(capture->read_end, text, size - 1);
    text[n > 0 ? n : 0] = '\0';
}

static void capture_end(struct capture *capture)
{
    assert_int_equal(dup2(capture->saved, STDERR_FILENO), STDERR_FILENO);
    fd_close(&capture->saved);
    fd_close(&capture->read_end);
}

/* Without the time, which is "2026-11-23T09:00:00.123Z" long. */
#define TIME_LEN 24

static void lines_have_time_level_subsystem_message_and_fields(void **state)
{
    (void) state;
    struct capture capture;
    char text[1024];
    const struct log_field fields[] = {
        {"app",   "web"      },
        {"none",  NULL       },
        {"empty", ""         },
        {"path",  "/a b"     },
        {"text",  "a\"b\nc=d"},
        {NULL,    NULL       },
    };
    log_set(LOG_INFO, LOG_TEXT);
    capture_start(&capture);
    log_line(LOG_WARN, "workload", fields, "exited with %d", 3);
    capture_read(&capture, text, sizeof(text));
    capture_end(&capture);
    assert_string_equal(text + TIME_LEN, " warn workload exited with 3 app=web empty=\"\" "
                                         "path=\"/a b\" text=\"a\\\"b\\nc=d\"\n");
    assert_int_equal(text[TIME_LEN - 1], 'Z');
}

static void json_lines_are_one_object_each(void **state)
{
    (void) state;
    struct capture capture;
    char text[1024];
    const struct log_field fields[] = {
        {"app",  "we\"b"},
        {"none", NULL   },
        {NULL,   NULL   },
    };
    log_set(LOG_INFO, LOG_JSON);
    capture_start(&capture);
    log_line(LOG_ERROR, "agent", fields, "two\nlines");
    capture_read(&capture, text, sizeof(text));
    capture_end(&capture);
    log_set(LOG_INFO, LOG_TEXT);
    assert_memory_equal(text, "{\"time\":\"", 9);
    assert_string_equal(text + 9 + TIME_LEN, "\",\"level\":\"error\",\"subsystem\":\"agent\","
                                             "\"message\":\"two\\nlines\",\"app\":\"we\\\"b\"}\n");
}

static void a_message_is_one_line_whatever_is_in_it(void **state)
{
    (void) state;
    struct capture capture;
    char text[1024];
    capture_start(&capture);
    log_info("x", "a\nb\x1b[31m\x7f");
    capture_read(&capture, text, sizeof(text));
    capture_end(&capture);
    assert_string_equal(text + TIME_LEN, " info x a b [31m \n");
}

static void what_is_below_the_level_is_left_out(void **state)
{
    (void) state;
    struct capture capture;
    char text[1024];
    log_set(LOG_WARN, LOG_TEXT);
    assert_int_equal(log_get_level(), LOG_WARN);
    capture_start(&capture);
    log_info("x", "no");
    log_debug("x", "no");
    log_warn("x", "yes");
    log_error("x", "yes");
    capture_read(&capture, text, sizeof(text));
    capture_end(&capture);
    log_set(LOG_INFO, LOG_TEXT);
    assert_null(strstr(text, "no"));
    assert_non_null(strstr(text, "warn x yes"));
    assert_non_null(strstr(text, "error x yes"));
}

static void levels_are_known_by_name(void **state)
{
    (void) state;
    for (int i = 0; i < LOG_LEVEL_COUNT; i++) {
        enum log_level level = LOG_LEVEL_COUNT;
        assert_int_equal(log_level_parse(log_level_name((enum log_level) i), &level), 0);
        assert_int_equal(level, i);
    }
    enum log_level level = LOG_INFO;
    assert_int_equal(log_level_parse("INFO", &level), -1);
    assert_int_equal(log_level_parse("", &level), -1);
}

static void nobody_reading_costs_lines_but_never_blocks(void **state)
{
    (void) state;
    struct capture capture;
    static char text[1024 * 1024];
    capture_start(&capture);
    for (int i = 0; i < 5000; i++) {
        log_info("x", "%0200d", i);
    }
    size_t len = 0;
    for (ssize_t n; (n = read(capture.read_end, text + len, sizeof(text) - len - 1)) > 0;) {
        len += (size_t) n;
    }
    log_info("x", "after");
    capture_read(&capture, text, sizeof(text));
    capture_end(&capture);
    assert_non_null(strstr(text, "lines of this log were dropped: nobody read it\n"));
    assert_non_null(strstr(text, "info x after\n"));
}

static void a_reader_that_went_away_is_no_harm(void **state)
{
    (void) state;
    struct capture capture;
    void (*before)(int) = signal(SIGPIPE, SIG_IGN);
    capture_start(&capture);
    fd_close(&capture.read_end);
    log_info("x", "into nowhere");
    capture_end(&capture);
    (void) signal(SIGPIPE, before);
}

static void a_long_line_comes_in_pieces_and_whole(void **state)
{
    (void) state;
    struct capture capture;
    static char text[65536];
    static char message[20001];
    memset(message, 'y', sizeof(message) - 1);
    capture_start(&capture);
    log_info("x", "%s", message);
    capture_read(&capture, text, sizeof(text));
    capture_end(&capture);
    assert_non_null(strstr(text, message));
    assert_int_equal(text[strlen(text) - 1], '\n');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_have_time_level_subsystem_message_and_fields),
        cmocka_unit_test(json_lines_are_one_object_each),
        cmocka_unit_test(a_message_is_one_line_whatever_is_in_it),
        cmocka_unit_test(what_is_below_the_level_is_left_out),
        cmocka_unit_test(levels_are_known_by_name),
        cmocka_unit_test(nobody_reading_costs_lines_but_never_blocks),
        cmocka_unit_test(a_reader_that_went_away_is_no_harm),
        cmocka_unit_test(a_long_line_comes_in_pieces_and_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
