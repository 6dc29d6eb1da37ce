/* What the filter answers for calls of each architecture. What it holds in a kernel:
 * tests/system/test_sandbox.py. */
#include "edgible/syscall_filter.h"
#include "sys_test.h"

#include <linux/audit.h>

#define OWN_PID 4711
#define CLONE3 435 /* everywhere */

/* As the kernel runs it; false where the program leaves itself. */
static bool run(const struct syscall_filter *f, const struct seccomp_data *data, uint32_t *ret)
{
    uint32_t a = 0;
    for (size_t at = f->start; at < SYSCALL_FILTER_MAX; at++) {
        const struct sock_filter *it = &f->code[at];
        bool yes = false;
        switch (it->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            memcpy(&a, (const char *) data + it->k, sizeof(a));
            continue;
        case BPF_RET | BPF_K:
            *ret = it->k;
            return true;
        case BPF_JMP | BPF_JA:
            at += it->k;
            continue;
        case BPF_JMP | BPF_JEQ | BPF_K:
            yes = a == it->k;
            break;
        case BPF_JMP | BPF_JGT | BPF_K:
            yes = a > it->k;
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            yes = a >= it->k;
            break;
        case BPF_JMP | BPF_JSET | BPF_K:
            yes = (a & it->k) != 0;
            break;
        default:
            return false;
        }
        at += yes ? it->jt : it->jf;
    }
    return false;
}

static bool lets(const struct syscall_filter *f, const struct seccomp_data *data)
{
    uint32_t answer = 0;
    assert_true(run(f, data, &answer));
    uint32_t refusal = SECCOMP_RET_ERRNO | (data->nr == CLONE3 ? ENOSYS : EPERM);
    assert_true(answer == SECCOMP_RET_ALLOW || answer == refusal);
    return answer == SECCOMP_RET_ALLOW;
}

struct tried {
    int number[4]; /* x86_64, i386, aarch64 and riscv64, arm; -1: there is none */
    uint64_t args[4];
    bool limited, unlimited; /* whether it is let through where `connect` is given, and where not */
};

static const uint32_t arches[] = {AUDIT_ARCH_X86_64, AUDIT_ARCH_I386, AUDIT_ARCH_AARCH64,
                                  AUDIT_ARCH_ARM, AUDIT_ARCH_RISCV64};

static void try_all(const struct tried *all, size_t count, bool limit_connect)
{
    struct syscall_filter f;
    syscall_filter_make(&f, limit_connect);
    f.code[f.own_pid].k = OWN_PID;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < ARRAY_LEN(arches); j++) {
            struct seccomp_data data = {.nr = all[i].number[j < 4 ? j : 2], .arch = arches[j]};
            memcpy(data.args, all[i].args, sizeof(all[i].args));
            bool expected = limit_connect ? all[i].limited : all[i].unlimited;
            if (data.nr >= 0 && lets(&f, &data) != expected) {
                fail_msg("row %zu, architecture %zu, %s", i, j, limit_connect ? "limited" : "not");
            }
        }
    }
}

#define PRLIMIT                                                                                    \
    {                                                                                              \
        302, 340, 261, 369                                                                         \
    }
#define SETPRIORITY                                                                                \
    {                                                                                              \
        141, 97, 140, 97                                                                           \
    }
#define IOPRIO_SET                                                                                 \
    {                                                                                              \
        251, 289, 30, 314                                                                          \
    }
#define SETAFFINITY                                                                                \
    {                                                                                              \
        203, 241, 122, 241                                                                         \
    }
#define SOCKET                                                                                     \
    {                                                                                              \
        41, 359, 198, 281                                                                          \
    }
#define SETSOCKOPT                                                                                 \
    {                                                                                              \
        54, 366, 208, 294                                                                          \
    }
#define SENDMSG                                                                                    \
    {                                                                                              \
        46, 370, 211, 296                                                                          \
    }
#define SENDTO                                                                                     \
    {                                                                                              \
        44, 369, 206, 290                                                                          \
    }
#define SENDMMSG                                                                                   \
    {                                                                                              \
        307, 345, 269, 374                                                                         \
    }
#define FASTOPEN 0x20000000

