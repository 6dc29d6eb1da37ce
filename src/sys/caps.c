#include "edgible/caps.h"

#include "edgible/buf.h"
#include "edgible/mem.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BIT(capability) (UINT64_C(1) << (capability))

/* All that the agent does as root and could not do as an ordinary user. */
static const struct {
    int number;
    const char *name;
} needed[] = {
    {CAP_CHOWN,        "chown"       }, /* logs and the socket are given to their owners */
    {CAP_DAC_OVERRIDE, "dac_override"}, /* logs in folders of other users, their files */
    {CAP_FOWNER,       "fowner"      }, /* the mode of a log that a workload's user owns */
    {CAP_KILL,         "kill"        }, /* workloads of other users are stopped */
    {CAP_SETGID,       "setgid"      }, /* `user`, `group` */
    {CAP_SETUID,       "setuid"      },
    {CAP_SYS_PTRACE,   "sys_ptrace"  }, /* environment and log pipe of other users' processes */
    {CAP_SYS_RESOURCE, "sys_resource"}, /* limits above the agent's own; large pipes */
    {CAP_LEASE,        "lease"       }, /* whether somebody still writes to another's document */
    {CAP_SYSLOG,       "syslog"      }, /* what the kernel says of an OOM kill */
};

static uint64_t join(const struct __user_cap_data_struct *data, bool permitted)
{
    uint32_t low = permitted ? data[0].permitted : data[0].effective;
    uint32_t high = permitted ? data[1].permitted : data[1].effective;
    return (uint64_t) high << 32 | low;
}

static char *list_kept(uint64_t kept)
{
    CLEANUP(buf) struct buf text = {0};
    for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
        if ((kept & BIT(needed[i].number)) != 0) {
            buf_printf(&text, "%s%s", text.len > 0 ? " " : "", needed[i].name);
        }
    }
    return text.len > 0 ? buf_steal(&text) : xstrdup("none");
}

int caps_keep_needed(char **ret_kept, struct err *err)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};
    /* By number: the C library has no function, and libcap would be one more thing to load. */
    if (syscall(SYS_capget, &header, data) < 0) {
        return err_set(err, errno, "read the capabilities");
    }
    uint64_t wanted = 0;
    for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
        wanted |= BIT(needed[i].number);
    }
    uint64_t kept = join(data, true) & wanted;
    uint64_t effective = join(data, false) & wanted;
    if (kept != join(data, true)) {
        data[0].permitted = (uint32_t) kept;
        data[1].permitted = (uint32_t) (kept >> 32);
        data[0].effective = (uint32_t) effective;
        data[1].effective = (uint32_t) (effective >> 32);
        if (syscall(SYS_capset, &header, data) < 0) {
            return err_set(err, errno, "give up capabilities");
        }
    }
    if (ret_kept != NULL) {
        *ret_kept = list_kept(kept);
    }
    return 0;
}
