/*
 * killtree_stage: the stage of the killtree tests. Each scenario is an agent of its own: a forked
 * process that is a subreaper and starts workloads that try to get away.
 */
#ifndef EDGIBLE_TESTS_KILLTREE_STAGE_H
#define EDGIBLE_TESTS_KILLTREE_STAGE_H

#include "edgible/killtree.h"
#include "sys_test.h"

static char folder[] = "/tmp/edgible-killtree-XXXXXX";
static const char *stage_output = "/dev/null"; /* where workloads print to */
static char *double_fork_path;
static char *forkbomb_path;

struct workload {
    struct killtree_target target;
    struct spawned process;
    char pid_file[64];
};

/* Kills and reaps all descendants: as they lose their parents they become our children. */
static inline int clean_up(void)
{
    pid_t pids[256];
    long until = now_ms() + 20000;
    size_t count = 0;
    while ((count = proc_list_children(pids, ARRAY_LEN(pids))) > 0 && now_ms() < until) {
        for (size_t i = 0; i < count; i++) {
            (void) kill(pids[i], SIGKILL);
            (void) proc_reap(pids[i]);
        }
    }
    CHECK(count == 0);
    return 0;
}

static inline int play_agent(const void *arg)
{
    int (*play)(void) = NULL;
    memcpy(&play, arg, sizeof(play));
    CHECK(spawn_become_subreaper(NULL) == 0);
    int rc = play();
    return clean_up() != 0 ? 1 : rc;
}

static inline void run_agent(int (*play)(void))
{
    assert_int_equal(run_scenario(play_agent, &play), 0);
}

/* Starts program with the cookie of application "app", device "device-1". "@" among the arguments
 * is the file for pids. */
static inline int start_workload(struct workload *ret, const char *name, const char *program,
                                 const char *const *args, int cgroup_fd)
{
    static int number;
    *ret = (struct workload){0};
    (void) snprintf(ret->pid_file, sizeof(ret->pid_file), "%s/%d-%d", folder, (int) getpid(),
                    number++);
    CLEANUP(strv) struct strv argv = {0};
    CLEANUP(strv) struct strv envp = {0};
    strv_add(&argv, program);
    for (; *args != NULL; args++) {
        strv_add(&argv, strcmp(*args, "@") == 0 ? ret->pid_file : *args);
    }
    strv_add(&envp, "PATH=/usr/bin:/bin");
    strv_add(&envp, "EDGIBLE_APPLICATION=app");
    strv_add_take(&envp, xasprintf("EDGIBLE_WORKLOAD=%s", name));
    strv_add(&envp, "EDGIBLE_DEVICE=device-1");
    char *const paths[] = {argv.items[0], NULL};
    CLEANUP(close_fd) int output = open(stage_output, O_RDWR | O_CLOEXEC);
    struct spawn_request request = usual_request(argv.items, envp.items);
    request.paths = paths;
    request.output_fd = output;
    request.cgroup_fd = cgroup_fd;
    struct spawn_fault fault;
    CHECK(spawn(&request, &ret->process, NULL) == 0);
    spawn_release(ret->process.handshake_fd);
    CHECK(await_handshake(ret->process.handshake_fd, &fault) == SPAWN_STARTED);
    ret->target = (struct killtree_target){
        .leader = ret->process.pid,
        .start_ticks = proc_read_start_ticks(ret->process.pid),
        .uid = geteuid(),
        .application = "app",
        .workload = name,
        .device = "device-1",
    };
    return 0;
}

static inline int start_sleeper(struct workload *ret, const char *name)
{
    static const char *const args[] = {"300", NULL};
    return start_workload(ret, name, "/bin/sleep", args, -1);
}