static void calls_are_judged_by_their_arguments(void **state)
{
    (void) state;
    static const struct tried all[] = {
        {PRLIMIT,              {0, 7, 0x7000, 0},                 true,  true },
        {PRLIMIT,              {OWN_PID, 7, 0x7000, 0},           true,  true },
        {PRLIMIT,              {1, 7, 0, 0x7000},                 true,  true },
        {PRLIMIT,              {1, 7, 0x7000, 0},                 false, false},
        {PRLIMIT,              {1, 7, 0x700000000000, 0},         false, false},
        {SETPRIORITY,          {PRIO_PROCESS, 0, 19},             true,  true },
        {SETPRIORITY,          {PRIO_PROCESS, OWN_PID, 19},       true,  true },
        {SETPRIORITY,          {PRIO_PGRP, 0, 19},                true,  true },
        {SETPRIORITY,          {PRIO_PROCESS, 1, 19},             false, false},
        {SETPRIORITY,          {PRIO_PGRP, 1, 19},                false, false},
        {SETPRIORITY,          {PRIO_USER, 0, 19},                false, false},
        {IOPRIO_SET,           {1, 0, 0},                         true,  true },
        {IOPRIO_SET,           {2, OWN_PID, 0},                   true,  true },
        {IOPRIO_SET,           {1, 1, 0},                         false, false},
        {IOPRIO_SET,           {3, 0, 0},                         false, false},
        {SETAFFINITY,          {0},                               true,  true },
        {SETAFFINITY,          {OWN_PID},                         true,  true },
        {SETAFFINITY,          {1},                               false, false},
        {{142, 154, 118, 154}, {1},                               false, false},
        {{144, 156, 119, 156}, {1},                               false, false},
        {{314, 351, 274, 380}, {1},                               false, false},
        {{435, 435, 435, 435}, {0x7000, 88},                      false, false},
        {SOCKET,               {2, 1, 0},                         true,  true },
        {SOCKET,               {10, 1, 6},                        true,  true },
        {SOCKET,               {1, 1, 0},                         true,  true },
        {SOCKET,               {16, 3, 300},                      true,  true },
        {SOCKET,               {2, 1, 262},                       false, true },
        {SOCKET,               {10, 1, 262},                      false, true },
        {SOCKET,               {2, 1, 256},                       false, true },
        {SOCKET,               {43, 1, 0},                        false, true },
        {SETSOCKOPT,           {3, 6, 1, 0},                      true,  true },
        {SETSOCKOPT,           {3, 1, 30, 0},                     true,  true },
        {SETSOCKOPT,           {3, 6, 30, 0},                     false, true },
        {SETSOCKOPT,           {3, 6, 31, 0},                     false, true },
        {SENDMSG,              {3, 0x7000, 0x4000},               true,  true },
        {SENDMSG,              {3, 0x7000, FASTOPEN | 0x4000},    false, true },
        {SENDTO,               {3, 0x7000, FASTOPEN, 0x4000},     true,  true },
        {SENDTO,               {3, 0x7000, 1, FASTOPEN | 0x4000}, false, true },
        {SENDMMSG,             {3, 0x7000, 1, FASTOPEN},          false, true },
        {{425, 425, 425, 425}, {8, 0x7000},                       false, true },
        {{-1, 102, -1, -1},    {1, 0x7000},                       false, true },
        {{0, 3, 63, 3},        {1, 1, 1, 1},                      true,  true },
    };
    try_all(all, ARRAY_LEN(all), false);
    try_all(all, ARRAY_LEN(all), true);
}

static void other_architectures_may_call_nothing(void **state)
{
    (void) state;
    struct syscall_filter f;
    syscall_filter_make(&f, false);
    struct seccomp_data unknown = {.nr = 0, .arch = AUDIT_ARCH_S390X};
    struct seccomp_data x32 = {.nr = 0x40000000, .arch = AUDIT_ARCH_X86_64};
    assert_false(lets(&f, &unknown));
    assert_false(lets(&f, &x32));
}

/* The numbers of the machine that this runs on. */
static void the_kernel_answers_so(void **state)
{
    (void) state;
    struct syscall_filter f;
    if (!syscall_filter_is_available()) {
        skip();
    }
    syscall_filter_make(&f, true);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct rlimit limit;
        bool ok = getrlimit(RLIMIT_CORE, &limit) == 0 &&
                  prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) == 0 &&
                  syscall_filter_enter(&f) == 0 && prlimit(0, RLIMIT_CORE, &limit, NULL) == 0 &&
                  prlimit(getpid(), RLIMIT_CORE, &limit, NULL) == 0 &&
                  prlimit(getppid(), RLIMIT_CORE, NULL, &limit) == 0 &&
                  prlimit(getppid(), RLIMIT_CORE, &limit, NULL) < 0 && errno == EPERM;
        _exit(ok ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void a_kernel_without_filters_is_told(void **state)
{
    (void) state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        static const int numbers[] = {SYS_seccomp, -1};
        _exit(deny_syscalls(numbers, ENOSYS) == 0 && !syscall_filter_is_available() ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_are_judged_by_their_arguments),
        cmocka_unit_test(other_architectures_may_call_nothing),
        cmocka_unit_test(the_kernel_answers_so),
        cmocka_unit_test(a_kernel_without_filters_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
