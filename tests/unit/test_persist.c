/* persist: what the next agent finds, with the disk behind or not. */
#include "edgible/fd.h"
#include "edgible/persist.h"
#include "test_pump_kit.h"

static struct loop *loop;

static struct persist *open_persist(const char *boot_id)
{
    CLEANUP(free) char *state = in_scratch("state");
    CLEANUP(free) char *runtime = in_scratch("run");
    struct persist_params params = {
        .loop = loop, .state_dir = state, .runtime_dir = runtime, .boot_id = boot_id};
    struct err err = {0};
    struct persist *persist = persist_new(&params, &err);
    if (persist == NULL) {
        fail_msg("%s", err.msg);
    }
    return persist;
}

struct found {
    char text[256]; /* "name=text;" of each, in any order */
};

static void on_record(void *arg, const char *name, const char *text, size_t len,
                      const struct err *err)
{
    struct found *found = arg;
    size_t at = strlen(found->text);
    assert_true(text == NULL || strlen(text) == len);
    (void) snprintf(found->text + at, sizeof(found->text) - at, "%s=%s;", name,
                    text != NULL ? text : err->msg);
}

static void assert_records(struct persist *persist, const char *expected)
{
    struct found found = {{0}};
    persist_each(persist, "units", on_record, &found);
    assert_string_equal(found.text, expected);
}

static void flush(struct persist *persist)
{
    struct err err = {0};
    if (persist_flush(persist, 10000, &err) < 0) {
        fail_msg("%s", err.msg);
    }
}

static void a_record_is_on_the_disk_and_private(void **state)
{
    (void) state;
    CLEANUP(persist) struct persist *persist = open_persist("boot");
    persist_put(persist, "units/a/w.json", "one");
    persist_put(persist, "units/a/w.json", "two");
    flush(persist);
    CLEANUP(free) char *path = in_scratch("state/units/a/w.json");
    CLEANUP(free) char *pending = in_scratch("run/pending");
    struct stat st;
    assert_file(path, "two");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(file_size(pending), 0);
    persist_remove(persist, "units/a/w.json");
    flush(persist);
    assert_int_equal(access(path, F_OK), -1);
}

/* In a child, which ends as if killed: nothing is waited for. */
static void put_and_die(void (*put)(struct persist *persist))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        put(open_persist("boot"));
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void put_three(struct persist *persist)
{
    persist_put(persist, "units/a/x.json", "x");
    persist_put(persist, "units/a/y.json", "y");
    persist_put(persist, "units/a/x.json", "x2");
    persist_remove(persist, "units/a/y.json");
    persist_put(persist, "applications/a.json", "app");
}

static void what_was_pending_at_a_kill_is_found_and_written(void **state)
{
    (void) state;
    put_and_die(put_three);
    CLEANUP(persist) struct persist *persist = open_persist("boot");
    assert_records(persist, "units/a/x.json=x2;");
    flush(persist);
    CLEANUP(free) char *path = in_scratch("state/units/a/x.json");
    CLEANUP(free) char *gone = in_scratch("state/units/a/y.json");
    assert_file(path, "x2");
    assert_int_equal(access(gone, F_OK), -1);
    persist_remove(persist, "units/a/x.json");
    persist_remove(persist, "applications/a.json");
    flush(persist);
}

static void an_entry_that_is_cut_off_was_not_made(void **state)
{
    (void) state;
    static const char *const cut[] = {"units/a/x.json 5\nhello"
                                      "units/b/y.json 9\nhel",
                                      "units/a/x.json 5\nhello"
                                      "units/b/y.json",
                                      "units/a/x.json 5\nhello"
                                      "units/b/y.json 9",
                                      "units/a/x.json 5\nhello"
                                      "\n",
                                      "units/a/x.json 5\nhello"
                                      "units/a/x.json -7\n",
                                      "units/a/x.json 5\nhello"
                                      "units/a/x.json 4294967295\n",
                                      "units/a/x.json 5\nhello"
                                      "units/a/x.json \n",
                                      "units/a/x.json 5\nhello"
                                      "units/a/x.json 2x\nhi",
                                      "units/a/x.json 5\nhello"
                                      "x.json 2\nhi"};
    for (size_t i = 0; i < ARRAY_LEN(cut); i++) {
        CLEANUP(free) char *pending = in_scratch("run/pending");
        put_file(pending, cut[i]);
        CLEANUP(persist) struct persist *persist = open_persist("boot");
        assert_records(persist, "units/a/x.json=hello;");
        persist_remove(persist, "units/a/x.json");
        flush(persist);
    }
}

static void put_one(struct persist *persist)
{
    persist_put(persist, "units/c/z.json", "later");
}

/* The second agent is killed before the disk has anything. */
static void an_entry_that_is_cut_off_takes_none_of_the_next_agent(void **state)
{
    (void) state;
    CLEANUP(free) char *pending = in_scratch("run/pending");
    put_file(pending, "units/a/x.json 5\nhello"
                      "units/b/y.json 12\nhel");
    put_and_die(put_one);
    assert_file(pending, "units/a/x.json 5\nhello"
                         "units/c/z.json 5\nlater");
    CLEANUP(persist) struct persist *persist = open_persist("boot");
    assert_records(persist, "units/a/x.json=hello;units/c/z.json=later;");
    persist_remove(persist, "units/a/x.json");
    persist_remove(persist, "units/c/z.json");
    flush(persist);
}