/* The pids in the file, once there are `count` of them. */
static inline int read_pids(const struct workload *workload, pid_t *pids, size_t count)
{
    CLEANUP(free) char *text = NULL;
    size_t len = 0;
    if (fd_read_file(AT_FDCWD, workload->pid_file, 4096, &text, &len, NULL) < 0) {
        return -1;
    }
    char *at = text;
    for (size_t i = 0; i < count; i++) {
        char *end = NULL;
        pids[i] = (pid_t) strtol(at, &end, 10);
        if (pids[i] <= 0 || *end != '\n') {
            return -1;
        }
        at = end + 1;
    }
    return 0;
}

/* Whether the program of that name runs there, its environment set up: during an exec it is empty.
 */
static inline bool runs(pid_t pid, const char *program)
{
    char path[32];
    char comm[32];
    CLEANUP(free) char *text = NULL;
    size_t len = 0;
    (void) snprintf(comm, sizeof(comm), "%s\n", program);
    (void) snprintf(path, sizeof(path), "/proc/%d/comm", (int) pid);
    if (fd_read_file(AT_FDCWD, path, 4096, &text, &len, NULL) < 0 || strcmp(text, comm) != 0) {
        return false;
    }
    free(steal_ptr(&text));
    (void) snprintf(path, sizeof(path), "/proc/%d/environ", (int) pid);
    return fd_read_file(AT_FDCWD, path, 65536, &text, &len, NULL) == 0 && len > 0;
}

static inline size_t find(const struct workload *workload, const struct killtree_target *others,
                          size_t other_count, pid_t *pids, size_t max)
{
    CLEANUP(census) struct census *census = census_take(NULL);
    if (census == NULL) {
        return SIZE_MAX;
    }
    return killtree_find(census, &workload->target, others, other_count, pids, max);
}

static inline bool contains(const pid_t *pids, size_t count, pid_t pid)
{
    for (size_t i = 0; i < count; i++) {
        if (pids[i] == pid) {
            return true;
        }
    }
    return false;
}

/* All are found for the workload, and nothing but them. */
static inline bool finds_exactly(const struct workload *workload, const pid_t *wanted, size_t count)
{
    pid_t pids[64];
    size_t found = find(workload, NULL, 0, pids, ARRAY_LEN(pids));
    for (size_t i = 0; i < count; i++) {
        if (!contains(pids, found, wanted[i])) {
            return false;
        }
    }
    return found == count;
}

static inline bool all_are_dead(const pid_t *pids, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!proc_is_dead(pids[i])) {
            return false;
        }
    }
    return true;
}

/* A series of rounds; how many processes live still. */
static inline size_t killtree_kill(const struct killtree_target *target,
                                   const struct killtree_target *others, size_t other_count)
{
    CLEANUP(killtree_rounds) struct killtree_rounds rounds = {0};
    bool goes_on = true;
    killtree_kill_group(target);
    while (goes_on) {
        CLEANUP(killtree_orders) struct killtree_orders orders = {0};
        CLEANUP(census) struct census *census = census_take(NULL);
        if (census == NULL) {
            return SIZE_MAX;
        }
        goes_on = killtree_round(&rounds, census, target, others, other_count, &orders);
        killtree_orders_send(&orders);
    }
    return rounds.count;
}

static inline bool kills_all(const struct workload *workload)
{
    return EVENTUALLY(killtree_kill(&workload->target, NULL, 0) == 0);
}

/* Group set-up: a folder for the files of pids, and the helpers where every user can run them. */
static inline int set_stage(void **state)
{
    (void) state;
    double_fork_path = public_helper("double_fork");
    forkbomb_path = public_helper("forkbomb");
    bool is_set = double_fork_path != NULL && forkbomb_path != NULL && mkdtemp(folder) != NULL;
    return is_set && chmod(folder, 01777) == 0 ? 0 : -1;
}

static inline int clear_stage(void **state)
{
    (void) state;
    (void) unlink(double_fork_path);
    (void) unlink(forkbomb_path);
    free(double_fork_path);
    free(forkbomb_path);
    return remove_tree(folder);
}

#endif
