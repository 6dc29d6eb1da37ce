/* What a service manager reads on its socket, and what is left in the environment. */
#include "edgible/sdnotify.h"
#include "sys_test.h"

#include <sys/socket.h>
#include <sys/un.h>

static char top[] = "/tmp/edgible-sdnotify-XXXXXX";

static int make_top(void **state)
{
    (void) state;
    return mkdtemp(top) != NULL ? 0 : -1;
}

static int remove_top(void **state)
{
    (void) state;
    sdnotify_hide();
    return remove_tree(top);
}

/* The manager's end; name as in NOTIFY_SOCKET. */
static int listen_at(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t len = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + strlen(name));
    memcpy(address.sun_path, name, strlen(name));
    if (name[0] == '@') {
        address.sun_path[0] = '\0';
    }
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *) &address, len), 0);
    return fd;
}

static void ask(const char *socket_name, const char *usec, const char *pid)
{
    const char *const names[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"};
    const char *const values[] = {socket_name, usec, pid};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (values[i] != NULL) {
            (void) setenv(names[i], values[i], 1);
        } else {
            (void) unsetenv(names[i]);
        }
    }
}

static bool environment_is_clean(void)
{
    return getenv("NOTIFY_SOCKET") == NULL && getenv("WATCHDOG_USEC") == NULL &&
           getenv("WATCHDOG_PID") == NULL;
}

static void assert_arrives(int manager, const struct sdnotify *notify, const char *lines)
{
    char text[256];
    assert_int_equal(sdnotify_send(notify, lines, NULL), 0);
    ssize_t n = read(manager, text, sizeof(text) - 1);
    assert_true(n > 0);
    text[n] = '\0';
    assert_string_equal(text, lines);
}

static void nobody_asks(void **state)
{
    (void) state;
    const char *const sockets[] = {NULL, ""};
    for (size_t i = 0; i < ARRAY_LEN(sockets); i++) {
        struct err err = {0};
        ask(sockets[i], "1000000", NULL);
        assert_null(sdnotify_take(&err));
        assert_int_equal(err.code, 0);
        assert_true(environment_is_clean());
    }
}

static void a_message_arrives_at_a_path(void **state)
{
    (void) state;
    CLEANUP(free) char *path = xasprintf("%s/notify", top);
    CLEANUP(close_fd) int manager = listen_at(path);
    ask(path, NULL, NULL);
    CLEANUP(sdnotify) struct sdnotify *notify = sdnotify_take(NULL);
    assert_non_null(notify);
    assert_true(environment_is_clean());
    assert_int_equal(sdnotify_watchdog_ms(notify), 0);
    assert_arrives(manager, notify, "READY=1\nSTATUS=all is well");
}

static void a_message_arrives_at_an_abstract_name(void **state)
{
    (void) state;
    CLEANUP(free) char *name = xasprintf("@edgible-sdnotify-%d", (int) getpid());
    CLEANUP(close_fd) int manager = listen_at(name);
    ask(name, NULL, NULL);
    CLEANUP(sdnotify) struct sdnotify *notify = sdnotify_take(NULL);
    assert_non_null(notify);
    assert_arrives(manager, notify, "WATCHDOG=1");
}

static void what_is_no_socket_is_told(void **state)
{
    (void) state;
    char too_long[200];
    memset(too_long, 'x', sizeof(too_long) - 1);
    too_long[0] = '/';
    too_long[sizeof(too_long) - 1] = '\0';
    const struct {
        const char *name;
        int code;
    } cases[] = {
        {"relative",  EAFNOSUPPORT},
        {"vsock:2:1", EAFNOSUPPORT},
        {"@",         EAFNOSUPPORT},
        {"/",         EAFNOSUPPORT},
        {too_long,    ENAMETOOLONG},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        ask(cases[i].name, NULL, NULL);
        assert_null(sdnotify_take(&err));
        assert_int_equal(err.code, cases[i].code);
        assert_true(environment_is_clean());
    }
}

