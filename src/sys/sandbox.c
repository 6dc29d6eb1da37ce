#include "edgible/sandbox.h"

#include "edgible/doc_path.h"
#include "edgible/fd.h"
#include "edgible/mem.h"
#include "edgible/policy.h"
#include "edgible/trusted.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Debian 12's headers are of Linux 6.1; what came later, from Linux's landlock.h. */
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#define ACCESS_FS_IOCTL_DEV (1ULL << 15)
#define ACCESS_NET_CONNECT_TCP (1ULL << 1)
#define RULE_NET_PORT 2
#define SCOPE_ABSTRACT_UNIX_SOCKET (1ULL << 0)
#define SCOPE_SIGNAL (1ULL << 1)
/* What is opened for the paths of one sandbox, which takes some 20 ms where they have links. */
#define STEPS_MAX 4096
/* The versions that these came with. */
#define VERSION_NET 4
#define VERSION_SCOPE 6

struct ruleset_attr {
    uint64_t fs;
    uint64_t net;    /* version 4 and newer */
    uint64_t scoped; /* version 6 and newer */
};

struct net_port_attr {
    uint64_t access;
    uint64_t port;
};

#define READ                                                                                       \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define ALL_FS_1 ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1)
/* What can be allowed of a file; the rest is of folders. */
#define OF_FILES                                                                                   \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |   \
     LANDLOCK_ACCESS_FS_TRUNCATE | ACCESS_FS_IOCTL_DEV)

/* Without these hardly a program starts. */
static const char *const readable[] = {"/usr",
                                       "/lib",
                                       "/lib32",
                                       "/lib64",
                                       "/libx32",
                                       "/bin",
                                       "/sbin",
                                       "/etc/ld.so.cache",
                                       "/etc/ld.so.conf",
                                       "/etc/ld.so.conf.d",
                                       "/etc/ld.so.preload",
                                       "/etc/localtime",
                                       "/etc/nsswitch.conf",
                                       "/etc/resolv.conf",
                                       "/etc/hosts",
                                       "/etc/passwd",
                                       "/etc/group",
                                       "/etc/ssl",
                                       "/proc",
                                       "/sys/devices/system/cpu"};
static const char *const writable[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random",
                                       "/dev/urandom"};

int sandbox_version(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    return version > 0 ? (int) version : 0;
}

static uint64_t known_fs_access(int version)
{
    uint64_t access = ALL_FS_1;
    access |= version >= 2 ? LANDLOCK_ACCESS_FS_REFER : 0;
    access |= version >= 3 ? LANDLOCK_ACCESS_FS_TRUNCATE : 0;
    access |= version >= 5 ? ACCESS_FS_IOCTL_DEV : 0;
    return access;
}

static int allow_open(int ruleset, const char *path, int fd, uint64_t access, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        return err_set(err, errno, "look at '%s'", path);
    }
    struct landlock_path_beneath_attr rule = {
        .allowed_access = S_ISDIR(st.st_mode) ? access : access & OF_FILES, .parent_fd = fd};
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0) {
        return err_set(err, ERR_HOST, "allow '%s' in the sandbox: %m", path);
    }
    return 0;
}

/* One that no document names. */
static void allow_system_path(int ruleset, const char *path, uint64_t access)
{
    CLEANUP(close_fd) int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd >= 0) {
        (void) !allow_open(ruleset, path, fd, access, NULL);
    }
}

/* How the paths of a document are judged. */
struct bounds {
    struct trusted_bounds trusted;
    const struct strv *allowed; /* as of the request */
    bool is_program;            /* nothing but a file that can be executed */
};

/* A folder, or data, under the name of a program that is found elsewhere would be let in else. */
static int check_program(const char *path, int fd, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        return err_set(err, errno, "look at '%s'", path);
    }
    if (!S_ISREG(st.st_mode) || (st.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)) == 0) {
        return err_set(err, EACCES, "'%s' is not a program", path);
    }
    return 0;
}

/* What was opened, and not what the path led to at some other time. */
static int check_allowed(const char *path, int fd, const struct strv *allowed, struct err *err)
{
    CLEANUP(free) char *real = doc_path_of(fd, err);
    if (real == NULL) {
        return err_prefix(err, "'%s'", path);
    }
    if (policy_matches_any(allowed, real)) {
        return 0;
    }
    return err_set(err, ERR_SPEC, "'%s' is not among the policy.readPaths of this device", real);
}

static int allow_path(int ruleset, const char *path, const struct bounds *bounds, uint64_t access,
                      struct err *err)
{
    CLEANUP(close_fd) int fd = trusted_open(path, &bounds->trusted, err);
    if (fd < 0 || (bounds->allowed != NULL && check_allowed(path, fd, bounds->allowed, err) < 0) ||
        (bounds->is_program && check_program(path, fd, err) < 0)) {
        return -1;
    }
    return allow_open(ruleset, path, fd, access, err);
}

static int allow_paths(int ruleset, const char *member, const struct strv *paths,
                       const struct bounds *bounds, uint64_t access, struct err *err)
{
    for (size_t i = 0; i < paths->count; i++) {
        if (allow_path(ruleset, paths->items[i], bounds, access, err) < 0) {
            if (err != NULL && err->code == ENOENT) {
                return err_set(err, ERR_SPEC, "sandbox.%s[%zu]: '%s' does not exist", member, i,
                               paths->items[i]);
            }
            return err_prefix(err, "sandbox.%s[%zu]", member, i);
        }
    }
    return 0;
}

