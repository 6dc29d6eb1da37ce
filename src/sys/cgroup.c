#include "edgible/cgroup.h"

#include "edgible/fd.h"
#include "proc_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define GROUPS_BELOW "1000"
#define FILE_MAX_BYTES ((size_t) 4 * 1024 * 1024)
/* How deep below a workload's group its own sub-groups are followed. */
#define DEPTH_MAX 16

struct cgroup_root {
    char *folder; /* the last part of path */
    char *path;
    int parent_fd; /* the agent's own cgroup, or that above it */
    int fd;
    bool has[CGROUP_CONTROLLER_COUNT]; /* in force for the groups of workloads */
    bool is_copy;
};

static const char *const controller_names[CGROUP_CONTROLLER_COUNT] = {
    [CGROUP_MEMORY] = "memory", [CGROUP_CPU] = "cpu", [CGROUP_PIDS] = "pids"};

/* mountinfo writes blank, tab, line feed and backslash as \040 and so on (proc_pid_mountinfo(5)).
 */
static void unescape_octal(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0';) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' &&
            from[2] <= '7' && from[3] >= '0' && from[3] <= '7') {
            *to++ = (char) ((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
            from += 4;
        } else {
            *to++ = *from++;
        }
    }
    *to = '\0';
}

/* "31 23 0:28 ROOT MOUNTPOINT options … - cgroup2 source …": true where the line is such a one. */
static bool parse_mount_line(char *line, char **ret_root, char **ret_point)
{
    char *separator = strstr(line, " - ");
    if (separator == NULL || strncmp(separator + 3, "cgroup2 ", 8) != 0) {
        return false;
    }
    char *fields[5] = {0};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        fields[i] = strsep(&line, " ");
        if (fields[i] == NULL) {
            return false;
        }
    }
    unescape_octal(fields[3]);
    unescape_octal(fields[4]);
    *ret_root = fields[3];
    *ret_point = fields[4];
    return true;
}

/* What is left of path below root; NULL where it does not lie there. */
static const char *path_below(const char *path, const char *root)
{
    size_t len = strcmp(root, "/") == 0 ? 0 : strlen(root);
    if (strncmp(path, root, len) != 0 || (path[len] != '/' && path[len] != '\0')) {
        return NULL;
    }
    return path + len;
}

/* The path of this process in the v2 hierarchy; "/../x" lies outside our cgroup namespace. */
static char *read_own_cgroup(struct err *err)
{
    CLEANUP(free) char *text = NULL;
    size_t len = 0;
    if (fd_read_file(AT_FDCWD, "/proc/self/cgroup", FILE_MAX_BYTES, &text, &len, err) < 0) {
        return NULL;
    }
    char *rest = text;
    char *line = NULL;
    while ((line = strsep(&rest, "\n")) != NULL) {
        if (strncmp(line, "0::/", 4) == 0 && strncmp(line, "0::/..", 6) != 0) {
            return xstrdup(line + 3);
        }
    }
    (void) err_set(err, ENOENT, "this process is in no cgroup v2 that it can see");
    return NULL;
}

/* Where this process's own cgroup is found in the file system. */
static char *find_own_folder(struct err *err)
{
    CLEANUP(free) char *own = read_own_cgroup(err);
    if (own == NULL) {
        return NULL;
    }
    CLEANUP(free) char *text = NULL;
    size_t len = 0;
    if (fd_read_file(AT_FDCWD, "/proc/self/mountinfo", FILE_MAX_BYTES, &text, &len, err) < 0) {
        return NULL;
    }
    char *rest = text;
    char *line = NULL;
    while ((line = strsep(&rest, "\n")) != NULL) {
        char *root = NULL;
        char *point = NULL;
        if (!parse_mount_line(line, &root, &point)) {
            continue;
        }
        const char *below = path_below(own, root);
        if (below != NULL) {
            return xasprintf("%s%s", point, strcmp(below, "/") == 0 ? "" : below);
        }
    }
    (void) err_set(err, ENOENT, "no cgroup v2 is mounted");
    return NULL;
}

/* systemd marks a group that it leaves to its processes. */
static bool is_delegated(const char *folder)
{
    char mark[2] = "";
    return getxattr(folder, "user.delegate", mark, sizeof(mark)) == 1 && mark[0] == '1';
}

/*
 * Where groups of workloads are made: beside this process's own where that one is a sub-group of
 * what was delegated (DelegateSubgroup=, systemd 254), which leaves the group above without
 * processes, so that it can have controllers; else in our own.
 */
