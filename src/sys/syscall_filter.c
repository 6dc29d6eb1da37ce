#include "edgible/syscall_filter.h"

#include "edgible/mem.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* From Linux's headers, where those of the C library are older or have other values. */
#define FAMILY_SMC 43
#define LEVEL_TCP 6
#define OPTION_FASTOPEN_CONNECT 30
#define OPTION_ULP 31 /* "smc" among others */
#define SEND_FASTOPEN 0x20000000U
#define IP_PROTOCOL_MAX 255 /* what is above (MPTCP, SMC) is TCP on the wire */
#define IOPRIO_PGRP 2
#define X32_BIT 0x40000000U
#define NO_CALL 0

enum arch { X86_64, I386, GENERIC, ARM, ARCH_COUNT };

/* Each of little endian: the low half of an argument is the first. */
static const struct {
    uint32_t audit;
    enum arch arch;
} arches[] = {
    {AUDIT_ARCH_X86_64,  X86_64 },
    {AUDIT_ARCH_I386,    I386   },
    {AUDIT_ARCH_AARCH64, GENERIC},
    {AUDIT_ARCH_ARM,     ARM    },
    {AUDIT_ARCH_RISCV64, GENERIC},
};

/* What of a call's arguments is looked at. */
enum check {
    REFUSE,
    SELF_FIRST, /* the process is the first argument */
    PRIORITY,   /* the second, and the first says what the second is */
    IO_PRIORITY,
    NEW_LIMIT, /* the first, where the third is there */
    IS_UNKNOWN,
    OF_ALL, /* what is above is of every sandbox */
    SOCKET,
    OPTION,
    FLAGS_THIRD,
    FLAGS_FOURTH,
    REFUSE_NET,
    CHECK_COUNT
};

static const struct {
    uint16_t number[ARCH_COUNT]; /* x86_64, i386, aarch64 and riscv64, arm */
    uint8_t check;
} calls[] = {
    {{302, 340, 261, 369},             NEW_LIMIT   }, /* prlimit64 */
    {{141, 97, 140, 97},               PRIORITY    }, /* setpriority */
    {{251, 289, 30, 314},              IO_PRIORITY }, /* ioprio_set */
    {{142, 154, 118, 154},             SELF_FIRST  }, /* sched_setparam */
    {{144, 156, 119, 156},             SELF_FIRST  }, /* sched_setscheduler */
    {{203, 241, 122, 241},             SELF_FIRST  }, /* sched_setaffinity */
    {{314, 351, 274, 380},             SELF_FIRST  }, /* sched_setattr */
    {{435, 435, 435, 435},             IS_UNKNOWN  }, /* clone3: its arguments are in memory */
    {{41, 359, 198, 281},              SOCKET      }, /* socket */
    {{54, 366, 208, 294},              OPTION      }, /* setsockopt */
    {{46, 370, 211, 296},              FLAGS_THIRD }, /* sendmsg */
    {{44, 369, 206, 290},              FLAGS_FOURTH}, /* sendto */
    {{307, 345, 269, 374},             FLAGS_FOURTH}, /* sendmmsg */
    {{425, 425, 425, 425},             REFUSE_NET  }, /* io_uring_setup */
    {{NO_CALL, 102, NO_CALL, NO_CALL}, REFUSE_NET  }, /* socketcall: its arguments are in memory */
};

#define LOAD (BPF_LD | BPF_W | BPF_ABS)
#define EQUAL (BPF_JMP | BPF_JEQ | BPF_K)
#define GREATER (BPF_JMP | BPF_JGT | BPF_K)
#define AT_LEAST (BPF_JMP | BPF_JGE | BPF_K)
#define HAS_BIT (BPF_JMP | BPF_JSET | BPF_K)
#define ARGUMENT(n) ((uint32_t) offsetof(struct seccomp_data, args) + 8U * (n))
#define ARGUMENT_HIGH(n) (ARGUMENT(n) + 4U)

/*
 * The program is made from its end to its start, as jumps go forward only: where they lead is there
 * by then. Returns where the instruction is.
 */
static size_t put(struct syscall_filter *f, unsigned code, uint32_t k)
{
    f->code[--f->start] = (struct sock_filter){(uint16_t) code, 0, 0, k};
    return f->start;
}

static size_t put_branch(struct syscall_filter *f, unsigned code, uint32_t k, size_t yes, size_t no)
{
    size_t next = f->start;
    size_t at = put(f, code, k);
    f->code[at].jt = (uint8_t) (yes - next);
    f->code[at].jf = (uint8_t) (no - next);
    return at;
}