static int allow_ports(int ruleset, const struct sandbox_request *request, struct err *err)
{
    for (size_t i = 0; i < request->connect_count; i++) {
        struct net_port_attr rule = {ACCESS_NET_CONNECT_TCP, request->connect[i]};
        if (syscall(SYS_landlock_add_rule, ruleset, RULE_NET_PORT, &rule, 0) < 0) {
            return err_set(err, ERR_HOST, "allow port %d in the sandbox: %m",
                           (int) request->connect[i]);
        }
    }
    return 0;
}

/* What every program needs, as far as it is there. */
static void allow_base(int ruleset, uint64_t write)
{
    for (size_t i = 0; i < ARRAY_LEN(readable); i++) {
        allow_system_path(ruleset, readable[i], READ);
    }
    for (size_t i = 0; i < ARRAY_LEN(writable); i++) {
        allow_system_path(ruleset, writable[i], write);
    }
}

/* What need not be there: the start fails of that later, with its own reason. */
static int allow_own(int ruleset, const char *member, const char *path, const struct bounds *bounds,
                     struct err *err)
{
    if (path == NULL || allow_path(ruleset, path, bounds, READ, err) == 0 ||
        err->code != ERR_SPEC) {
        return 0;
    }
    return err_prefix(err, "sandbox: %s", member);
}

/* The folders that it may write to, which it could have put links into; the caller frees. */
static struct trusted_folder *find_bounds(const struct sandbox_request *request, unsigned *steps,
                                          size_t *ret_count)
{
    const struct trusted_bounds none = {.steps_left = steps};
    struct stat root;
    bool has_root = stat("/", &root) == 0;
    struct trusted_folder *folders = xcalloc(request->write->count + 1, sizeof(*folders));
    *ret_count = 0;
    for (size_t i = 0; i < request->write->count; i++) {
        struct stat st;
        CLEANUP(close_fd) int fd = trusted_open(request->write->items[i], &none, NULL);
        if (fd >= 0 && fstat(fd, &st) == 0) {
            if (has_root && st.st_dev == root.st_dev && st.st_ino == root.st_ino) {
                *ret_count = 0; /* it may write to all there is: no link can widen that */
                break;
            }
            folders[(*ret_count)++] = (struct trusted_folder){st.st_dev, st.st_ino};
        }
    }
    return folders;
}

static int allow_all(int ruleset, const struct sandbox_request *request, uint64_t write,
                     struct err *err)
{
    size_t count = 0;
    unsigned steps = STEPS_MAX; /* where they are used up, no path is opened any more */
    CLEANUP(free) struct trusted_folder *folders = find_bounds(request, &steps, &count);
    const struct trusted_bounds trusted = {folders, count, &steps};
    const struct bounds program_bounds = {.trusted = trusted, .is_program = true};
    const struct bounds bounds = {.trusted = trusted, .allowed = request->allowed};
    allow_base(ruleset, write);
    if (allow_own(ruleset, "command[0]", request->program, &program_bounds, err) < 0 ||
        allow_own(ruleset, "workingDir", request->working_dir, &bounds, err) < 0 ||
        allow_paths(ruleset, "read", request->read, &bounds, READ, err) < 0) {
        return -1;
    }
    return allow_paths(ruleset, "write", request->write, &bounds, write, err);
}

/* What an older kernel does not know is left out. */
static size_t attr_size(int version)
{
    if (version >= VERSION_SCOPE) {
        return sizeof(struct ruleset_attr);
    }
    return version >= VERSION_NET ? offsetof(struct ruleset_attr, scoped)
                                  : offsetof(struct ruleset_attr, net);
}

int sandbox_open(const struct sandbox_request *request, struct err *err)
{
    struct err local = {0};
    err = err != NULL ? err : &local;
    int version = sandbox_version();
    if (version == 0) {
        return err_set(err, ENOSYS, "this kernel has no Landlock");
    }
    bool has_net = version >= VERSION_NET && request->limit_connect;
    struct ruleset_attr attr = {.fs = known_fs_access(version),
                                .net = has_net ? ACCESS_NET_CONNECT_TCP : 0,
                                .scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL};
    CLEANUP(close_fd)
    int ruleset = (int) syscall(SYS_landlock_create_ruleset, &attr, attr_size(version), 0);
    if (ruleset < 0) {
        return err_set(err, ERR_HOST, "make a sandbox: %m");
    }
    if (allow_all(ruleset, request, attr.fs, err) < 0 ||
        (has_net && allow_ports(ruleset, request, err) < 0)) {
        return -1;
    }
    return steal_fd(&ruleset);
}

void sandbox_describe(int version, bool has_filter, bool limit_connect, char *buf, size_t size)
{
    if (version == 0) {
        (void) snprintf(buf, size, "none");
    } else {
        bool has_net = version >= VERSION_NET || !limit_connect;
        const char *lacks = version >= VERSION_SCOPE ? "" : ", without signals";
        (void) snprintf(buf, size, "landlock %d%s%s", version,
                        has_net ? lacks : ", without connect and signals",
                        has_filter ? "" : ", without system calls");
    }
}
