/* Who is on the other side of a socket, and whether that can be told. */
#include "edgible/peer.h"
#include "sys_test.h"

#include <grp.h>
#include <sys/socket.h>
#include <sys/un.h>

#define SO_PEERPIDFD_NUMBER 77

/* As on kernels before 6.5. */
static int hide_peer_pidfd(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned) offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getsockopt, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned) offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SO_PEERPIDFD_NUMBER, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOPROTOOPT),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = ARRAY_LEN(filter), .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) < 0) {
        return -1;
    }
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* A connection that a child has made, which lives on where `lives`; its pid. */
static pid_t connect_by_child(int *ret_accepted, int *ret_inherited, bool lives)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(sa_family_t);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *ret_inherited = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* Any abstract name. */
    if (bind(listener, (const struct sockaddr *) &address, len) < 0 || listen(listener, 1) < 0) {
        return -1;
    }
    len = sizeof(address);
    (void) getsockname(listener, (struct sockaddr *) &address, &len);
    pid_t pid = fork();
    if (pid == 0) {
        int rc = connect(*ret_inherited, (const struct sockaddr *) &address, len);
        while (rc == 0 && lives) {
            (void) pause();
        }
        _exit(rc == 0 ? 0 : 1);
    }
    *ret_accepted = accept(listener, NULL, NULL);
    (void) close(listener);
    return pid;
}

struct play {
    bool old_kernel;
};

static int who_lives_is_told(const void *arg)
{
    const struct play *play = arg;
    int accepted = -1;
    int inherited = -1;
    struct peer peer;
    struct err err = {0};
    CHECK(!play->old_kernel || hide_peer_pidfd() == 0);
    pid_t pid = connect_by_child(&accepted, &inherited, true);
    CHECK(pid > 0 && accepted >= 0);
    CHECK(peer_read(accepted, &peer, &err) == 0);
    CHECK(peer.pid == pid && peer.uid == geteuid() && peer.gid == getegid() && peer.pidfd >= 0);
    CHECK(peer_is_alive(&peer));
    CHECK(kill(pid, SIGKILL) == 0);
    siginfo_t info;
    CHECK(waitid(P_PID, (id_t) pid, &info, WEXITED | WNOWAIT) == 0);
    CHECK(!peer_is_alive(&peer));
    CHECK(waitpid(pid, NULL, 0) == pid);
    CHECK(!peer_is_alive(&peer));
    peer_fini(&peer);
    return 0;
}

static int who_has_ended_is_refused(const void *arg)
{
    const struct play *play = arg;
    CHECK(!play->old_kernel || hide_peer_pidfd() == 0);
    for (int reaped = 0; reaped < 2; reaped++) {
        int accepted = -1;
        int inherited = -1;
        struct peer peer;
        struct err err = {0};
        siginfo_t info;
        pid_t pid = connect_by_child(&accepted, &inherited, false);
        CHECK(pid > 0 && accepted >= 0);
        CHECK(waitid(P_PID, (id_t) pid, &info, WEXITED | (reaped ? 0 : WNOWAIT)) == 0);
        CHECK(info.si_status == 0);
        CHECK(peer_read(accepted, &peer, &err) < 0 && err.code == ESRCH && peer.pidfd == -1);
        (void) close(accepted);
        (void) close(inherited);
    }
    return 0;
}

/* Without SO_PEERPIDFD, the PID alone says nothing: it can be another's by now. */
static int another_with_the_pid_is_refused(const void *arg)
{
    (void) arg;
    int accepted = -1;
    int inherited = -1;
    struct peer peer;
    struct err err = {0};
    int ends[2];
    CHECK(pipe(ends) == 0 && hide_peer_pidfd() == 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(sa_family_t);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(listener, (const struct sockaddr *) &address, len) == 0 && listen(listener, 1) == 0);
    len = sizeof(address);
    CHECK(getsockname(listener, (struct sockaddr *) &address, &len) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        inherited = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int rc = connect(inherited, (const struct sockaddr *) &address, len);
        rc = rc < 0 || setresuid(12345, 12345, 12345) < 0;
        (void) !write(ends[1], rc == 0 ? "y" : "n", 1);
        while (true) {
            (void) pause();
        }
    }
    char answer = 0;
    CHECK(read(ends[0], &answer, 1) == 1 && answer == 'y');
    accepted = accept(listener, NULL, NULL);
    CHECK(accepted >= 0);
    CHECK(peer_read(accepted, &peer, &err) < 0 && err.code == EPERM);
    CHECK(kill(pid, SIGKILL) == 0);
    return 0;
}

static int rights_are_read_behind_any_number_of_groups(const void *arg)
{
    (void) arg;
    static gid_t groups[65536];
    for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
        groups[i] = (gid_t) (4000000000U + i);
    }
    CHECK(setgroups(ARRAY_LEN(groups), groups) == 0);
    CHECK(peer_read_no_new_privs(getpid()) == 0);
    CHECK(prctl(PR_SET_NAME, "x\nNoNewPrivs:\t0") == 0);
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) == 0);
    CHECK(peer_read_no_new_privs(getpid()) == 1);
    pid_t pid = fork();
    if (pid == 0) {
        _exit(0);
    }
    CHECK(waitpid(pid, NULL, 0) == pid);
    CHECK(peer_read_no_new_privs(pid) == -1);
    return 0;
}

static void test_who_lives_is_told(void **state)
{
    (void) state;
    assert_int_equal(run_scenario(who_lives_is_told, &(struct play){false}), 0);
    assert_int_equal(run_scenario(who_lives_is_told, &(struct play){true}), 0);
}

static void test_who_has_ended_is_refused(void **state)
{
    (void) state;
    assert_int_equal(run_scenario(who_has_ended_is_refused, &(struct play){false}), 0);
    assert_int_equal(run_scenario(who_has_ended_is_refused, &(struct play){true}), 0);
}

static void test_another_with_the_pid_is_refused(void **state)
{
    (void) state;
    if (geteuid() != 0) {
        skip();
    }
    assert_int_equal(run_scenario(another_with_the_pid_is_refused, NULL), 0);
}

static void test_rights_are_read_behind_any_number_of_groups(void **state)
{
    (void) state;
    if (geteuid() != 0) {
        skip();
    }
    assert_int_equal(run_scenario(rights_are_read_behind_any_number_of_groups, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_lives_is_told),
        cmocka_unit_test(test_who_has_ended_is_refused),
        cmocka_unit_test(test_another_with_the_pid_is_refused),
        cmocka_unit_test(test_rights_are_read_behind_any_number_of_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