/* *at gets where each check begins. Returns where what lets a call through is. */
static size_t put_checks(struct syscall_filter *f, size_t *at)
{
    size_t refuse = put(f, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    size_t allow = put(f, BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    at[IS_UNKNOWN] = put(f, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
    f->own_pid = put_branch(f, EQUAL, 0, allow, refuse);
    size_t is_self = put_branch(f, EQUAL, 0, allow, f->own_pid);
    at[REFUSE] = at[REFUSE_NET] = refuse;
    at[SELF_FIRST] = put(f, LOAD, ARGUMENT(0));

    (void) put(f, BPF_JMP | BPF_JA, (uint32_t) (is_self - f->start));
    size_t self_second = put(f, LOAD, ARGUMENT(1));
    (void) put_branch(f, GREATER, PRIO_PGRP, refuse, self_second);
    at[PRIORITY] = put(f, LOAD, ARGUMENT(0));
    (void) put_branch(f, GREATER, IOPRIO_PGRP, refuse, self_second);
    at[IO_PRIORITY] = put(f, LOAD, ARGUMENT(0));

    (void) put_branch(f, EQUAL, 0, allow, at[SELF_FIRST]);
    size_t high = put(f, LOAD, ARGUMENT_HIGH(2));
    (void) put_branch(f, EQUAL, 0, high, at[SELF_FIRST]);
    at[NEW_LIMIT] = put(f, LOAD, ARGUMENT(2));

    (void) put_branch(f, GREATER, IP_PROTOCOL_MAX, refuse, allow);
    size_t protocol = put(f, LOAD, ARGUMENT(2));
    size_t is_inet6 = put_branch(f, EQUAL, AF_INET6, protocol, allow);
    size_t is_inet = put_branch(f, EQUAL, AF_INET, protocol, is_inet6);
    (void) put_branch(f, EQUAL, FAMILY_SMC, refuse, is_inet);
    at[SOCKET] = put(f, LOAD, ARGUMENT(0));

    size_t is_ulp = put_branch(f, EQUAL, OPTION_ULP, refuse, allow);
    (void) put_branch(f, EQUAL, OPTION_FASTOPEN_CONNECT, refuse, is_ulp);
    size_t option = put(f, LOAD, ARGUMENT(2));
    (void) put_branch(f, EQUAL, LEVEL_TCP, option, allow);
    at[OPTION] = put(f, LOAD, ARGUMENT(1));

    (void) put_branch(f, HAS_BIT, SEND_FASTOPEN, refuse, allow);
    at[FLAGS_THIRD] = put(f, LOAD, ARGUMENT(2));
    (void) put_branch(f, HAS_BIT, SEND_FASTOPEN, refuse, allow);
    at[FLAGS_FOURTH] = put(f, LOAD, ARGUMENT(3));
    return allow;
}

/* The calls of one architecture; the kernel remembers those that no argument decides. */
static size_t put_calls(struct syscall_filter *f, enum arch arch, const size_t *at, size_t allow,
                        bool limit_connect)
{
    size_t next = allow;
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        uint32_t number = calls[i].number[arch];
        if (number != NO_CALL && (limit_connect || calls[i].check < OF_ALL)) {
            next = put_branch(f, EQUAL, number, at[calls[i].check], next);
        }
    }
    if (arch == X86_64) {
        (void) put_branch(f, AT_LEAST, X32_BIT, at[REFUSE], next);
    }
    return put(f, LOAD, offsetof(struct seccomp_data, nr));
}

void syscall_filter_make(struct syscall_filter *ret, bool limit_connect)
{
    size_t checks[CHECK_COUNT] = {0};
    size_t blocks[ARCH_COUNT] = {0};
    *ret = (struct syscall_filter){.start = SYSCALL_FILTER_MAX};
    size_t allow = put_checks(ret, checks);
    for (size_t i = 0; i < ARCH_COUNT; i++) {
        blocks[i] = put_calls(ret, (enum arch) i, checks, allow, limit_connect);
    }
    size_t next = checks[REFUSE];
    for (size_t i = 0; i < ARRAY_LEN(arches); i++) {
        next = put_branch(ret, EQUAL, arches[i].audit, blocks[arches[i].arch], next);
    }
    (void) put(ret, LOAD, offsetof(struct seccomp_data, arch));
}

/* The others are of big endian, or have other numbers. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ &&                                                   \
    (defined(__x86_64__) || defined(__i386__) || defined(__aarch64__) || defined(__arm__) ||       \
     (defined(__riscv) && __riscv_xlen == 64))
#define IS_KNOWN_ARCH true
#else
#define IS_KNOWN_ARCH false
#endif

bool syscall_filter_is_available(void)
{
    uint32_t action = SECCOMP_RET_ERRNO;
    return IS_KNOWN_ARCH && syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0U, &action) == 0;
}

int syscall_filter_enter(struct syscall_filter *filter)
{
    filter->code[filter->own_pid].k = (uint32_t) syscall(SYS_getpid);
    struct sock_fprog program = {(uint16_t) (SYSCALL_FILTER_MAX - filter->start),
                                 filter->code + filter->start};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program) <
                   0
               ? errno
               : 0;
}
