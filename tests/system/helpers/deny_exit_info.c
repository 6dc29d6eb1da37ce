/* Executes its arguments with the kernel kept from telling how processes of others ended: as before
 * Linux 6.15, ioctl(pidfd, PIDFD_GET_INFO) is not known. */
#include "deny.h"

/* The low half of the request: type 0xFF, number 11, whatever the size. */
#define REQUEST 0xFF0B

int main(int argc, char **argv)
{
    struct sock_filter code[] = {
        LOAD_CALL,
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xFFFF),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, REQUEST, 0, 1),
        DENY(EINVAL),
        ALLOW,
    };
    return execute_under(code, sizeof(code) / sizeof(code[0]), argc, argv);
}
