/* Executes its arguments with no epoll watch left to their user. */
#include "deny.h"

#include <sys/epoll.h>

int main(int argc, char **argv)
{
    struct sock_filter code[] = {
        LOAD_CALL,
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_epoll_ctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, EPOLL_CTL_ADD, 0, 1),
        DENY(ENOSPC),
        ALLOW,
    };
    return execute_under(code, sizeof(code) / sizeof(code[0]), argc, argv);
}
