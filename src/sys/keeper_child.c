#include "keeper_child.h"

#include "edgible/keeper.h"
#include "raw_child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define OWN_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OWN_ARCH AUDIT_ARCH_AARCH64
#elif defined(__i386__)
#define OWN_ARCH AUDIT_ARCH_I386
#elif defined(__ARM_EABI__)
#define OWN_ARCH AUDIT_ARCH_ARM
#elif defined(__riscv) && __riscv_xlen == 64
#define OWN_ARCH AUDIT_ARCH_RISCV64
#endif

/* Where the socket is, behind stdin and output. */
#define SOCKET_FD 3
/* How long output that nobody has read is kept after its writers. */
#define REST_MS 60000

/* One entry a slot; fd NOTHING: it is free; another below 0: nobody can write to that one. */
static struct pollfd *held;
static unsigned used;
#define NOTHING (-1)

_Noreturn static void end(void)
{
    for (;;) {
        (void) syscall(SYS_exit_group, 0);
    }
}

/* Without rights beyond its user's, so that any agent of that user may look into it. */
static void give_up_rights(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};
    (void) syscall(SYS_capset, &header, none);
    (void) syscall(SYS_prctl, PR_SET_DUMPABLE, 1UL, 0UL, 0UL, 0UL);
    (void) syscall(SYS_prctl, PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0UL, 0UL, 0UL);
}

/* So that who ends all agents by name does not end what they leave behind. */
static void take_name(const struct keeper_plan *plan)
{
    /* The call itself: a sanitizer's prctl() takes locks that another thread may have held. */
    (void) syscall(SYS_prctl, PR_SET_NAME, KEEPER_NAME, 0UL, 0UL, 0UL);
    size_t size = plan->arguments_end - plan->arguments;
    if (plan->arguments != 0 && size > 0) {
        char *text = (char *) plan->arguments; // NOLINT(performance-no-int-to-ptr)
        memset(text, 0, size);
        memcpy(text, KEEPER_NAME, size > sizeof(KEEPER_NAME) ? sizeof(KEEPER_NAME) - 1 : size - 1);
    }
}

/* Whoever may trace this process gains nothing by it: it can make no process, and open and read
 * nothing. */
static void give_up_calls(void)
{
#ifdef OWN_ARCH
    static const int calls[] = {
        SYS_recvmsg,      SYS_close, SYS_ioctl, SYS_exit_group, SYS_ppoll, SYS_restart_syscall,
#ifdef SYS_poll
        SYS_poll,
#endif
#ifdef SYS_ppoll_time64
        SYS_ppoll_time64,
#endif
#ifdef SYS_socketcall
        SYS_socketcall,
#endif
    };
    enum { COUNT = sizeof(calls) / sizeof(calls[0]) };
    struct sock_filter code[COUNT + 6] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OWN_ARCH, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    };
    for (int i = 0; i < COUNT; i++) {
        code[4 + i] = (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned) calls[i],
                                                    (unsigned char) (COUNT - i), 0);
    }
    code[4 + COUNT] = (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    code[5 + COUNT] = (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    const struct sock_fprog program = {.len = COUNT + 6, .filter = code};
    (void) syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL);
    (void) syscall(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0UL, 0UL);
#endif
}

static void put(unsigned slot, int fd)
{
    if (slot >= KEEPER_SLOTS) {
        end();
    }
    for (; used <= slot; used++) {
        held[used].fd = NOTHING;
    }
    if (held[slot].fd != NOTHING) {
        (void) close(held[slot].fd);
    }
    held[slot].fd = fd;
}

/* A log thread may have closed it just before, and given its number to something else. */
static bool is_still(const struct keeper_end *at)
{
    struct stat st;
    return fstat(at->number, &st) == 0 && S_ISFIFO(st.st_mode) && st.st_ino == at->inode;
}

/* The agent's other descriptors must not outlive it here. */
static bool keep_ends_alone(const struct keeper_plan *plan)
{
    if (plan->socket != SOCKET_FD && dup2(plan->socket, SOCKET_FD) < 0) {
        return false;
    }
    int before = SOCKET_FD;
    for (size_t i = 0; i < plan->count; i++) {
        const struct keeper_end *at = &plan->ends[i];
        if (at->number > before && is_still(at)) {
            raw_child_close((unsigned) before + 1, (unsigned) at->number - 1, plan->close_upto);
            put(at->slot, at->number);
            before = at->number;
        }
    }
    raw_child_close((unsigned) before + 1, ~0U, plan->close_upto);
    (void) close(STDIN_FILENO);
    int null_fd = open("/dev/null", O_RDWR);
    return null_fd == STDIN_FILENO && dup2(null_fd, STDOUT_FILENO) >= 0 &&
           dup2(null_fd, STDERR_FILENO) >= 0;
}

/* False once the agent is gone. */
static bool take_message(void)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    unsigned slot = KEEPER_SLOTS;
    struct iovec data = {.iov_base = &slot, .iov_len = sizeof(slot)};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    int fd = NOTHING;
    ssize_t n = recvmsg(SOCKET_FD, &message, 0);
    const struct cmsghdr *part = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (part != NULL && part->cmsg_type == SCM_RIGHTS) {
        memcpy(&fd, CMSG_DATA(part), sizeof(fd));
    }
    if (n == sizeof(slot)) {
        put(slot, fd);
    }
    return n > 0;
}

/* Lets go of what is empty and has no writer. True while any pipe has one. */
static bool look_for_writers(bool *ret_has_rest)
{
    bool any = false;
    for (unsigned slot = 0; slot < used; slot++) {
        struct pollfd *pipe = &held[slot];
        int bytes = 0;
        if (pipe->fd > 0 && (pipe->revents & (POLLHUP | POLLERR)) != 0) {
            bool has_rest = ioctl(pipe->fd, FIONREAD, &bytes) == 0 && bytes > 0;
            *ret_has_rest = *ret_has_rest || has_rest;
            if (!has_rest) {
                (void) close(pipe->fd);
            }
            pipe->fd = has_rest ? -pipe->fd : NOTHING;
        }
        any = any || pipe->fd > 0;
    }
    return any;
}

_Noreturn static void go_on_alone(void)
{
    bool has_rest = false;
    (void) close(SOCKET_FD);
    do { /* no events: that there is no writer is told in any case */
        (void) poll(held, used, 0);
    } while (look_for_writers(&has_rest) && poll(held, used, -1) >= 0);
    if (has_rest) {
        (void) poll(NULL, 0, REST_MS);
    }
    end();
}

void keeper_child_run(const struct keeper_plan *plan)
{
    take_name(plan);
    (void) setpgid(0, 0);
    give_up_rights();
    held = plan->held;
    if (!keep_ends_alone(plan) || chdir("/") < 0) {
        end();
    }
    give_up_calls();
    while (take_message()) {
    }
    go_on_alone();
}
