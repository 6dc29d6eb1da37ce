#include "census.h"

#include "edgible/check_mark.h"
#include "edgible/fd.h"
#include "proc_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How long one look may wait for environments in all, on a thread and in the loop. */
#define ENVIRON_WAIT_MS 500
#define ENVIRON_WAIT_LOOP_MS 50
#define CGROUP_MAX ((size_t) 16 * 1024)
/* A parent chain that is longer was torn by the walk. */
#define CHAIN_MAX 4096

enum looked_up { NOT_ASKED, UNREADABLE, KNOWN };

struct census_details {
    enum looked_up cookie_state, uid_state, descent_state, pipe_state, cgroup_state, agent_state;
    uint64_t log_pipe;
    struct census_cookie cookie;
    char *cgroup; /* owned */
    struct census_witness witness;
    uid_t uid;
    bool descends, is_agent;
};

static pid_t key_of(const struct proc_stat *stat, enum census_key key)
{
    switch (key) {
    case CENSUS_BY_PARENT:
        return stat->ppid;
    case CENSUS_BY_GROUP:
        return stat->pgid;
    case CENSUS_BY_SESSION:
    case CENSUS_KEY_COUNT:
        break;
    }
    return stat->sid;
}

static int compare_pids(const void *a, const void *b)
{
    const struct proc_stat *left = a;
    const struct proc_stat *right = b;
    return (left->pid > right->pid) - (left->pid < right->pid);
}

struct sort_context {
    const struct proc_stat *procs;
    enum census_key key;
};

static int compare_keys(const void *a, const void *b, void *context)
{
    const struct sort_context *sort = context;
    const size_t *left = a;
    const size_t *right = b;
    pid_t left_key = key_of(&sort->procs[*left], sort->key);
    pid_t right_key = key_of(&sort->procs[*right], sort->key);
    if (left_key != right_key) {
        return left_key > right_key ? 1 : -1;
    }
    return (*left > *right) - (*left < *right);
}

static void build_index(struct census *census, enum census_key key)
{
    size_t *order = xcalloc(census->count, sizeof(*order));
    for (size_t i = 0; i < census->count; i++) {
        order[i] = i;
    }
    struct sort_context sort = {.procs = census->procs, .key = key};
    qsort_r(order, census->count, sizeof(*order), compare_keys, &sort);
    census->by[key].order = order;
}

static int walk(struct census *census, struct err *err)
{
    DIR *dir = opendir("/proc");
    if (dir == NULL) {
        return err_set(err, errno, "open '/proc'");
    }
    size_t capacity = 0;
    const struct dirent *entry = NULL;
    while ((entry = readdir(dir)) != NULL) {
        pid_t pid = proc_parse_pid(entry->d_name);
        if (pid == 0) {
            continue;
        }
        if (census->count == capacity) {
            capacity = capacity == 0 ? 256 : capacity * 2;
            census->procs = xrealloc(census->procs, capacity, sizeof(*census->procs));
        }
        /* One that cannot be read has gone, or is hidden from us (hidepid). */
        if (proc_stat_at(census->proc_fd, pid, &census->procs[census->count]) == 0) {
            census->count++;
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
            int cause = errno;
            (void) closedir(dir);
            return err_set(err, cause, "read '/proc/%d/stat'", (int) pid);
        }
    }
    (void) closedir(dir);
    return 0;
}

struct census *census_take(struct err *err)
{
    CLEANUP(census) struct census *census = xcalloc(1, sizeof(*census));
    census->self = getpid();
    census->environ_wait_ms = xcalloc(1, sizeof(*census->environ_wait_ms));
    *census->environ_wait_ms = ENVIRON_WAIT_MS;
    census->proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (census->proc_fd < 0) {
        (void) err_set(err, errno, "open '/proc'");
        return NULL;
    }
    if (walk(census, err) < 0) {
        return NULL;
    }
    if (census->count > 0) {
        qsort(census->procs, census->count, sizeof(*census->procs), compare_pids);
    }
    for (int key = 0; key < CENSUS_KEY_COUNT; key++) {
        build_index(census, (enum census_key) key);
    }
    census->details = xcalloc(census->count, sizeof(*census->details));
    return steal_ptr(&census);
}

void census_hurry(const struct census *census)
{
    if (*census->environ_wait_ms > ENVIRON_WAIT_LOOP_MS) {
        *census->environ_wait_ms = ENVIRON_WAIT_LOOP_MS;
    }
}

