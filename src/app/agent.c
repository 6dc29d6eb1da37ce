#include "agent.h"

#include "agent_private.h"
#include "config_file.h"
#include "device_name.h"
#include "edgible/caps.h"
#include "edgible/clock_record.h"
#include "edgible/fault.h"
#include "edgible/fd.h"
#include "edgible/log.h"
#include "edgible/proc.h"
#include "edgible/restore.h"
#include "edgible/spawn.h"
#include "edgible/statedir.h"
#include "edgible/trusted.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LAST_REPORT_MS 2000 /* of an agent that ends */
#define API_RETRY_MS 30000

void agent_log_diag(const struct diag *diag)
{
    for (size_t i = 0; i < diag->count; i++) {
        CLEANUP(free) char *line = diag_item_text(&diag->items[i]);
        if (diag->items[i].severity == DIAG_ERROR) {
            log_error("config", "%s", line);
        } else {
            log_warn("config", "%s", line);
        }
    }
}

void agent_log_err(const char *subsystem, const struct err *err)
{
    char text[ERR_MSG_MAX];
    log_error(subsystem, "%s", err_text(err, text, sizeof(text)));
}

/* --- what the supervisor says ------------------------------------------------------------------
 */

static void stop_loop(void *arg)
{
    struct agent *agent = arg;
    loop_stop(agent->loop);
}

/* The control plane is told, too. Whoever stops the agent once more does not wait for that. */
static void on_supervisor_empty(void *arg)
{
    struct agent *agent = arg;
    if (supervisor_workload_count(agent->supervisor) == 0) {
        log_info("agent", "all workloads have stopped");
    }
    if (agent->end_timer != NULL || agent->source == NULL ||
        !source_end(agent->source, stop_loop, agent)) {
        loop_stop(agent->loop);
        return;
    }
    agent->end_timer = loop_timer_new(agent->loop, stop_loop, agent);
    loop_timer_arm(agent->end_timer, loop_now() + LAST_REPORT_MS);
}

static void on_app_gone(void *arg, const char *name)
{
    const struct agent *agent = arg;
    reconcile_on_app_gone(agent->reconcile, name);
}

static void on_change(void *arg, const struct workload *workload)
{
    struct agent *agent = arg;
    if (agent->reconcile != NULL) {
        reconcile_on_change(agent->reconcile, workload);
    }
    agent_notify_change(agent);
}

static void on_forgotten(void *arg)
{
    struct agent *agent = arg;
    agent_notify_change(agent);
}

static void on_room(void *arg)
{
    struct agent *agent = arg;
    reconcile_on_room(agent->reconcile);
}

/* --- composition -------------------------------------------------------------------------------
 */

/* The tag keeps two agents of one machine apart: it names the state directory. */
static char *cgroup_tag(const char *state_dir)
{
    uint32_t hash = 2166136261U;
    for (const unsigned char *c = (const unsigned char *) state_dir; *c != '\0'; c++) {
        hash = (hash ^ *c) * 16777619U;
    }
    return xasprintf("%08x", hash);
}

static void open_cgroups(struct agent *agent)
{
    CLEANUP(free) char *tag = cgroup_tag(agent->config->state_dir);
    struct err err = {0};
    char text[ERR_MSG_MAX];
    agent->cgroups = cgroup_root_open(tag, &err);
    if (agent->cgroups == NULL) {
        log_info("agent", "runs without cgroups: %s", err_text(&err, text, sizeof(text)));
    } else {
        log_info("agent", "cgroups of workloads are in '%s'", cgroup_root_path(agent->cgroups));
    }
}

/* On a disk that takes nothing the agent runs what it can read: 0 then, and it is said. */
static int go_on_without(const char *what, struct err *err)
{
    char text[ERR_MSG_MAX];
    if (!fd_is_disk_refusal(err->code)) {
        return -1;
    }
    log_warn("agent", "%s: %s; the agent runs all the same", what,
             err_text(err, text, sizeof(text)));
    *err = (struct err){0};
    return 0;
}

/* What is in these folders is relied on: records of what ran, and the socket. */
static int make_own_dir(const char *name, const char *path, mode_t mode, struct err *err)
{
    if (trusted_check_way(path, err) < 0) {
        return err_prefix(err, "%s", name);
    }
    if (fd_make_dirs(path, mode, err) < 0) {
        return go_on_without(name, err) == 0 ? 0 : err_prefix(err, "%s", name);
    }
    return trusted_check_folder(path, err) == 0 ? 0 : err_prefix(err, "%s", name);
}

static int make_dirs(const struct config *config, struct err *err)
{
    (void) umask(022); /* folders for logs can be entered by the workloads' groups */
    /* Entered, and not read: who can open a folder can hold its lock, and with it who makes,
     * renames or removes something there. */
    if (make_own_dir("stateDir", config->state_dir, 0700, err) < 0 ||
        make_own_dir("runtimeDir", config->runtime_dir, 0711, err) < 0) {
        return -1;
    }
    return fd_make_dirs(config->log_dir, 0711, err) == 0 ? 0 : go_on_without("logDir", err);
}