static char *find_base_folder(struct err *err)
{
    CLEANUP(free) char *own = find_own_folder(err);
    const char *slash = own != NULL ? strrchr(own, '/') : NULL;
    if (slash == NULL) {
        return steal_ptr(&own);
    }
    CLEANUP(free) char *above = xstrndup(own, (size_t) (slash - own));
    CLEANUP(free) char *procs = xasprintf("%s/cgroup.procs", above);
    bool is_sub_group = !is_delegated(own) && is_delegated(above) &&
                        faccessat(AT_FDCWD, procs, W_OK, AT_EACCESS) == 0;
    return is_sub_group ? steal_ptr(&above) : steal_ptr(&own);
}

static bool is_plain_name(const char *name)
{
    return name[0] != '\0' && strchr(name, '/') == NULL && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0;
}

/* Others can enter the folders and not open them: they could hold their locks, for which the agent
 * waits when it makes or removes a group. */
#define FOLDER_MODE 0711

static int open_folder(int dirfd, const char *name)
{
    return openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

/* Moving a process needs write access to cgroup.procs of the destination and of the common
 * ancestor (cgroups(7)); here these are the new folder and the one that it is in. */
static int check_writable(const struct cgroup_root *root, struct err *err)
{
    if (faccessat(root->parent_fd, "cgroup.procs", W_OK, AT_EACCESS) < 0 ||
        faccessat(root->fd, "cgroup.procs", W_OK, AT_EACCESS) < 0) {
        return err_set(err, errno, "no leave to move processes to '%s'", root->path);
    }
    return 0;
}

static int fill_root(struct cgroup_root *root, const char *base, struct err *err)
{
    root->parent_fd = open(base, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root->parent_fd < 0) {
        return err_set(err, errno, "open '%s'", base);
    }
    root->fd = open_folder(root->parent_fd, root->folder);
    if (root->fd < 0 && errno == ENOENT) {
        if (mkdirat(root->parent_fd, root->folder, FOLDER_MODE) < 0) {
            return err_set(err, errno, "create the cgroup '%s'", root->path);
        }
        root->fd = open_folder(root->parent_fd, root->folder);
    }
    if (root->fd < 0) {
        return err_set(err, errno, "open '%s'", root->path);
    }
    (void) !fchmod(root->fd, FOLDER_MODE); /* an earlier agent's can be read */
    return check_writable(root, err);
}

static int write_file(int dirfd, const char *name, const char *text)
{
    CLEANUP(close_fd) int fd = openat(dirfd, name, O_WRONLY | O_CLOEXEC);
    return fd < 0 ? -1 : fd_write_all(fd, text, strlen(text), NULL);
}

/*
 * A controller counts for workloads once it is enabled in the group above the folder and in the
 * folder. A group with processes, as our own is unless it is the root, refuses that ("no internal
 * processes", cgroups(7)); moving ourselves would keep systemd from starting the next agent in it.
 */
static void enable_controllers(struct cgroup_root *root)
{
    for (int i = 0; i < CGROUP_CONTROLLER_COUNT; i++) {
        char text[16];
        (void) snprintf(text, sizeof(text), "+%s", controller_names[i]);
        /* It may be enabled above already, by whoever delegated it. */
        (void) write_file(root->parent_fd, "cgroup.subtree_control", text);
        root->has[i] = write_file(root->fd, "cgroup.subtree_control", text) == 0;
    }
}

bool cgroup_has_controller(const struct cgroup_root *root, enum cgroup_controller controller)
{
    return root->has[controller];
}

int cgroup_set_limit(const struct cgroup_root *root, int fd, enum cgroup_controller controller,
                     int64_t value, struct err *err)
{
    static const char *const files[CGROUP_CONTROLLER_COUNT] = {
        [CGROUP_MEMORY] = "memory.max", [CGROUP_CPU] = "cpu.max", [CGROUP_PIDS] = "pids.max"};
    char text[64];
    if (!root->has[controller]) {
        return err_set(err, ENOTSUP, "the cgroup controller '%s' is not delegated",
                       controller_names[controller]);
    }
    if (controller == CGROUP_CPU) {
        (void) snprintf(text, sizeof(text), "%" PRId64 " 100000", value * 100);
    } else {
        (void) snprintf(text, sizeof(text), "%" PRId64, value);
    }
    if (write_file(fd, files[controller], text) < 0) {
        return err_set(err, errno, "write '%s' to '%s'", text, files[controller]);
    }
    if (controller == CGROUP_MEMORY) {
        (void) write_file(fd, "memory.oom.group", "1");
    }
    return 0;
}

/* Takes fd over. NULL where it cannot be read. */
static DIR *open_dir_of_fd(int take_fd)
{
    DIR *dir = fdopendir(take_fd);
    if (dir == NULL) {
        (void) close(take_fd);
    }
    return dir;
}

/* A group cannot be removed while what was killed in it is still dying, or when an agent was
 * killed before it could; only groups without processes and sub-groups go. */
static void remove_empty_groups(const struct cgroup_root *root)
{
    int fd = openat(root->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? open_dir_of_fd(fd) : NULL;
    if (dir == NULL) {
        return;
    }
    const struct dirent *entry = NULL;
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.' &&
            unlinkat(root->fd, entry->d_name, AT_REMOVEDIR) < 0) {
            (void) !fchmodat(root->fd, entry->d_name, FOLDER_MODE, 0); /* an earlier agent's */
        }
    }
    (void) closedir(dir);
}