void census_free(struct census *census)
{
    if (census == NULL) {
        return;
    }
    for (size_t i = 0; census->details != NULL && i < census->count; i++) {
        free(census->details[i].cookie.application);
        free(census->details[i].cookie.workload);
        free(census->details[i].cookie.device);
        free(census->details[i].cookie.check);
        free(census->details[i].cgroup);
    }
    for (int key = 0; key < CENSUS_KEY_COUNT; key++) {
        free(census->by[key].order);
    }
    if (census->proc_fd >= 0) {
        (void) close(census->proc_fd);
    }
    free(census->environ_wait_ms);
    free(census->details);
    free(census->procs);
    free(census);
}

size_t census_find_pid(const struct census *census, pid_t pid)
{
    struct proc_stat wanted = {.pid = pid};
    if (census->count == 0) {
        return 0;
    }
    const struct proc_stat *found =
        bsearch(&wanted, census->procs, census->count, sizeof(wanted), compare_pids);
    return found != NULL ? (size_t) (found - census->procs) : census->count;
}

struct census_run census_find_run(const struct census *census, enum census_key key, pid_t value)
{
    const size_t *order = census->by[key].order;
    size_t low = 0;
    size_t high = census->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (key_of(&census->procs[order[middle]], key) < value) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    size_t end = low;
    while (end < census->count && key_of(&census->procs[order[end]], key) == value) {
        end++;
    }
    return (struct census_run){.positions = order + low, .count = end - low};
}

static bool walk_parent_chain(const struct census *census, size_t position)
{
    for (int steps = 0; steps < CHAIN_MAX && position < census->count; steps++) {
        const struct proc_stat *stat = &census->procs[position];
        if (stat->ppid == census->self) {
            return true;
        }
        if (stat->ppid <= 1) {
            return false;
        }
        position = census_find_pid(census, stat->ppid);
    }
    return false;
}

bool census_is_descendant(const struct census *census, size_t position)
{
    struct census_details *details = &census->details[position];
    if (details->descent_state == NOT_ASKED) {
        details->descends = walk_parent_chain(census, position);
        details->descent_state = KNOWN;
    }
    return details->descends;
}

/* Of a process that was seen, and not of another one that has its number by now. */
static bool is_same(const struct census *census, const struct proc_stat *seen)
{
    struct proc_stat now;
    return proc_stat_at(census->proc_fd, seen->pid, &now) == 0 &&
           now.start_ticks == seen->start_ticks;
}

/* The start of a file below /proc/PID as a string with NULs inside; NULL where it cannot be read.
 * Only of the process the census saw: its start time is compared after the read. */
static char *read_proc_file(const struct census *census, size_t position, const char *name,
                            size_t max, size_t *ret_len)
{
    const struct proc_stat *seen = &census->procs[position];
    char path[64];
    (void) snprintf(path, sizeof(path), "%d/%s", (int) seen->pid, name);
    CLEANUP(free) char *data = proc_read_head(census->proc_fd, path, max, ret_len);
    return data != NULL && is_same(census, seen) ? steal_ptr(&data) : NULL;
}

/* The value where the entry is "name=value", else NULL. */
static const char *env_value(const char *entry, const char *name)
{
    size_t len = strlen(name);
    return strncmp(entry, name, len) == 0 && entry[len] == '=' ? entry + len + 1 : NULL;
}

static void set_once(char **to, const char *value)
{
    /* Of two entries of a name the first is what getenv() finds. */
    if (value != NULL && *to == NULL) {
        *to = xstrdup(value);
    }
}

static void parse_cookie(const char *data, size_t len, struct census_cookie *ret)
{
    for (const char *at = data; at < data + len; at += strlen(at) + 1) {
        if (strncmp(at, "EDGIBLE_", 8) == 0) {
            set_once(&ret->application, env_value(at, "EDGIBLE_APPLICATION"));
            set_once(&ret->workload, env_value(at, "EDGIBLE_WORKLOAD"));
            set_once(&ret->device, env_value(at, "EDGIBLE_DEVICE"));
            set_once(&ret->check, env_value(at, CHECK_MARK_NAME));
        }
    }
    set_once(&ret->application, "");
    set_once(&ret->workload, "");
    set_once(&ret->device, "");
    set_once(&ret->check, "");
}

const struct census_cookie *census_cookie(const struct census *census, size_t position)
{
    struct census_details *details = &census->details[position];
    if (details->cookie_state == NOT_ASKED) {
        details->cookie_state = UNREADABLE;
        size_t len = 0;
        CLEANUP(free) char *data = NULL;
        const struct proc_stat *seen = &census->procs[position];
        if (seen->state != 'D') { /* it may hold the lock */
            data = proc_read_environ(seen->pid, census->environ_wait_ms, &len);
        }
        if (data != NULL && is_same(census, seen)) {
            parse_cookie(data, len, &details->cookie);
            details->cookie_state = KNOWN;
        }
    }
    return details->cookie_state == KNOWN ? &details->cookie : NULL;
}

