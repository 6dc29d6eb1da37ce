#include "edgible/creds.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Bounds for the buffers that getpwnam_r and getgrouplist ask to have enlarged. A group with
 * tens of thousands of members (directory services) needs a megabyte or so. */
#define NSS_BUFFER_MIN ((size_t) 4096)
#define NSS_BUFFER_MAX ((size_t) 16 * 1024 * 1024)
#define GROUPS_MAX 65536

enum nss_outcome { NSS_FOUND, NSS_ABSENT, NSS_FAILED };

struct creds *creds_copy(const struct creds *creds)
{
    struct creds *copy = xcalloc(1, sizeof(*copy));
    *copy = *creds;
    copy->groups = xcalloc(creds->group_count, sizeof(*copy->groups));
    if (creds->group_count > 0) {
        memcpy(copy->groups, creds->groups, creds->group_count * sizeof(*copy->groups));
    }
    copy->user = xstrdup(creds->user);
    copy->home = xstrdup(creds->home);
    copy->shell = xstrdup(creds->shell);
    return copy;
}

void creds_free(struct creds *creds)
{
    if (creds == NULL) {
        return;
    }
    free(creds->groups);
    free(creds->user);
    free(creds->home);
    free(creds->shell);
    free(creds);
}

/* getpwnam(3): "0 or ENOENT or ESRCH or EBADF or EPERM or ...: the given name or uid was not
 * found". The last two are as often a broken NSS module, so they count as a failed look-up. */
static enum nss_outcome nss_outcome_of(int rc, const void *found)
{
    if (found != NULL) {
        return NSS_FOUND;
    }
    if (rc == 0 || rc == ENOENT || rc == ESRCH) {
        return NSS_ABSENT;
    }
    errno = rc;
    return NSS_FAILED;
}

static bool parse_id(const char *text, uint32_t *ret)
{
    size_t len = strlen(text);
    if (len == 0 || len > 10 || strspn(text, "0123456789") != len) {
        return false;
    }
    unsigned long long value = strtoull(text, NULL, 10);
    /* 2³²-1 is "no id" to setresuid and friends. */
    if (value >= UINT32_MAX) {
        return false;
    }
    *ret = (uint32_t) value;
    return true;
}

/* By name, or by uid where name is NULL. *ret_buffer holds the strings of *ret; caller frees. */
static enum nss_outcome find_user(const char *name, uid_t uid, struct passwd *ret,
                                  char **ret_buffer)
{
    for (size_t size = NSS_BUFFER_MIN;; size *= 4) {
        CLEANUP(free) char *buffer = xmalloc(size);
        struct passwd *found = NULL;
        int rc = name != NULL ? getpwnam_r(name, ret, buffer, size, &found)
                              : getpwuid_r(uid, ret, buffer, size, &found);
        if (rc == ERANGE && size < NSS_BUFFER_MAX) {
            continue;
        }
        enum nss_outcome outcome = nss_outcome_of(rc, found);
        if (outcome == NSS_FOUND) {
            *ret_buffer = steal_ptr(&buffer);
        }
        return outcome;
    }
}

static enum nss_outcome find_group(const char *name, gid_t gid, gid_t *ret_gid)
{
    for (size_t size = NSS_BUFFER_MIN;; size *= 4) {
        CLEANUP(free) char *buffer = xmalloc(size);
        struct group entry;
        struct group *found = NULL;
        int rc = name != NULL ? getgrnam_r(name, &entry, buffer, size, &found)
                              : getgrgid_r(gid, &entry, buffer, size, &found);
        if (rc == ERANGE && size < NSS_BUFFER_MAX) {
            continue;
        }
        enum nss_outcome outcome = nss_outcome_of(rc, found);
        if (outcome == NSS_FOUND) {
            *ret_gid = entry.gr_gid;
        }
        return outcome;
    }
}

static int lookup_user(const char *user, struct passwd *ret, char **ret_buffer, struct err *err)
{
    enum nss_outcome outcome = find_user(user, 0, ret, ret_buffer);
    uint32_t id = 0;
    if (outcome == NSS_ABSENT && parse_id(user, &id)) {
        outcome = find_user(NULL, id, ret, ret_buffer);
    }
    if (outcome == NSS_FAILED) {
        return err_set(err, ERR_HOST, "look up user '%s': %m", user);
    }
    if (outcome == NSS_ABSENT) {
        return err_set(err, ERR_SPEC, "user '%s' does not exist", user);
    }
    return 0;
}

static int lookup_group(const char *group, gid_t *ret_gid, struct err *err)
{
    enum nss_outcome outcome = find_group(group, 0, ret_gid);
    uint32_t id = 0;
    if (outcome == NSS_ABSENT && parse_id(group, &id)) {
        outcome = find_group(NULL, id, ret_gid);
    }
    if (outcome == NSS_FAILED) {
        return err_set(err, ERR_HOST, "look up group '%s': %m", group);
    }
    if (outcome == NSS_ABSENT) {
        return err_set(err, ERR_SPEC, "group '%s' does not exist", group);
    }
    return 0;
}

