#include "edgible/log_owner.h"

#include "edgible/mem.h"

#include <assert.h>
#include <errno.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* 32-bit ARM and x86 have 16-bit ids under the plain names. The calls are made by number, since the
 * C library would change every thread of the process. */
#ifdef SYS_setgroups32
#define SET_GROUPS SYS_setgroups32
#define SET_RESUID SYS_setresuid32
#define SET_RESGID SYS_setresgid32
#else
#define SET_GROUPS SYS_setgroups
#define SET_RESUID SYS_setresuid
#define SET_RESGID SYS_setresgid
#endif

struct caps {
    struct __user_cap_header_struct header;
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
};

static int read_caps(struct caps *caps)
{
    caps->header = (struct __user_cap_header_struct){.version = _LINUX_CAPABILITY_VERSION_3};
    return (int) syscall(SYS_capget, &caps->header, caps->data);
}

static int set_effective(struct caps *caps, uint32_t low, uint32_t high)
{
    caps->data[0].effective = low;
    caps->data[1].effective = high;
    return (int) syscall(SYS_capset, &caps->header, caps->data);
}

/* The effective ids, and the file-system ids with them. The real and the saved ones stay: they
 * lead back, and keep others from signalling the thread. */
static int set_ids(uid_t uid, gid_t gid)
{
    return syscall(SET_RESGID, -1, gid, -1) == 0 && syscall(SET_RESUID, -1, uid, -1) == 0 ? 0 : -1;
}

static int read_own_groups(struct log_owner_before *before, struct err *err)
{
    int count = getgroups(0, NULL);
    before->groups = xcalloc(count > 0 ? (size_t) count : 1, sizeof(*before->groups));
    count = count > 0 ? getgroups(count, before->groups) : count;
    if (count < 0) {
        return err_set(err, errno, "read the agent's own groups");
    }
    before->group_count = (size_t) count;
    return 0;
}

bool log_owner_equals(const struct log_owner *a, const struct log_owner *b)
{
    return a->is_user == b->is_user && a->is_confined == b->is_confined &&
           a->is_judged == b->is_judged && a->uid == b->uid && a->gid == b->gid &&
           a->own_len == b->own_len && a->group_count == b->group_count &&
           memcmp(a->groups, b->groups, a->group_count * sizeof(a->groups[0])) == 0;
}

int log_owner_enter(const struct log_owner *owner, struct log_owner_before *ret_before,
                    struct err *err)
{
    struct caps caps;
    *ret_before = (struct log_owner_before){0};
    if (!owner->is_user) {
        return 0;
    }
    if (read_own_groups(ret_before, err) < 0) {
        free(steal_ptr(&ret_before->groups));
        return -1;
    }
    if (read_caps(&caps) < 0 ||
        syscall(SET_GROUPS, (size_t) owner->group_count, owner->groups) < 0) {
        int cause = errno;
        free(steal_ptr(&ret_before->groups));
        return err_set(err, cause, "act with the groups of uid %u", (unsigned) owner->uid);
    }
    ret_before->is_changed = true;
    ret_before->effective[0] = caps.data[0].effective;
    ret_before->effective[1] = caps.data[1].effective;
    ret_before->uid = geteuid();
    ret_before->gid = getegid();
    if (set_ids(owner->uid, owner->gid) < 0 || set_effective(&caps, 0, 0) < 0) {
        int cause = errno;
        log_owner_leave(ret_before);
        return err_set(err, cause, "act as uid %u", (unsigned) owner->uid);
    }
    return 0;
}

void log_owner_leave(struct log_owner_before *before)
{
    struct caps caps;
    if (!before->is_changed) {
        return;
    }
    bool is_back = read_caps(&caps) == 0 &&
                   set_effective(&caps, before->effective[0], before->effective[1]) == 0 &&
                   set_ids(before->uid, before->gid) == 0 &&
                   syscall(SET_GROUPS, before->group_count, before->groups) == 0;
    /* The change of the effective uid back to root raised what root always has: nothing more than
     * before stays. */
    is_back = is_back && read_caps(&caps) == 0 &&
              set_effective(&caps, before->effective[0], before->effective[1]) == 0;
    assert(is_back);
    free(steal_ptr(&before->groups));
    before->is_changed = false;
}
