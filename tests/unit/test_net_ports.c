#include "edgible/fd.h"
#include "edgible/net_ports.h"
#include "edgible/proc_usage.h"

#include <arpa/inet.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* A socket on a port of the kernel's choice. */
static int open_port(int family, int type, bool listens, uint16_t *ret_port)
{
    struct sockaddr_storage address = {.ss_family = (sa_family_t) family};
    socklen_t len = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    int fd = socket(family, type | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *) &address, len), 0);
    if (listens) {
        assert_int_equal(listen(fd, 1), 0);
    }
    assert_int_equal(getsockname(fd, (struct sockaddr *) &address, &len), 0);
    *ret_port = ntohs(family == AF_INET ? ((struct sockaddr_in *) &address)->sin_port
                                        : ((struct sockaddr_in6 *) &address)->sin6_port);
    return fd;
}

static bool has(enum net_protocol protocol, uint16_t port, pid_t pid)
{
    CLEANUP(net_ports) struct net_ports *ports = net_ports_take(NULL);
    CLEANUP(net_owner) struct net_owner *owner = net_owner_new(0, &pid, 1);
    assert_non_null(ports);
    int answer = net_ports_has(ports, protocol, port, owner);
    assert_true(answer >= 0);
    return answer > 0;
}

static void own_listeners_of_every_kind_are_found(void **state)
{
    (void) state;
    static const struct {
        int family, type;
        enum net_protocol protocol;
    } kinds[] = {
        {AF_INET,  SOCK_STREAM, NET_TCP},
        {AF_INET6, SOCK_STREAM, NET_TCP},
        {AF_INET,  SOCK_DGRAM,  NET_UDP},
        {AF_INET6, SOCK_DGRAM,  NET_UDP},
    };
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        uint16_t port = 0;
        int fd = open_port(kinds[i].family, kinds[i].type, kinds[i].type == SOCK_STREAM, &port);
        assert_true(has(kinds[i].protocol, port, getpid()));
        assert_false(has(kinds[i].protocol, port, getppid()));
        (void) close(fd);
        assert_false(has(kinds[i].protocol, port, getpid()));
    }
}

static void one_that_is_bound_and_does_not_listen_is_none(void **state)
{
    (void) state;
    uint16_t port = 0;
    int fd = open_port(AF_INET, SOCK_STREAM, false, &port);
    assert_false(has(NET_TCP, port, getpid()));
    (void) close(fd);
}

static void many_sockets_are_told_apart(void **state)
{
    (void) state;
    uint16_t ports[500];
    int fds[500];
    for (size_t i = 0; i < ARRAY_LEN(ports); i++) {
        fds[i] = open_port(AF_INET, SOCK_STREAM, true, &ports[i]);
    }
    CLEANUP(net_ports) struct net_ports *all = net_ports_take(NULL);
    pid_t pid = getpid();
    CLEANUP(net_owner) struct net_owner *owner = net_owner_new(0, &pid, 1);
    for (size_t i = 0; i < ARRAY_LEN(ports); i++) {
        assert_int_equal(net_ports_has(all, NET_TCP, ports[i], owner), 1);
        (void) close(fds[i]);
    }
}

/* One walk for all questions, and up to a bound. */
static void more_descriptors_than_are_looked_at_are_not_known(void **state)
{
    (void) state;
    uint16_t port = 0;
    int others = open_port(AF_INET, SOCK_DGRAM, false, &port);
    pid_t child = fork();
    if (child == 0) {
        (void) close(others);
        for (int i = 0; i < 500; i++) {
            (void) !dup(STDERR_FILENO);
        }
        (void) raise(SIGSTOP);
        _exit(0);
    }
    int status = 0;
    pid_t many[200];
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    for (size_t i = 0; i < ARRAY_LEN(many); i++) {
        many[i] = child;
    }
    CLEANUP(net_ports) struct net_ports *ports = net_ports_take(NULL);
    CLEANUP(net_owner) struct net_owner *few = net_owner_new(0, many, 1);
    CLEANUP(net_owner) struct net_owner *all = net_owner_new(0, many, ARRAY_LEN(many));
    assert_int_equal(net_ports_has(ports, NET_UDP, port, few), 0);
    assert_int_equal(net_ports_has(ports, NET_UDP, port, all), -1);
    (void) kill(child, SIGKILL);
    (void) waitpid(child, &status, 0);
    (void) close(others);
}

/* A child in a network namespace of its own listens there; 2: it may not make one. */
static int live_elsewhere(int ready, int done)
{
    uint16_t port = 0;
    if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) {
        return 2;
    }
    int fd = open_port(AF_INET, SOCK_STREAM, true, &port);
    char byte = 0;
    (void) !write(ready, &port, sizeof(port));
    (void) !read(done, &byte, 1);
    (void) close(fd);
    return 0;
}

static void another_network_namespace_is_asked_too(void **state)
{
    (void) state;
    int ready[2];
    int done[2];
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(done), 0);
    pid_t pid = fork();
    if (pid == 0) {
        _exit(live_elsewhere(ready[1], done[0]));
    }
    uint16_t port = 0;
    (void) close(ready[1]);
    bool is_there = read(ready[0], &port, sizeof(port)) == (ssize_t) sizeof(port);
    if (is_there) {
        assert_true(has(NET_TCP, port, pid));
        assert_false(has(NET_TCP, (uint16_t) (port ^ 1), pid));
    }
    (void) !write(done[1], "x", 1);
    (void) close(done[1]);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(is_there || WEXITSTATUS(status) == 2);
    (void) close(ready[0]);
    (void) close(done[0]);
}

static void what_processes_use_is_summed(void **state)
{
    (void) state;
    pid_t pids[] = {getpid(), getpid(), 0x3ffffff};
    struct proc_usage one = proc_usage_read(pids, 1);
    struct proc_usage two = proc_usage_read(pids, 3);
    assert_int_equal(one.processes, 1);
    assert_int_equal(two.processes, 2);
    assert_in_range(one.memory_bytes, 500000, (uintmax_t) 1 << 40);
    assert_true(two.memory_bytes > one.memory_bytes);
}

static void this_process_tells_of_itself(void **state)
{
    (void) state;
    struct proc_self_usage before = proc_usage_read_self();
    int fd = dup(0);
    struct proc_self_usage after = proc_usage_read_self();
    (void) close(fd);
    assert_int_equal(after.open_files, before.open_files + 1);
    assert_true(before.memory_bytes > 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_listeners_of_every_kind_are_found),
        cmocka_unit_test(one_that_is_bound_and_does_not_listen_is_none),
        cmocka_unit_test(many_sockets_are_told_apart),
        cmocka_unit_test(more_descriptors_than_are_looked_at_are_not_known),
        cmocka_unit_test(another_network_namespace_is_asked_too),
        cmocka_unit_test(what_processes_use_is_summed),
        cmocka_unit_test(this_process_tells_of_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