/* Exactly the groups of the user's: not what root happens to be in, and never gid 0 by default. */
static int fill_groups_of_user(struct creds *creds, struct err *err)
{
    int capacity = 32;
    for (;;) {
        CLEANUP(free) gid_t *groups = xcalloc((size_t) capacity, sizeof(*groups));
        int count = capacity;
        if (getgrouplist(creds->user, creds->gid, groups, &count) >= 0) {
            creds->groups = steal_ptr(&groups);
            creds->group_count = (size_t) count;
            return 0;
        }
        if (capacity >= GROUPS_MAX) {
            return err_set(err, ERR_HOST, "user '%s' is in more than %d groups", creds->user,
                           GROUPS_MAX);
        }
        /* glibc says how many are needed, musl may not. */
        capacity = count > capacity && count <= GROUPS_MAX ? count : capacity * 2;
    }
}

/* What this process is in already. */
static int fill_own_groups(struct creds *creds, struct err *err)
{
    int count = getgroups(0, NULL);
    if (count < 0) {
        return err_set(err, ERR_HOST, "read the agent's own groups: %m");
    }
    CLEANUP(free) gid_t *groups = xcalloc((size_t) count + 1, sizeof(*groups));
    count = getgroups(count, groups);
    if (count < 0) {
        return err_set(err, ERR_HOST, "read the agent's own groups: %m");
    }
    bool has_gid = false;
    for (int i = 0; i < count; i++) {
        has_gid = has_gid || groups[i] == creds->gid;
    }
    if (!has_gid) {
        groups[count++] = creds->gid;
    }
    creds->groups = steal_ptr(&groups);
    creds->group_count = (size_t) count;
    return 0;
}

static void fill_strings(struct creds *creds, const struct passwd *entry)
{
    creds->user = xstrdup(entry->pw_name);
    creds->home = xstrdup(entry->pw_dir != NULL && entry->pw_dir[0] == '/' ? entry->pw_dir : "/");
    bool has_shell = entry->pw_shell != NULL && entry->pw_shell[0] != '\0';
    creds->shell = xstrdup(has_shell ? entry->pw_shell : "/bin/sh");
}

/* The agent's own user. It may have no entry (containers, dynamic users); that is no error. */
static int fill_own_user(struct creds *creds, struct err *err)
{
    struct passwd entry;
    CLEANUP(free) char *buffer = NULL;
    creds->uid = geteuid();
    creds->gid = getegid();
    enum nss_outcome outcome = find_user(NULL, creds->uid, &entry, &buffer);
    if (outcome == NSS_FAILED) {
        return err_set(err, ERR_HOST, "look up uid %u: %m", (unsigned) creds->uid);
    }
    if (outcome == NSS_ABSENT) {
        creds->user = xasprintf("%u", (unsigned) creds->uid);
        creds->home = xstrdup("/");
        creds->shell = xstrdup("/bin/sh");
        return 0;
    }
    fill_strings(creds, &entry);
    if (creds->change) {
        creds->gid = entry.pw_gid;
    }
    return 0;
}

static int fill_user(struct creds *creds, const char *user, struct err *err)
{
    if (user == NULL) {
        return fill_own_user(creds, err);
    }
    struct passwd entry;
    CLEANUP(free) char *buffer = NULL;
    if (lookup_user(user, &entry, &buffer, err) < 0) {
        return -1;
    }
    if (!creds->change && entry.pw_uid != geteuid()) {
        return err_set(err, ERR_SPEC,
                       "the agent runs as uid %u and may not start workloads as user '%s': run the "
                       "agent as root or leave 'user' out",
                       (unsigned) geteuid(), user);
    }
    creds->uid = entry.pw_uid;
    creds->gid = creds->change ? entry.pw_gid : getegid();
    fill_strings(creds, &entry);
    return 0;
}

static int fill_group(struct creds *creds, const char *group, struct err *err)
{
    gid_t gid = 0;
    if (lookup_group(group, &gid, err) < 0) {
        return -1;
    }
    if (!creds->change && gid != creds->gid) {
        return err_set(
            err, ERR_SPEC,
            "the agent runs as uid %u and may not start workloads in group '%s': run the "
            "agent as root or leave 'group' out",
            (unsigned) geteuid(), group);
    }
    creds->gid = gid;
    return 0;
}

struct creds *creds_lookup(const char *user, const char *group, struct err *err)
{
    CLEANUP(creds) struct creds *creds = xcalloc(1, sizeof(*creds));
    creds->change = geteuid() == 0;
    if (fill_user(creds, user, err) < 0) {
        return NULL;
    }
    if (group != NULL && fill_group(creds, group, err) < 0) {
        return NULL;
    }
    int rc = creds->change ? fill_groups_of_user(creds, err) : fill_own_groups(creds, err);
    return rc < 0 ? NULL : steal_ptr(&creds);
}