static void the_watchdog_is_meant_for_us(void **state)
{
    (void) state;
    char own[16];
    char other[16];
    (void) snprintf(own, sizeof(own), "%d", (int) getpid());
    (void) snprintf(other, sizeof(other), "%d", (int) getppid());
    const struct {
        const char *usec, *pid;
        mono_ms wanted;
    } cases[] = {
        {"30000000",             NULL,  30000},
        {"30000000",             own,   30000},
        {"30000000",             other, 0    },
        {"30000000",             "x",   0    },
        {"0",                    own,   0    },
        {"-5",                   own,   0    },
        {"12monkeys",            own,   0    },
        {"",                     own,   0    },
        {NULL,                   own,   0    },
        {"99999999999999999999", own,   0    },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ask("/run/nobody", cases[i].usec, cases[i].pid);
        CLEANUP(sdnotify) struct sdnotify *notify = sdnotify_take(NULL);
        assert_non_null(notify);
        assert_int_equal(sdnotify_watchdog_ms(notify), cases[i].wanted);
    }
}

/* A manager that does not read must not hold up the loop. */
static void a_full_queue_is_told_and_not_waited_for(void **state)
{
    (void) state;
    CLEANUP(free) char *path = xasprintf("%s/full", top);
    CLEANUP(close_fd) int manager = listen_at(path);
    ask(path, NULL, NULL);
    CLEANUP(sdnotify) struct sdnotify *notify = sdnotify_take(NULL);
    struct err err = {0};
    int sent = 0;
    while (sent < 100000 && sdnotify_send(notify, "WATCHDOG=1", &err) == 0) {
        sent++;
    }
    assert_int_equal(err.code, EAGAIN);
    char text[64];
    assert_true(read(manager, text, sizeof(text)) > 0);
    assert_int_equal(sdnotify_send(notify, "WATCHDOG=1", NULL), 0);
}

static void a_manager_that_comes_back_is_told_again(void **state)
{
    (void) state;
    CLEANUP(free) char *path = xasprintf("%s/again", top);
    ask(path, NULL, NULL);
    CLEANUP(sdnotify) struct sdnotify *notify = sdnotify_take(NULL);
    struct err err = {0};
    assert_int_equal(sdnotify_send(notify, "WATCHDOG=1", &err), -1);
    assert_int_equal(err.code, ENOENT);
    assert_non_null(strstr(err.msg, path));
    CLEANUP(close_fd) int manager = listen_at(path);
    assert_arrives(manager, notify, "WATCHDOG=1");
}

static void the_program_that_takes_our_place_has_the_variables(void **state)
{
    (void) state;
    CLEANUP(free) char *path = xasprintf("%s/handed", top);
    char own[16];
    (void) snprintf(own, sizeof(own), "%d", (int) getpid());
    ask(path, "2000000", own);
    CLEANUP(sdnotify) struct sdnotify *first = sdnotify_take(NULL);
    sdnotify_show(first);
    assert_string_equal(getenv("NOTIFY_SOCKET"), path);
    assert_string_equal(getenv("WATCHDOG_USEC"), "2000000");
    assert_string_equal(getenv("WATCHDOG_PID"), own);
    CLEANUP(sdnotify) struct sdnotify *second = sdnotify_take(NULL);
    assert_int_equal(sdnotify_watchdog_ms(second), 2000);
    assert_true(environment_is_clean());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_asks),
        cmocka_unit_test(a_message_arrives_at_a_path),
        cmocka_unit_test(a_message_arrives_at_an_abstract_name),
        cmocka_unit_test(what_is_no_socket_is_told),
        cmocka_unit_test(the_watchdog_is_meant_for_us),
        cmocka_unit_test(a_full_queue_is_told_and_not_waited_for),
        cmocka_unit_test(a_manager_that_comes_back_is_told_again),
        cmocka_unit_test(the_program_that_takes_our_place_has_the_variables),
    };
    return cmocka_run_group_tests(tests, make_top, remove_top);
}
