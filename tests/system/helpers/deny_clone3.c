/* Executes its arguments with clone3 unknown, as the seccomp filters of containers have it. */
#include "deny.h"

int main(int argc, char **argv)
{
    struct sock_filter code[] = {
        LOAD_CALL,
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1),
        DENY(ENOSYS),
        ALLOW,
    };
    return execute_under(code, sizeof(code) / sizeof(code[0]), argc, argv);
}