static void another_boot_leaves_nothing_of_the_last(void **state)
{
    (void) state;
    CLEANUP(persist) struct persist *persist = open_persist("boot");
    persist_put_volatile(persist, "units/a/w.json", "state");
    size_t len = 0;
    CLEANUP(free) char *text = persist_read_volatile(persist, "units/a/w.json", &len, NULL);
    assert_string_equal(text, "state");
    persist_free(persist);
    persist = open_persist("other boot");
    struct err err = {0};
    assert_null(persist_read_volatile(persist, "units/a/w.json", &len, &err));
    assert_int_equal(err.code, ENOENT);
    persist_free(persist);
    persist = open_persist("boot");
}

static void a_record_of_this_boot_is_replaced_without_new_files(void **state)
{
    (void) state;
    CLEANUP(persist) struct persist *persist = open_persist("boot");
    CLEANUP(free) char *path = in_scratch("run/units/a/w.json");
    struct stat first;
    struct stat third;
    persist_put_volatile(persist, "units/a/w.json", "the first and longest");
    assert_int_equal(stat(path, &first), 0);
    persist_put_volatile(persist, "units/a/w.json", "second");
    assert_file(path, "second");
    persist_put_volatile(persist, "units/a/w.json", "third");
    assert_file(path, "third");
    assert_int_equal(stat(path, &third), 0);
    assert_int_equal(first.st_ino, third.st_ino);
    assert_int_equal(third.st_mode & 0777, 0600);
    persist_remove_volatile(persist, "units/a/w.json");
    CLEANUP(free) char *folder = in_scratch("run/units/a");
    assert_int_equal(access(folder, F_OK), -1);
}

struct look {
    struct loop_timer *timer;
    const char *path;
    mono_ms deadline;
};

static void on_look(void *arg)
{
    struct look *look = arg;
    if (access(look->path, F_OK) == 0 || loop_now() > look->deadline) {
        loop_stop(loop);
    } else {
        loop_timer_arm(look->timer, loop_now() + 10);
    }
}

/* Nothing is put again: the workload just runs on. */
static void a_record_of_this_boot_that_found_no_room_is_tried_again(void **state)
{
    (void) state;
    CLEANUP(persist) struct persist *persist = open_persist("boot");
    CLEANUP(free) char *way = in_scratch("run/units/b");
    CLEANUP(free) char *path = in_scratch("run/units/b/w.json");
    put_file(way, "in the way");
    persist_put_volatile(persist, "units/b/w.json", "older");
    persist_put_volatile(persist, "units/b/w.json", "newer");
    persist_put_volatile(persist, "units/b/gone.json", "removed meanwhile");
    persist_remove_volatile(persist, "units/b/gone.json");
    assert_int_equal(unlink(way), 0);
    struct look look = {.path = path, .deadline = loop_now() + 30000};
    look.timer = loop_timer_new(loop, on_look, &look);
    loop_timer_arm(look.timer, loop_now() + 10);
    loop_run(loop);
    loop_timer_free(look.timer);
    assert_file(path, "newer");
    CLEANUP(free) char *gone = in_scratch("run/units/b/gone.json");
    assert_int_equal(access(gone, F_OK), -1);
}

static void a_record_of_this_boot_is_tried_once_more_at_the_end(void **state)
{
    (void) state;
    struct persist *persist = open_persist("boot");
    CLEANUP(free) char *way = in_scratch("run/units/c");
    CLEANUP(free) char *path = in_scratch("run/units/c/w.json");
    put_file(way, "in the way");
    persist_put_volatile(persist, "units/c/w.json", "text");
    assert_int_equal(unlink(way), 0);
    persist_free(persist);
    assert_file(path, "text");
}

static void a_disk_that_refuses_is_tried_again(void **state)
{
    (void) state;
    CLEANUP(persist) struct persist *persist = open_persist("boot");
    CLEANUP(free) char *units = in_scratch("state/units");
    CLEANUP(free) char *path = in_scratch("state/units/a/w.json");
    assert_int_equal(rmdir(units), 0);
    put_file(units, "in the way");
    persist_put(persist, "units/a/w.json", "text");
    assert_int_equal(persist_flush(persist, 500, NULL), -1);
    assert_int_equal(unlink(units), 0);
    for (int i = 0; i < 500 && access(path, F_OK) < 0; i++) {
        sleep_ms(10);
    }
    assert_file(path, "text");
}

static void a_thousand_records_are_one_batch(void **state)
{
    (void) state;
    CLEANUP(persist) struct persist *persist = open_persist("boot");
    for (int i = 0; i < 1000; i++) {
        CLEANUP(free) char *name = xasprintf("units/app-%d/w.json", i);
        persist_put(persist, name, "text");
    }
    flush(persist);
    CLEANUP(free) char *path = in_scratch("state/units/app-999/w.json");
    assert_file(path, "text");
}

static int begin(void **state)
{
    loop = loop_new(NULL);
    return loop == NULL ? -1 : make_scratch(state);
}

static int finish(void **state)
{
    loop_free(loop);
    return remove_scratch(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_is_on_the_disk_and_private),
        cmocka_unit_test(what_was_pending_at_a_kill_is_found_and_written),
        cmocka_unit_test(an_entry_that_is_cut_off_was_not_made),
        cmocka_unit_test(an_entry_that_is_cut_off_takes_none_of_the_next_agent),
        cmocka_unit_test(another_boot_leaves_nothing_of_the_last),
        cmocka_unit_test(a_record_of_this_boot_is_replaced_without_new_files),
        cmocka_unit_test(a_record_of_this_boot_that_found_no_room_is_tried_again),
        cmocka_unit_test(a_record_of_this_boot_is_tried_once_more_at_the_end),
        cmocka_unit_test(a_disk_that_refuses_is_tried_again),
        cmocka_unit_test(a_thousand_records_are_one_batch),
    };
    return cmocka_run_group_tests(tests, begin, finish);
}
