/* What the agent is told by signals. */
#include "agent_private.h"
#include "config_file.h"
#include "edgible/log.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static void on_stop_signal(void *arg)
{
    struct agent *agent = arg;
    log_info("agent", agent->stopping
                          ? "told to stop again: what is left is killed"
                          : "told to stop: all workloads are stopped; a second signal skips the "
                            "grace periods");
    agent->stopping = true;
    agent_end_upgrade(agent);
    if (agent->api != NULL) {
        api_set_source(agent->api, NULL);
    }
    if (agent->source != NULL) {
        source_stop(agent->source); /* it goes on to report */
        reconcile_drop_views(agent->reconcile);
    }
    supervisor_shutdown(agent->supervisor);
    agent_notify_stopping(agent);
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
        {"api.socket",  now->api_socket,  &wanted->api_socket },
    };
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
        warn_of_fixed(fixed[i].key, fixed[i].now, *fixed[i].wanted);
        free(*fixed[i].wanted);
        *fixed[i].wanted = xstrdup(fixed[i].now);
    }
}

static void reload(struct agent *agent)
{
    CLEANUP(diag) struct diag diag = {0};
    struct err err = {0};
    struct config *fresh = config_file_load(agent->config_path, &diag, &err);
    agent_log_diag(&diag);
    if (fresh == NULL) {
        agent_log_err("config", &err);
        log_error("config", "nothing was changed; correct '%s' and send SIGHUP again",
                  agent->config_path);
        return;
    }
    struct config *old = agent->config;
    keep_fixed(old, fresh);
    agent->config = fresh;
    log_set(fresh->log_level, fresh->log_format);
    supervisor_set_policy(agent->supervisor, &fresh->policy);
    reconcile_set_config(agent->reconcile, fresh);
    if (agent->api != NULL) {
        api_set_config(agent->api, fresh);
    }
    if (agent->source == NULL || !source_set_config(agent->source, fresh)) {
        if (agent->api != NULL) {
            api_set_source(agent->api, NULL);
        }
        source_free(steal_ptr(&agent->source));
        reconcile_new_source(agent->reconcile);
        if (agent_open_source(agent, &err) < 0) {
            agent_log_err("source", &err);
        }
    }
    config_free(old);
    log_info("config", "reloaded '%s'", agent->config_path);
}

static void on_reload_signal(void *arg)
{
    struct agent *agent = arg;
    if (agent->stopping) {
        return;
    }
    agent_notify_reloading(agent);
    reload(agent);
    agent_notify_ready(agent);
}

static void on_detach_signal(void *arg)
{
    struct agent *agent = arg;
    if (agent->stopping) {
        log_warn("agent", "told to detach while it stops all workloads: that goes on");
        return;
    }
    agent_end_upgrade(agent); /* or its exec could come yet in this turn */
    agent->detaching = true;
    loop_stop(agent->loop);
}

static void on_upgrade_signal(void *arg)
{
    struct agent *agent = arg;
    if (!agent->stopping) {
        agent_start_upgrade(agent);
    }
}

static const struct {
    int number;
    loop_fn fn;
} watched[AGENT_SIGNALS] = {
    {SIGTERM, on_stop_signal   },
    {SIGINT,  on_stop_signal   },
    {SIGHUP,  on_reload_signal },
    {SIGUSR1, on_detach_signal },
    {SIGUSR2, on_upgrade_signal},
};

void agent_hold_signals(void)
{
    /* A log line, or a write past a file size limit, must not end the agent; SIGIO is how the
     * kernel tells that somebody waits for our read lease. Workloads get the defaults back. */
    (void) signal(SIGPIPE, SIG_IGN);
    (void) signal(SIGXFSZ, SIG_IGN);
    (void) signal(SIGIO, SIG_IGN);
    sigset_t held;
    (void) sigemptyset(&held);
    for (size_t i = 0; i < AGENT_SIGNALS; i++) {
        (void) sigaddset(&held, watched[i].number);
    }
    /* Others that were blocked by who started us, or over an exec in place, come now. */
    (void) pthread_sigmask(SIG_SETMASK, &held, NULL);
}

void agent_watch_signals(struct agent *agent)
{
    for (size_t i = 0; i < AGENT_SIGNALS; i++) {
        agent->signals[i] = loop_signal_new(agent->loop, watched[i].number, watched[i].fn, agent);
    }
}

void agent_unwatch_signals(struct agent *agent)
{
    for (size_t i = 0; i < AGENT_SIGNALS; i++) {
        loop_signal_free(agent->signals[i]);
    }
}
