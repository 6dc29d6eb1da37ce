/*
 * SIGUSR2: the agent is replaced by the program that is now under its path, in the same process.
 * Children stay children; locks and log pipes stay open; all else the new program finds in the
 * records. First the new program has to pass a check of its own: one that does not is not executed.
 */
#include "agent.h"
#include "agent_private.h"
#include "edgible/buf.h"
#include "edgible/fd.h"
#include "edgible/log.h"
#include "edgible/proc.h"
#include "edgible/state_doc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK_MS 10000
/* Deploys over the API that are under way are answered first. */
#define DEPLOYS_MS 20000
#define DEPLOYS_POLL_MS 10
/* So long for the answers to be sent. */
#define ANSWERS_MS 1000
#define CHECK_OUTPUT_MAX ((size_t) 4096)
/* "<pid>:<fd>:<fd>": who executed this program, and its locks. */
#define LOCKS_VARIABLE "EDGIBLE_AGENT_LOCKS"
#define FIT_MARK "edgible-agent self-check: fit, records up to version "

struct upgrade {
    struct agent *agent;
    pid_t pid; /* of the check */
    int pidfd;
    int output_fd;
    struct loop_io *exit_io;
    struct loop_timer *timeout;
    mono_ms deploys_until; /* 0: it is not fit yet */
    mono_ms answers_until;
};

char *agent_find_program(const char *argv0)
{
    char path[PATH_MAX];
    if (argv0[0] == '/') {
        return xstrdup(argv0);
    }
    if (strchr(argv0, '/') != NULL && getcwd(path, sizeof(path)) != NULL) {
        return xasprintf("%s/%s", path, argv0);
    }
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    path[n > 0 ? n : 0] = '\0';
    return xstrdup(path);
}

int agent_self_check(const char *config_path)
{
    int rc = agent_check_config(config_path);
    if (rc == EXIT_SUCCESS) {
        (void) printf(FIT_MARK "%d\n", STATE_DOC_VERSION);
    }
    return rc;
}

/* --- the check -----------------------------------------------------------------------------------
 */

void agent_end_upgrade(struct agent *agent)
{
    struct upgrade *up = steal_ptr(&agent->upgrade);
    if (up == NULL) {
        return;
    }
    struct proc_exit ignored;
    loop_io_free(up->exit_io);
    loop_timer_free(up->timeout);
    proc_signal(up->pidfd, up->pid, SIGKILL);
    if (up->pidfd >= 0) {
        (void) !proc_wait_pidfd(up->pidfd, true, &ignored, NULL); /* else with the orphans */
    }
    supervisor_set_helper(agent->supervisor, 0);
    fd_close(&up->pidfd);
    fd_close(&up->output_fd);
    free(up);
}

static void refuse(struct agent *agent, const char *why)
{
    log_error("agent", "'%s' is not switched to: %s; this agent goes on", agent->program, why);
    agent_end_upgrade(agent);
}

/* NULL where the program is fit, else why it is not; the caller frees. */
static char *judge(const char *output, const struct proc_exit *ended)
{
    const char *mark = strstr(output, FIT_MARK);
    if (ended->signaled || ended->code != 0 || mark == NULL) {
        size_t line = strcspn(output, "\n");
        return xasprintf("it does not pass its self-check: %s %d%s%.*s",
                         ended->signaled ? "killed by signal" : "exit status", ended->code,
                         line > 0 ? ", " : "", (int) line, output);
    }
    if (strtol(mark + strlen(FIT_MARK), NULL, 10) < STATE_DOC_VERSION) {
        return xstrdup("it is older, and cannot read this agent's records");
    }
    return NULL;
}

/* --- the exec ------------------------------------------------------------------------------------
 */

static void keep_locks(const struct agent *agent, bool keep)
{
    const int locks[] = {agent->state_lock, agent->runtime_lock};
    for (size_t i = 0; i < ARRAY_LEN(locks); i++) {
        if (locks[i] >= 0) {
            (void) fcntl(locks[i], F_SETFD, keep ? 0 : FD_CLOEXEC);
        }
    }
}

/* The API's socket goes on listening: who connects meanwhile waits. -1: there is none. */
static int keep_socket(const struct agent *agent, bool keep)
{
    return agent->api != NULL ? api_keep_socket(agent->api, keep) : -1;
}

/* Returns only where it failed. No signal is lost in between: those that the agent watches are
 * pending in the kernel until it tells of them, the others until the new program lets them come. */
