#include "edgible/event_store.h"
#include "edgible/fd.h"
#include "sys_test.h"

#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct place {
    char root[64];
    char *dir;
};

static int make_place(void **state)
{
    struct place *place = xcalloc(1, sizeof(*place));
    (void) snprintf(place->root, sizeof(place->root), "/tmp/edgible-events.XXXXXX");
    if (mkdtemp(place->root) == NULL) {
        return -1;
    }
    place->dir = xasprintf("%s/events", place->root);
    *state = place;
    return 0;
}

static int remove_place(void **state)
{
    struct place *place = *state;
    int rc = remove_tree(place->root);
    free(place->dir);
    free(place);
    return rc;
}

static void add(struct event_store *store, uint64_t seq, size_t padding)
{
    CLEANUP(buf) struct buf line = {0};
    buf_printf(&line, "{\"seq\":%" PRIu64 ",\"x\":\"", seq);
    for (size_t i = 0; i < padding; i++) {
        buf_add_char(&line, 'x');
    }
    buf_add_str(&line, "\"}");
    assert_int_equal(event_store_add(store, seq, line.data, line.len, NULL), 0);
}

/* Reads from `from` on; checks that the numbers follow each other. Returns how many there were. */
static size_t count_from(const struct event_store *store, uint64_t from, uint64_t *ret_first)
{
    struct event_cursor cursor = {.next_seq = from};
    size_t count = 0;
    size_t len = 0;
    uint64_t last = 0;
    for (const char *line = event_store_next(store, &cursor, &len); line != NULL;
         line = event_store_next(store, &cursor, &len)) {
        uint64_t seq = strtoull(line + strlen("{\"seq\":"), NULL, 10);
        assert_true(line[len - 1] == '}');
        if (count == 0) {
            *ret_first = seq;
        } else {
            assert_int_equal(seq, last + 1);
        }
        last = seq;
        count++;
    }
    event_cursor_fini(&cursor);
    return count;
}

static void what_was_added_is_read_in_order_from_any_number(void **state)
{
    const struct place *place = *state;
    CLEANUP(event_store) struct event_store *store = event_store_open(place->dir, NULL);
    uint64_t first = 0;
    assert_int_equal(event_store_last_seq(store), 0);
    assert_int_equal(count_from(store, 0, &first), 0);
    for (uint64_t seq = 1; seq <= 2500; seq++) {
        add(store, seq, (size_t) (seq % 300));
    }
    assert_int_equal(count_from(store, 0, &first), 2500);
    assert_int_equal(first, 1);
    assert_int_equal(count_from(store, 1001, &first), 1500);
    assert_int_equal(first, 1001);
    assert_int_equal(count_from(store, 2500, &first), 1);
    assert_int_equal(count_from(store, 2501, &first), 0);
}

static void a_reader_that_waits_at_the_end_gets_what_comes(void **state)
{
    const struct place *place = *state;
    CLEANUP(event_store) struct event_store *store = event_store_open(place->dir, NULL);
    struct event_cursor cursor = {0};
    size_t len = 0;
    for (uint64_t seq = 1; seq <= 3000; seq++) {
        assert_null(event_store_next(store, &cursor, &len));
        add(store, seq, 10);
        const char *line = event_store_next(store, &cursor, &len);
        assert_non_null(line);
        assert_int_equal(strtoull(line + 7, NULL, 10), seq);
    }
    event_cursor_fini(&cursor);
}

static void the_last_ten_thousand_are_kept(void **state)
{
    const struct place *place = *state;
    CLEANUP(event_store) struct event_store *store = event_store_open(place->dir, NULL);
    uint64_t first = 0;
    for (uint64_t seq = 1; seq <= 25500; seq++) {
        add(store, seq, 10);
    }
    assert_int_equal(count_from(store, 0, &first), EVENT_STORE_MAX_EVENTS);
    assert_int_equal(first, 15501);
    assert_int_equal(event_store_first_seq(store), 15501);
}

static void large_events_are_bounded_by_their_bytes(void **state)
{
    const struct place *place = *state;
    CLEANUP(event_store) struct event_store *store = event_store_open(place->dir, NULL);
    uint64_t first = 0;
    for (uint64_t seq = 1; seq <= 400; seq++) {
        add(store, seq, 100000);
    }
    size_t count = count_from(store, 0, &first);
    assert_in_range(count, 100, EVENT_STORE_MAX_BYTES / 100000 + 12);
}

static void the_next_agent_goes_on_where_this_one_ended(void **state)
{
    const struct place *place = *state;
    uint64_t first = 0;
    for (uint64_t seq = 1; seq <= 40; seq++) {
        CLEANUP(event_store) struct event_store *store = event_store_open(place->dir, NULL);
        assert_int_equal(event_store_last_seq(store), seq - 1);
        add(store, seq, 10);
    }
    CLEANUP(event_store) struct event_store *store = event_store_open(place->dir, NULL);
    assert_int_equal(count_from(store, 0, &first), 40);
}

static void a_line_that_was_cut_off_is_dropped_and_written_over(void **state)
{
    const struct place *place = *state;
    struct event_store *store = event_store_open(place->dir, NULL);
    uint64_t first = 0;
    add(store, 1, 10);
    add(store, 2, 10);
    event_store_close(store);
    CLEANUP(free) char *path = xasprintf("%s/%020d.jsonl", place->dir, 1);
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_int_equal(write(fd, "{\"seq\":3,\"x", 11), 11);
    (void) close(fd);
    store = event_store_open(place->dir, NULL);
    assert_int_equal(event_store_last_seq(store), 2);
    add(store, 3, 5);
    assert_int_equal(count_from(store, 0, &first), 3);
    event_store_close(store);
}

static void files_that_are_no_events_are_thrown_away(void **state)
{
    const struct place *place = *state;
    struct event_store *store = event_store_open(place->dir, NULL);
    uint64_t first = 0;
    add(store, 5, 10);
    event_store_close(store);
    CLEANUP(free) char *garbage = xasprintf("%s/%020d.jsonl", place->dir, 9);
    int fd = open(garbage, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "garbage\n\n\n", 10), 10);
    (void) close(fd);
    store = event_store_open(place->dir, NULL);
    assert_int_equal(event_store_last_seq(store), 5);
    assert_int_equal(count_from(store, 0, &first), 1);
    assert_int_equal(access(garbage, F_OK), -1);
    event_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_added_is_read_in_order_from_any_number, make_place,
                                        remove_place),
        cmocka_unit_test_setup_teardown(a_reader_that_waits_at_the_end_gets_what_comes, make_place,
                                        remove_place),
        cmocka_unit_test_setup_teardown(the_last_ten_thousand_are_kept, make_place, remove_place),
        cmocka_unit_test_setup_teardown(large_events_are_bounded_by_their_bytes, make_place,
                                        remove_place),
        cmocka_unit_test_setup_teardown(the_next_agent_goes_on_where_this_one_ended, make_place,
                                        remove_place),
        cmocka_unit_test_setup_teardown(a_line_that_was_cut_off_is_dropped_and_written_over,
                                        make_place, remove_place),
        cmocka_unit_test_setup_teardown(files_that_are_no_events_are_thrown_away, make_place,
                                        remove_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