static int open_supervisor(struct agent *agent, struct err *err)
{
    CLEANUP(free) char *journal_dir = xasprintf("%s/logs", agent->config->runtime_dir);
    if (fd_make_dirs(journal_dir, 0700, err) < 0) {
        if (go_on_without("runtimeDir", err) < 0) {
            return -1;
        }
        free(steal_ptr(&journal_dir));
    }
    struct supervisor_params params = {
        .loop = agent->loop,
        .events = agent->events,
        .persist = agent->persist,
        .boot_id = agent->boot_id,
        .journal_dir = journal_dir,
        .cgroups = agent->cgroups,
        .device_name = agent->config->device_name,
        .log_dir = agent->config->log_dir,
        .policy = &agent->config->policy,
        .on_app_gone = on_app_gone,
        .on_room = on_room,
        .on_change = on_change,
        .on_forgotten = on_forgotten,
        .on_empty = on_supervisor_empty,
        .arg = agent,
    };
    if (spawn_become_subreaper(err) < 0 ||
        spawn_raise_open_files(&params.open_files_before, &params.open_files_now, err) < 0) {
        return -1;
    }
    agent->supervisor = supervisor_new(&params, err);
    return agent->supervisor != NULL ? 0 : -1;
}

int agent_open_source(struct agent *agent, struct err *err)
{
    struct source_params params = {
        .loop = agent->loop,
        .events = agent->events,
        .persist = agent->persist,
        .config = agent->config,
        .reconcile = agent->reconcile,
        .supervisor = agent->supervisor,
        .boot_id = agent->boot_id,
        .on_view = reconcile_view,
        .arg = agent->reconcile,
    };
    agent->source = source_open(&params, err);
    if (agent->api != NULL) {
        api_set_source(agent->api, agent->source);
    }
    return agent->source != NULL ? 0 : -1;
}

static void on_api_retry(void *arg)
{
    agent_open_api(arg);
}

static int make_socket_dir(const char *socket, struct err *err)
{
    const char *slash = strrchr(socket, '/');
    CLEANUP(free) char *dir = xstrndup(socket, slash != NULL ? (size_t) (slash - socket) : 0);
    return dir[0] != '\0' ? fd_make_dirs(dir, 0711, err) : 0;
}

/* Workloads run without it, too: what is wrong with the socket must not keep them down. */
void agent_open_api(struct agent *agent)
{
    struct err err = {0};
    struct api_params params = {
        .loop = agent->loop,
        .supervisor = agent->supervisor,
        .reconcile = agent->reconcile,
        .events = agent->events,
        .persist = agent->persist,
        .config = agent->config,
        .boot_id = agent->boot_id,
        .listen_fd = steal_fd(&agent->api_socket),
    };
    if (make_socket_dir(agent->config->api_socket, &err) == 0) {
        agent->api = api_new(&params, &err);
    }
    if (agent->api != NULL) {
        api_set_source(agent->api, agent->source);
        log_info("api", "listens at '%s'", agent->config->api_socket);
        return;
    }
    agent_log_err("api", &err);
    log_error("api", "runs without the API; tries again in %d s", API_RETRY_MS / 1000);
    if (agent->api_timer == NULL) {
        agent->api_timer = loop_timer_new(agent->loop, on_api_retry, agent);
    }
    loop_timer_arm(agent->api_timer, loop_now() + API_RETRY_MS);
}

/* Who may change documents from afar decides what runs here. */
static void warn_of_power(const struct config *config)
{
    if (config->source != SOURCE_DIRECTORY && !config->policy.present && geteuid() == 0) {
        log_warn("policy", "there is no policy, and this agent runs as root: whoever writes to the "
                           "control plane may run anything on this device as anybody");
    }
}