struct cgroup_root *cgroup_root_open(const char *tag, struct err *err)
{
    if (!is_plain_name(tag)) {
        (void) err_set(err, EINVAL, "'%s' is no name for a cgroup", tag);
        return NULL;
    }
    CLEANUP(free) char *base = find_base_folder(err);
    if (base == NULL) {
        return NULL;
    }
    CLEANUP(cgroup_root) struct cgroup_root *root = xcalloc(1, sizeof(*root));
    root->parent_fd = -1;
    root->fd = -1;
    root->folder = xasprintf("edgible-%s", tag);
    root->path = xasprintf("%s/%s", base, root->folder);
    if (fill_root(root, base, err) < 0) {
        return NULL;
    }
    enable_controllers(root);
    remove_empty_groups(root);
    return steal_ptr(&root);
}

struct cgroup_root *cgroup_root_copy(const struct cgroup_root *root)
{
    struct cgroup_root *copy = xcalloc(1, sizeof(*copy));
    copy->is_copy = true;
    copy->parent_fd = -1;
    copy->path = xstrdup(root->path);
    copy->fd = fcntl(root->fd, F_DUPFD_CLOEXEC, 0);
    return copy;
}

void cgroup_root_free(struct cgroup_root *root)
{
    if (root == NULL) {
        return;
    }
    if (root->fd >= 0 && !root->is_copy) {
        remove_empty_groups(root);
        (void) unlinkat(root->parent_fd, root->folder, AT_REMOVEDIR);
    }
    if (root->fd >= 0) {
        (void) close(root->fd);
    }
    if (root->parent_fd >= 0) {
        (void) close(root->parent_fd);
    }
    free(root->folder);
    free(root->path);
    free(root);
}

const char *cgroup_root_path(const struct cgroup_root *root)
{
    return root->path;
}

/* A workload that may make groups in its own (containers do) makes so many: each is looked at. */
static void bound_groups_below(int group)
{
    CLEANUP(close_fd) int fd = openat(group, "cgroup.max.descendants", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void) !write(fd, GROUPS_BELOW, strlen(GROUPS_BELOW));
    }
}

int cgroup_make(const struct cgroup_root *root, const char *name, bool *ret_is_fresh,
                struct err *err)
{
    if (!is_plain_name(name)) {
        return err_set(err, EINVAL, "'%s' is no name for a cgroup", name);
    }
    /* Succeeds where it is there and empty. */
    (void) unlinkat(root->fd, name, AT_REMOVEDIR);
    bool is_fresh = mkdirat(root->fd, name, FOLDER_MODE) == 0;
    if (!is_fresh && errno != EEXIST) {
        return err_set(err, errno, "create the cgroup '%s/%s'", root->path, name);
    }
    int fd = open_folder(root->fd, name);
    if (fd < 0) {
        return err_set(err, errno, "open '%s/%s'", root->path, name);
    }
    bound_groups_below(fd);
    if (ret_is_fresh != NULL) {
        *ret_is_fresh = is_fresh;
    }
    return fd;
}

bool cgroup_is_populated(const struct cgroup_root *root, const char *name)
{
    CLEANUP(close_fd) int fd = is_plain_name(name) ? open_folder(root->fd, name) : -1;
    CLEANUP(free) char *text = NULL;
    size_t len = 0;
    if (fd < 0 || fd_read_file(fd, "cgroup.events", 4096, &text, &len, NULL) < 0) {
        return false;
    }
    return strstr(text, "populated 1") != NULL;
}

