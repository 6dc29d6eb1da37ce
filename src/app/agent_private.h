/*
 * The inside of the agent, shared by agent.c (composition), agent_signals.c (what it is told),
 * agent_notify.c (what the service manager is told) and agent_upgrade.c (the exec in place).
 */
#ifndef EDGIBLE_AGENT_PRIVATE_H
#define EDGIBLE_AGENT_PRIVATE_H

#include "edgible/api.h"
#include "edgible/cgroup.h"
#include "edgible/config.h"
#include "edgible/events.h"
#include "edgible/loop.h"
#include "edgible/persist.h"
#include "edgible/reconcile.h"
#include "edgible/source.h"
#include "edgible/supervisor.h"

#define AGENT_SIGNALS 5

struct upgrade;
struct notify;

struct agent {
    const char *config_path;
    char *program; /* path that an upgrade is found under */
    struct config *config;
    int state_lock, runtime_lock; /* -1 where both are one directory */
    char boot_id[64];
    struct loop *loop;
    struct events *events;
    struct persist *persist;
    struct cgroup_root *cgroups;
    struct supervisor *supervisor;
    struct reconcile *reconcile;
    struct source *source;
    struct loop_timer *end_timer; /* how long the last report may take; NULL: none is sent */
    struct api *api;              /* NULL: it could not be opened, and is tried again */
    struct loop_timer *api_timer; /* for that */
    int api_socket;               /* of the agent that executed this program; -1: none */
    struct loop_signal *signals[AGENT_SIGNALS];
    struct upgrade *upgrade; /* NULL: none is under way */
    struct notify *notify;   /* NULL: no service manager asks */
    bool stopping;           /* all workloads are being stopped */
    bool detaching;          /* they go on without this agent */
};

void agent_log_diag(const struct diag *diag);
void agent_log_err(const char *subsystem, const struct err *err);
/* Opens the API, or plans to try again. */
void agent_open_api(struct agent *agent);
int agent_open_source(struct agent *agent, struct err *err);

/* agent_signals.c */
/* First of all: what the agent is told from here on waits until it watches, and does not end it. */
void agent_hold_signals(void);
void agent_watch_signals(struct agent *agent);
void agent_unwatch_signals(struct agent *agent);

/* agent_notify.c; nothing is done where no service manager asks */
/* Before anything is started, as it takes variables out of the environment. */
void agent_notify_open(struct agent *agent);
void agent_notify_close(struct agent *agent);
/* Source and API are open, what an earlier agent left is adopted; and after a reload. */
void agent_notify_ready(struct agent *agent);
/* The state of workloads may be another: told soon. */
void agent_notify_change(struct agent *agent);
void agent_notify_reloading(struct agent *agent);
/* It stops all workloads, or detaches. */
void agent_notify_stopping(struct agent *agent);
void agent_notify_failed(struct agent *agent, const struct err *why);
/* For an exec in place the variables are put back, or where keep is false taken away again. */
void agent_notify_hand_over(const struct agent *agent, bool keep);

/* agent_upgrade.c */
/* The path that this program was started by; the caller frees. */
char *agent_find_program(const char *argv0);
/* Checks the program under that path and, where it is fit, executes it in this process. */
void agent_start_upgrade(struct agent *agent);
void agent_end_upgrade(struct agent *agent);
/* Takes over the locks of the agent that executed this program; false where none did. */
bool agent_take_locks(struct agent *agent);

#endif
