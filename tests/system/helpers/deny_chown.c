/* Executes its arguments with a change of owners and modes refused, as some file systems do. */
#include "deny.h"

int main(int argc, char **argv)
{
    struct sock_filter code[] = {
        LOAD_CALL,
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fchown, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fchmod, 0, 1),
        DENY(EPERM),
        ALLOW,
    };
    return execute_under(code, sizeof(code) / sizeof(code[0]), argc, argv);
}
