#include "agent.h"

#include "config_file.h"
#include "edgible/cgroup.h"
#include "edgible/events.h"
#include "edgible/fd.h"
#include "edgible/loop.h"
#include "edgible/reconcile.h"
#include "edgible/source_directory.h"
#include "edgible/spawn.h"
#include "edgible/statedir.h"
#include "edgible/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct agent {
    const char *config_path;
    struct config *config;
    int lock_fd;
    struct loop *loop;
    struct events *events;
    struct cgroup_root *cgroups;
    struct supervisor *supervisor;
    struct reconcile *reconcile;
    struct source_directory *source;
    struct loop_signal *sigterm, *sigint, *sighup;
    bool stopping;
};

static void log_diag(const struct diag *diag)
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

static void log_err(const char *subsystem, const struct err *err)
{
    char text[ERR_MSG_MAX];
    log_error(subsystem, "%s", err_text(err, text, sizeof(text)));
}

/* --- signals -----------------------------------------------------------------------------------
 */

static void on_stop_signal(void *arg)
{
    struct agent *agent = arg;
    log_info("agent", agent->stopping
                          ? "told to stop again: what is left is killed"
                          : "told to stop: all workloads are stopped; a second signal skips the "
                            "grace periods");
    agent->stopping = true;
    source_directory_free(steal_ptr(&agent->source));
    supervisor_shutdown(agent->supervisor);
}

static void on_supervisor_empty(void *arg)
{
    struct agent *agent = arg;
    log_info("agent", "all workloads have stopped");
    loop_stop(agent->loop);
}

static void on_app_gone(void *arg, const char *name)
{
    const struct agent *agent = arg;
    reconcile_on_app_gone(agent->reconcile, name);
}

static void on_room(void *arg)
{
    struct agent *agent = arg;
    reconcile_on_room(agent->reconcile);
}

static void warn_of_fixed(const char *key, const char *now, const char *wanted)
{
    if (strcmp(now, wanted) != 0) {
        log_warn("config", "%s stays '%s' until the agent is restarted", key, now);
    }
}

/* What names files and directories in use cannot change under a running agent. */
static void keep_fixed(const struct config *now, struct config *wanted)
{
    const struct {
        const char *key;
        char *now;
        char **wanted;
    } fixed[] = {
        {"stateDir",    now->state_dir,   &wanted->state_dir  },
        {"runtimeDir",  now->runtime_dir, &wanted->runtime_dir},
        {"logDir",      now->log_dir,     &wanted->log_dir    },
        {"device.name", now->device_name, &wanted->device_name},
    };
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
        warn_of_fixed(fixed[i].key, fixed[i].now, *fixed[i].wanted);
        free(*fixed[i].wanted);
        *fixed[i].wanted = xstrdup(fixed[i].now);
    }
}

static int open_source(struct agent *agent, struct err *err);