/* Log pipes are opened so (pump_open_pipe_end()), and no others; before version 0.2 for both. */
static bool is_opened_for_log(unsigned long flags)
{
    return (flags & O_ACCMODE) == O_RDWR ||
           ((flags & O_ACCMODE) == O_WRONLY && (flags & O_DSYNC) != 0);
}

/* The inode where descriptor `number` is a log pipe; 0 else. */
static uint64_t read_log_pipe(const struct census *census, pid_t pid, int number)
{
    char path[64];
    char info[64] = "";
    (void) snprintf(path, sizeof(path), "%d/fd/%d", (int) pid, number);
    uint64_t pipe = proc_link_to_pipe(census->proc_fd, path);
    if (pipe == 0) {
        return 0;
    }
    /* proc_pid_fdinfo(5): "flags:\t" and the open flags in octal. */
    (void) snprintf(path, sizeof(path), "%d/fdinfo/%d", (int) pid, number);
    CLEANUP(close_fd) int fd = openat(census->proc_fd, path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, info, sizeof(info) - 1) : -1;
    const char *flags = n > 0 ? strstr(info, "flags:") : NULL;
    bool is_log = flags != NULL && is_opened_for_log(strtoul(flags + strlen("flags:"), NULL, 8));
    return is_log ? pipe : 0;
}

uint64_t census_log_pipe(const struct census *census, size_t position)
{
    struct census_details *details = &census->details[position];
    if (details->pipe_state == NOT_ASKED) {
        const struct proc_stat *seen = &census->procs[position];
        uint64_t pipe = read_log_pipe(census, seen->pid, 1);
        pipe = pipe != 0 ? pipe : read_log_pipe(census, seen->pid, 2);
        details->log_pipe = is_same(census, seen) ? pipe : 0;
        details->pipe_state = KNOWN;
    }
    return details->log_pipe;
}

/* cgroups(7): the line of version 2 is "0::/way/to/the/group". The mount can show only a part of
 * that path, so the unique name of the root's folder is searched for. */
static char *find_cgroup(const char *data, const char *root)
{
    const char *line = strncmp(data, "0::", 3) == 0 ? data : strstr(data, "\n0::");
    const char *base = strrchr(root, '/');
    if (line == NULL || base == NULL) {
        return NULL;
    }
    line += strspn(line, "\n");
    CLEANUP(free) char *way = xstrndup(line, strcspn(line, "\n"));
    CLEANUP(free) char *folder = xasprintf("%s/", base);
    const char *name = strstr(way, folder);
    if (name == NULL) {
        return NULL;
    }
    name += strlen(folder);
    return xstrndup(name, strcspn(name, "/"));
}

const char *census_cgroup(const struct census *census, size_t position,
                          const struct cgroup_root *root)
{
    struct census_details *details = &census->details[position];
    if (details->cgroup_state == NOT_ASKED) {
        size_t len = 0;
        CLEANUP(free)
        char *data = read_proc_file(census, position, "cgroup", CGROUP_MAX, &len);
        details->cgroup = data != NULL ? find_cgroup(data, cgroup_root_path(root)) : NULL;
        details->cgroup_state = KNOWN;
    }
    return details->cgroup;
}

struct census_witness *census_witness(const struct census *census, size_t position)
{
    return &census->details[position].witness;
}

bool census_is_agent(const struct census *census, size_t position)
{
    struct census_details *details = &census->details[position];
    if (details->agent_state == NOT_ASKED) {
        size_t len = 0;
        CLEANUP(free) char *comm = read_proc_file(census, position, "comm", 64, &len);
        details->is_agent =
            comm != NULL && strncmp(comm, "edgible-agent", strlen("edgible-agent")) == 0;
        details->agent_state = KNOWN;
    }
    return details->is_agent;
}

bool census_read_uid(const struct census *census, size_t position, uid_t *ret_uid)
{
    struct census_details *details = &census->details[position];
    if (details->uid_state == NOT_ASKED) {
        details->uid_state = UNREADABLE;
        size_t len = 0;
        CLEANUP(free) char *data = read_proc_file(census, position, "status", 4096, &len);
        /* The real one: a set-uid program keeps that of who called it. */
        const char *line = data != NULL ? strstr(data, "\nUid:\t") : NULL;
        if (line != NULL) {
            details->uid = (uid_t) strtoul(line + strlen("\nUid:\t"), NULL, 10);
            details->uid_state = KNOWN;
        }
    }
    *ret_uid = details->uid;
    return details->uid_state == KNOWN;
}