static bool is_same_dir(const char *a, const char *b)
{
    struct stat x;
    struct stat y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static int lock_dir(const char *name, const char *dir, int *ret_lock, struct err *err)
{
    *ret_lock = statedir_lock(dir, err);
    if (*ret_lock >= 0 || go_on_without(name, err) == 0) {
        return 0;
    }
    /* The sentence says it all: "Device or resource busy" would only confuse. */
    err->code = err->code == EBUSY ? ERR_HOST : err->code;
    return -1;
}

/* One agent a state directory, and one a runtime directory. */
static int lock_dirs(struct agent *agent, struct err *err)
{
    const struct config *config = agent->config;
    if (agent_take_locks(agent)) {
        return 0;
    }
    if (lock_dir("stateDir", config->state_dir, &agent->state_lock, err) < 0) {
        return -1;
    }
    return is_same_dir(config->state_dir, config->runtime_dir)
               ? 0
               : lock_dir("runtimeDir", config->runtime_dir, &agent->runtime_lock, err);
}

static int open_persist(struct agent *agent, struct err *err)
{
    struct persist_params params = {
        .loop = agent->loop,
        .state_dir = agent->config->state_dir,
        .runtime_dir = agent->config->runtime_dir,
        .boot_id = agent->boot_id,
    };
    if (proc_read_boot_id(agent->boot_id, sizeof(agent->boot_id), err) < 0) {
        return -1;
    }
    agent->persist = persist_new(&params, err);
    return agent->persist != NULL ? 0 : -1;
}

static int agent_open(struct agent *agent, struct err *err)
{
    agent->loop = loop_new(err);
    if (agent->loop == NULL) {
        return -1;
    }
    agent_watch_signals(agent);
    if (make_dirs(agent->config, err) < 0 || lock_dirs(agent, err) < 0 ||
        open_persist(agent, err) < 0) {
        return -1;
    }
    device_name_keep(agent->config);
    clock_record_restore(agent->persist);
    agent->events =
        events_new(agent->loop, agent->config->runtime_dir, agent->boot_id, agent->persist, err);
    if (agent->events == NULL) {
        return -1;
    }
    open_cgroups(agent);
    if (open_supervisor(agent, err) < 0) {
        return -1;
    }
    agent->reconcile =
        reconcile_new(agent->supervisor, agent->events, agent->persist, agent->config, agent->loop);
    warn_of_power(agent->config);
    restore_all(agent->persist, agent->reconcile, agent->supervisor, agent->boot_id);
    if (agent_open_source(agent, err) < 0) {
        return -1;
    }
    agent_open_api(agent);
    agent_notify_ready(agent);
    return 0;
}

/* Workloads go on; what is known of them is in the records. */
static void detach(struct agent *agent)
{
    struct err err = {0};
    char text[ERR_MSG_MAX];
    agent_notify_stopping(agent);
    if (supervisor_pause(agent->supervisor, &err) < 0) {
        log_warn("agent", "%s", err_text(&err, text, sizeof(text)));
    }
    log_info("agent", "detaches: %zu workloads go on, and the next agent adopts them",
             supervisor_workload_count(agent->supervisor));
    supervisor_abandon(agent->supervisor);
}

static void agent_fini(struct agent *agent)
{
    agent_end_upgrade(agent);
    agent_notify_close(agent);
    loop_timer_free(agent->api_timer);
    loop_timer_free(agent->end_timer);
    api_free(agent->api);
    fd_close(&agent->api_socket);
    source_free(agent->source);
    reconcile_free(agent->reconcile);
    supervisor_free(agent->supervisor);
    events_free(agent->events);
    persist_free(agent->persist);
    cgroup_root_free(agent->cgroups);
    agent_unwatch_signals(agent);
    loop_free(agent->loop);
    fd_close(&agent->state_lock);
    fd_close(&agent->runtime_lock);
    config_free(agent->config);
    free(agent->program);
}

/* Descriptors 0 to 2 that are closed would be taken by the next open(), and written to. */
static int hold_standard_fds(struct err *err)
{
    int fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO) {
        fd = open("/dev/null", O_RDWR);
    }
    if (fd < 0) {
        return err_set(err, errno, "open '/dev/null'");
    }
    (void) close(fd);
    return 0;
}

/* Before any thread is made: each has capabilities of its own. */
static void keep_needed_capabilities(void)
{
    struct err err = {0};
    CLEANUP(free) char *kept = NULL;
    char text[ERR_MSG_MAX];
    if (caps_keep_needed(&kept, &err) < 0) {
        log_warn("agent", "keeps all capabilities: %s", err_text(&err, text, sizeof(text)));
    } else if (geteuid() == 0) {
        log_info("agent", "of root's capabilities it keeps: %s", kept);
    }
}

int agent_run(const char *argv0, const char *config_path)
{
    agent_hold_signals();
    (void) mallopt(M_ARENA_MAX, 1); /* threads allocate too little for heaps of their own */
    CLEANUP(diag) struct diag diag = {0};
    struct err err = {0};
    struct agent agent = {.config_path = config_path,
                          .program = agent_find_program(argv0),
                          .state_lock = -1,
                          .runtime_lock = -1,
                          .api_socket = -1};
    if (hold_standard_fds(&err) < 0) {
        return EXIT_FAILURE;
    }
    agent_notify_open(&agent);
    agent.config = config_file_load(config_path, &diag, &err);
    if (agent.config != NULL) {
        log_set(agent.config->log_level, agent.config->log_format);
    }
    agent_log_diag(&diag);
    keep_needed_capabilities();
    spawn_leave_keyring();
    int exit_code = EXIT_SUCCESS;
    if (agent.config == NULL || agent_open(&agent, &err) < 0) {
        agent_log_err("agent", &err);
        agent_notify_failed(&agent, &err);
        exit_code = EXIT_FAILURE;
    } else {
        log_info("agent", "edgible-agent " EDGIBLE_VERSION " runs as PID %d for device '%s'",
                 (int) getpid(), agent.config->device_name);
        loop_run(agent.loop);
        if (agent.detaching) {
            detach(&agent);
        }
        log_info("agent", "ends");
    }
    agent_fini(&agent);
    return exit_code;
}