static void on_reload_signal(void *arg)
{
    struct agent *agent = arg;
    if (agent->stopping) {
        return;
    }
    CLEANUP(diag) struct diag diag = {0};
    struct err err = {0};
    struct config *fresh = config_file_load(agent->config_path, &diag, &err);
    log_diag(&diag);
    if (fresh != NULL && fresh->source != SOURCE_DIRECTORY) {
        (void) err_set(&err, ERR_SPEC, "controlPlane: only a directory can be followed");
        config_free(steal_ptr(&fresh));
    }
    if (fresh == NULL) {
        log_err("config", &err);
        log_error("config", "nothing was changed; correct '%s' and send SIGHUP again",
                  agent->config_path);
        return;
    }
    struct config *old = agent->config;
    keep_fixed(old, fresh);
    agent->config = fresh;
    log_set(fresh->log_level, fresh->log_format);
    reconcile_set_config(agent->reconcile, fresh);
    if (strcmp(old->directory, fresh->directory) != 0) {
        source_directory_free(steal_ptr(&agent->source));
        (void) !open_source(agent, &err);
    } else {
        source_directory_give_view(agent->source);
    }
    config_free(old);
    log_info("config", "reloaded '%s'", agent->config_path);
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

static int make_dirs(const struct config *config, struct err *err)
{
    if (fd_make_dirs(config->state_dir, 0700, err) < 0 ||
        fd_make_dirs(config->runtime_dir, 0755, err) < 0 ||
        fd_make_dirs(config->log_dir, 0755, err) < 0) {
        return -1;
    }
    return 0;
}

static int open_supervisor(struct agent *agent, struct err *err)
{
    struct supervisor_params params = {
        .loop = agent->loop,
        .events = agent->events,
        .cgroups = agent->cgroups,
        .device_name = agent->config->device_name,
        .log_dir = agent->config->log_dir,
        .on_app_gone = on_app_gone,
        .on_room = on_room,
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

static int open_source(struct agent *agent, struct err *err)
{
    if (agent->config->source != SOURCE_DIRECTORY) {
        return err_set(err, ERR_SPEC,
                       "controlPlane: this version reads its applications from a directory only; "
                       "set controlPlane.directory");
    }
    struct source_params params = {
        .loop = agent->loop,
        .events = agent->events,
        .directory = agent->config->directory,
        .on_view = reconcile_view,
        .arg = agent->reconcile,
    };
    agent->source = source_directory_new(&params);
    return 0;
}

static void watch_signals(struct agent *agent)
{
    /* A log line, or a write past a file size limit, must not end the agent; SIGIO is how the
     * kernel tells that somebody waits for our read lease. Workloads get the defaults back. */
    (void) signal(SIGPIPE, SIG_IGN);
    (void) signal(SIGXFSZ, SIG_IGN);
    (void) signal(SIGIO, SIG_IGN);
    agent->sigterm = loop_signal_new(agent->loop, SIGTERM, on_stop_signal, agent);
    agent->sigint = loop_signal_new(agent->loop, SIGINT, on_stop_signal, agent);
    agent->sighup = loop_signal_new(agent->loop, SIGHUP, on_reload_signal, agent);
}

/* What is in the policy but not in force yet is said: an owner must not rely on it. */
static void warn_of_policy(const struct policy_config *policy)
{
    if (policy->has_commands || policy->has_write_paths || policy->max_workloads != UNSET) {
        log_warn("policy", "of the policy, this version puts into force users only; commands, "
                           "writePaths and maxWorkloads are not yet");
    }
}

static int agent_open(struct agent *agent, struct err *err)
{
    /* First of all, so that a signal during the start ends it as one later would. */
    agent->loop = loop_new(err);
    if (agent->loop == NULL) {
        return -1;
    }
    watch_signals(agent);
    if (make_dirs(agent->config, err) < 0) {
        return -1;
    }
    agent->lock_fd = statedir_lock(agent->config->state_dir, err);
    if (agent->lock_fd < 0) {
        /* The sentence says it all: "Device or resource busy" would only confuse. */
        err->code = err->code == EBUSY ? ERR_HOST : err->code;
        return -1;
    }
    agent->events = events_new();
    open_cgroups(agent);
    if (open_supervisor(agent, err) < 0) {
        return -1;
    }
    agent->reconcile = reconcile_new(agent->supervisor, agent->events, agent->config);
    warn_of_policy(&agent->config->policy);
    return open_source(agent, err);
}

static void agent_fini(struct agent *agent)
{
    source_directory_free(agent->source);
    reconcile_free(agent->reconcile);
    supervisor_free(agent->supervisor);
    cgroup_root_free(agent->cgroups);
    loop_signal_free(agent->sigterm);
    loop_signal_free(agent->sigint);
    loop_signal_free(agent->sighup);
    events_free(agent->events);
    loop_free(agent->loop);
    fd_close(&agent->lock_fd);
    config_free(agent->config);
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

int agent_run(const char *config_path)
{
    CLEANUP(diag) struct diag diag = {0};
    struct err err = {0};
    struct agent agent = {.config_path = config_path, .lock_fd = -1};
    if (hold_standard_fds(&err) < 0) {
        return EXIT_FAILURE;
    }
    agent.config = config_file_load(config_path, &diag, &err);
    if (agent.config != NULL) {
        log_set(agent.config->log_level, agent.config->log_format);
    }
    log_diag(&diag);
    int exit_code = EXIT_SUCCESS;
    if (agent.config == NULL || agent_open(&agent, &err) < 0) {
        log_err("agent", &err);
        exit_code = EXIT_FAILURE;
    } else {
        log_info("agent", "edgible-agent " EDGIBLE_VERSION " runs as PID %d for device '%s'",
                 (int) getpid(), agent.config->device_name);
        loop_run(agent.loop);
        log_info("agent", "ends");
    }
    agent_fini(&agent);
    return exit_code;
}