/* Of kernfs, the id is the inode (64-bit machines; elsewhere its lower half, which is enough). */
uint64_t cgroup_id(const struct cgroup_root *root, const char *name)
{
    CLEANUP(close_fd) int fd = is_plain_name(name) ? open_folder(root->fd, name) : -1;
    struct stat st;
    return fd >= 0 && fstat(fd, &st) == 0 ? st.st_ino : 0;
}

int64_t cgroup_read_cpu_ms(const struct cgroup_root *root, const char *name)
{
    CLEANUP(close_fd) int fd = is_plain_name(name) ? open_folder(root->fd, name) : -1;
    CLEANUP(free) char *text = NULL;
    size_t len = 0;
    if (fd < 0 || fd_read_file(fd, "cpu.stat", 4096, &text, &len, NULL) < 0) {
        return -1;
    }
    const char *line = strstr(text, "usage_usec ");
    return line != NULL ? strtoll(line + strlen("usage_usec "), NULL, 10) / 1000 : -1;
}

int64_t cgroup_read_oom_kills(const struct cgroup_root *root, const char *name)
{
    CLEANUP(close_fd) int fd = is_plain_name(name) ? open_folder(root->fd, name) : -1;
    CLEANUP(free) char *text = NULL;
    size_t len = 0;
    if (fd < 0 || fd_read_file(fd, "memory.events", 4096, &text, &len, NULL) < 0) {
        return -1;
    }
    const char *line = strstr(text, "oom_kill ");
    return line != NULL ? strtoll(line + strlen("oom_kill "), NULL, 10) : -1;
}

struct pid_list {
    pid_t *pids;
    size_t max;
    size_t written;
    size_t found;
};

static void add_pids(int fd, struct pid_list *list)
{
    CLEANUP(free) char *text = NULL;
    size_t len = 0;
    if (fd_read_file(fd, "cgroup.procs", FILE_MAX_BYTES, &text, &len, NULL) < 0) {
        return;
    }
    char *rest = text;
    char *line = NULL;
    while ((line = strsep(&rest, "\n")) != NULL) {
        /* 0 is a process outside our PID namespace. */
        pid_t pid = proc_parse_pid(line);
        if (pid <= 0) {
            continue;
        }
        list->found++;
        if (list->written < list->max) {
            list->pids[list->written++] = pid;
        }
    }
}

static void list_below(int take_fd, struct pid_list *list, int depth)
{
    add_pids(take_fd, list);
    DIR *dir = open_dir_of_fd(take_fd);
    if (dir == NULL) {
        return;
    }
    const struct dirent *entry = NULL;
    while (depth < DEPTH_MAX && (entry = readdir(dir)) != NULL) {
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.') {
            int fd = open_folder(dirfd(dir), entry->d_name);
            if (fd >= 0) {
                list_below(fd, list, depth + 1);
            }
        }
    }
    (void) closedir(dir);
}

size_t cgroup_list_pids(const struct cgroup_root *root, const char *name, pid_t *pids, size_t max)
{
    int fd = is_plain_name(name) ? open_folder(root->fd, name) : -1;
    if (fd < 0) {
        return 0;
    }
    struct pid_list list = {.pids = pids, .max = max};
    list_below(fd, &list, 0);
    return max == 0 ? list.found : list.written;
}

int cgroup_kill(const struct cgroup_root *root, const char *name, struct err *err)
{
    CLEANUP(close_fd) int folder = is_plain_name(name) ? open_folder(root->fd, name) : -1;
    if (folder < 0) {
        return err_set(err, errno, "open '%s/%s'", root->path, name);
    }
    CLEANUP(close_fd) int fd = openat(folder, "cgroup.kill", O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_set(err, errno, "open '%s/%s/cgroup.kill'", root->path, name);
    }
    if (fd_write_all(fd, "1", 1, err) < 0) {
        return err_prefix(err, "'%s/%s/cgroup.kill'", root->path, name);
    }
    return 0;
}

static bool remove_below(int parent_fd, const char *name, int depth)
{
    if (unlinkat(parent_fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT) {
        return true;
    }
    int fd = depth < DEPTH_MAX ? open_folder(parent_fd, name) : -1;
    DIR *dir = fd >= 0 ? open_dir_of_fd(fd) : NULL;
    if (dir == NULL) {
        return false;
    }
    const struct dirent *entry = NULL;
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.') {
            (void) remove_below(dirfd(dir), entry->d_name, depth + 1);
        }
    }
    (void) closedir(dir);
    return unlinkat(parent_fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT;
}

bool cgroup_remove(const struct cgroup_root *root, const char *name)
{
    return is_plain_name(name) && remove_below(root->fd, name, 0);
}