static void execute(struct agent *agent)
{
    CLEANUP(free) char *config_path = xstrdup(agent->config_path);
    fd_close_all_on_exec(STDERR_FILENO + 1); /* libcurl opens some without the flag */
    CLEANUP(free)
    char *locks = xasprintf("%d:%d:%d:%d", (int) getpid(), agent->state_lock, agent->runtime_lock,
                            keep_socket(agent, true));
    char config_option[] = "--config";
    char *argv[] = {agent->program, config_option, config_path, NULL};
    sigset_t all;
    sigset_t before;
    (void) sigfillset(&all);
    (void) pthread_sigmask(SIG_SETMASK, &all, &before);
    keep_locks(agent, true);
    supervisor_hand_over(agent->supervisor, true);
    (void) setenv(LOCKS_VARIABLE, locks, 1);
    agent_notify_hand_over(agent, true);
    (void) execv(agent->program, argv);
    int cause = errno;
    (void) unsetenv(LOCKS_VARIABLE);
    agent_notify_hand_over(agent, false);
    supervisor_hand_over(agent->supervisor, false);
    keep_locks(agent, false);
    (void) keep_socket(agent, false);
    (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = cause;
}

static void switch_over(struct agent *agent)
{
    struct err err = {0};
    char text[ERR_MSG_MAX];
    /* A thread in the kernel, at a disk that hangs, would make exec wait as long. */
    if (persist_flush(agent->persist, 1000, &err) < 0 ||
        supervisor_pause(agent->supervisor, &err) < 0) {
        refuse(agent, err_text(&err, text, sizeof(text)));
        return;
    }
    agent_end_upgrade(agent);
    log_info("agent", "switches to '%s'; workloads go on", agent->program);
    execute(agent);
    (void) snprintf(text, sizeof(text), "exec: %s", strerror(errno));
    supervisor_unpause(agent->supervisor);
    refuse(agent, text);
}

static void switch_over_after_deploys(struct upgrade *up)
{
    const struct api *api = up->agent->api;
    mono_ms now = loop_now();
    bool is_deploying = api != NULL && api_is_deploying(api);
    up->answers_until = is_deploying ? now + ANSWERS_MS : up->answers_until;
    bool is_answering = api != NULL && api_is_answering(api) && now < up->answers_until;
    if (is_deploying && now >= up->deploys_until) {
        refuse(up->agent, "deploys over its API are still under way");
    } else if (is_deploying || is_answering) {
        loop_timer_arm(up->timeout, now + DEPLOYS_POLL_MS);
    } else {
        switch_over(up->agent);
    }
}

static bool on_check_exit(void *arg)
{
    struct upgrade *up = arg;
    struct proc_exit ended = {0};
    if (proc_wait_pidfd(up->pidfd, false, &ended, NULL) == 0) {
        return false;
    }
    char output[CHECK_OUTPUT_MAX];
    ssize_t n = read(up->output_fd, output, sizeof(output) - 1);
    output[n > 0 ? n : 0] = '\0';
    CLEANUP(free) char *why = judge(output, &ended);
    loop_io_free(steal_ptr(&up->exit_io));
    supervisor_set_helper(up->agent->supervisor, 0);
    if (why != NULL) {
        refuse(up->agent, why);
    } else {
        up->deploys_until = loop_now() + DEPLOYS_MS;
        up->answers_until = loop_now() + ANSWERS_MS;
        switch_over_after_deploys(up);
    }
    return true;
}

static void on_timer(void *arg)
{
    struct upgrade *up = arg;
    if (up->deploys_until != 0) {
        switch_over_after_deploys(up);
    } else {
        refuse(up->agent, "its self-check takes longer than 10 s");
    }
}

static int spawn_check(struct upgrade *up, struct err *err)
{
    struct agent *agent = up->agent;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
        return err_set(err, errno, "make a pipe");
    }
    up->output_fd = ends[0];
    CLEANUP(close_fd) int output = ends[1];
    CLEANUP(free) char *config_path = xstrdup(agent->config_path);
    char config_option[] = "--config";
    char check_option[] = "--self-check";
    char *argv[] = {agent->program, config_option, config_path, check_option, NULL};
    posix_spawn_file_actions_t actions;
    (void) posix_spawn_file_actions_init(&actions);
    (void) posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    (void) posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
    sigset_t none;
    (void) sigemptyset(&none);
    posix_spawnattr_t attributes;
    (void) posix_spawnattr_init(&attributes);
    (void) posix_spawnattr_setsigmask(&attributes, &none);
    (void) posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    int rc = posix_spawn(&up->pid, agent->program, &actions, &attributes, argv, environ);
    (void) posix_spawnattr_destroy(&attributes);
    (void) posix_spawn_file_actions_destroy(&actions);
    if (rc != 0) {
        return err_set(err, rc, "execute it");
    }
    supervisor_set_helper(agent->supervisor, up->pid);
    up->pidfd = proc_open_pidfd(up->pid, err);
    return up->pidfd < 0 ? -1 : 0;
}

void agent_start_upgrade(struct agent *agent)
{
    struct err err = {0};
    char text[ERR_MSG_MAX];
    if (agent->upgrade != NULL) {
        return;
    }
    struct upgrade *up = xcalloc(1, sizeof(*up));
    up->agent = agent;
    up->pidfd = -1;
    up->output_fd = -1;
    agent->upgrade = up;
    if (spawn_check(up, &err) < 0) {
        refuse(agent, err_text(&err, text, sizeof(text)));
        return;
    }
    up->exit_io = loop_io_new(agent->loop, up->pidfd, on_check_exit, up);
    up->timeout = loop_timer_new(agent->loop, on_timer, up);
    loop_timer_arm(up->timeout, loop_now() + CHECK_MS);
}

/* --- the new program
 * -------------------------------------------------------------------------------
 */

/* Reads a number that ends with a colon or the text; -1 where there is none. */
static int next_number(const char **at)
{
    char *end = NULL;
    long value = strtol(*at, &end, 10);
    if (end == *at || (*end != ':' && *end != '\0') || value < -1 || value > INT_MAX) {
        return -1;
    }
    *at = *end == ':' ? end + 1 : end;
    return (int) value;
}

bool agent_take_locks(struct agent *agent)
{
    const char *at = getenv(LOCKS_VARIABLE);
    if (at == NULL || next_number(&at) != (int) getpid()) {
        return false;
    }
    int state_lock = next_number(&at);
    int runtime_lock = next_number(&at);
    int api_socket = next_number(&at);
    (void) unsetenv(LOCKS_VARIABLE);
    if (state_lock < 0 || fcntl(state_lock, F_SETFD, FD_CLOEXEC) < 0) {
        return false;
    }
    if (runtime_lock >= 0) {
        (void) fcntl(runtime_lock, F_SETFD, FD_CLOEXEC);
    }
    if (api_socket >= 0 && fcntl(api_socket, F_SETFD, FD_CLOEXEC) == 0) {
        agent->api_socket = api_socket;
    }
    agent->state_lock = state_lock;
    agent->runtime_lock = runtime_lock;
    return true;
}
