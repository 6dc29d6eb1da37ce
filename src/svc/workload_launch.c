/* From specification to process: everything that can fail or block happens here, before the
 * fork; what fails in the child itself comes back over the handshake. */
#include "edgible/admission.h"
#include "edgible/buf.h"
#include "edgible/check_mark.h"
#include "edgible/clock.h"
#include "edgible/fault.h"
#include "edgible/fd.h"
#include "launch.h"
#include "limits.h"
#include "log_keeper.h"
#include "workload_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* As the kernel calls a user that it has no name for. */
#define NOBODY 65534
/* Where as many looks are under way as may be: so long later. */
#define BUSY_MS 100

/* Who its log belongs to, and with whose rights it is handled. A workload of root has no other
 * rights than the agent. */
static struct log_owner make_owner(const struct workload *w, const struct creds *creds,
                                   const char *path)
{
    struct log_owner owner = {.uid = (uid_t) -1,
                              .gid = (gid_t) -1,
                              .own_len = workload_own_length(w->ctx->log_dir, path)};
    owner.is_confined = w->spec.sandbox.present && owner.own_len == 0;
    owner.is_judged = owner.own_len > 0 && (creds->change || w->ctx->policy->present);
    if (!creds->change) {
        return owner;
    }
    owner.uid = creds->uid;
    owner.gid = creds->gid;
    owner.is_user = owner.own_len == 0 && creds->uid != 0;
    owner.groups[owner.group_count++] = creds->gid;
    for (size_t i = 0; i < creds->group_count && owner.group_count < LOG_OWNER_GROUPS; i++) {
        owner.groups[owner.group_count++] = creds->groups[i];
    }
    return owner;
}

const struct pump_log *workload_old_log(const struct workload *w)
{
    return w->is_outdated && w->channel != NULL ? pump_channel_log(w->channel) : NULL;
}

struct log_owner workload_log_owner(const struct workload *w)
{
    if (workload_old_log(w) != NULL) {
        return workload_old_log(w)->owner;
    }
    CLEANUP(free) char *path = workload_log_file(w);
    if (w->creds != NULL && !w->is_outdated) {
        return make_owner(w, w->creds, path);
    }
    CLEANUP(creds) struct creds *creds = workload_look_up_creds(w, NULL);
    if (creds != NULL) {
        return make_owner(w, creds, path);
    }
    /* A user that cannot be found has no rights: never the agent's instead. */
    return (struct log_owner){.is_user = geteuid() == 0,
                              .is_judged = true,
                              .uid = NOBODY,
                              .gid = NOBODY,
                              .own_len = workload_own_length(w->ctx->log_dir, path)};
}

const struct strv *workload_policy_paths(const struct policy_config *policy)
{
    static char all[] = "/**";
    static char *patterns[] = {all};
    static const struct strv anywhere = {.items = patterns, .count = 1};
    if (policy->has_write_paths) {
        return &policy->write_paths;
    }
    return policy->present ? &anywhere : NULL;
}

const struct strv *workload_log_allowed(const struct workload *w)
{
    bool has_log_file = workload_old_log(w) != NULL ? w->has_log_file : w->spec.log_file != NULL;
    return has_log_file ? workload_policy_paths(w->ctx->policy) : NULL;
}

struct pump_log workload_log(const struct workload *w, char **path)
{
    const struct pump_log *old = workload_old_log(w);
    *path = workload_log_file(w);
    return (struct pump_log){
        .file = *path,
        .max_size_bytes =
            old != NULL ? old->max_size_bytes : (uint64_t) w->spec.logs.max_size_bytes,
        .max_files = old != NULL ? old->max_files : (unsigned) w->spec.logs.max_files,
        .owner = workload_log_owner(w),
        .allowed = workload_log_allowed(w),
    };
}

void workload_launch_failed(struct workload *w, enum wl_end end, const char *stage, int error,
                            const char *sentence)
{
    free(w->start_error);
    w->start_error = xstrdup(sentence);
    free(w->start_stage);
    w->start_stage = xstrdup(stage);
    w->start_errno = error;
    w->ended_unix_ms = clock_unix_ms();
    workload_post(w, WL_EV_NOT_STARTED, end);
}

static void launch_failed_with(struct workload *w, const char *stage, const struct err *err)
{
    char text[ERR_MSG_MAX];
    bool is_spec = err->code == ERR_SPEC;
    workload_launch_failed(w, is_spec ? WL_END_FAULT : WL_END_HOST_FAULT, stage,
                           err->code < ERR_SPEC ? err->code : 0, err_text(err, text, sizeof(text)));
}

static void forget_last_run(struct workload *w)
{
    if (w->ended_unix_ms != 0) {
        struct run_end end;
        run_end_fini(&w->before);
        workload_fill_end(w, &end);
        w->before = end;
        w->start_error = NULL; /* before's now, as are the next three */
        w->start_stage = NULL;
        w->unhealthy = NULL;
        w->tail = (struct strv){0};
    }
    w->has_fault = false;
    free(steal_ptr(&w->start_error));
    free(steal_ptr(&w->start_stage));
    free(steal_ptr(&w->unhealthy));
    w->ended_unix_ms = 0;
    w->start_errno = 0;
    w->exit = (struct proc_exit){0};
    strv_fini(&w->tail);
    w->tail_pending = false;
    workload_end_tail_wait(w);
}

struct creds *workload_look_up_creds(const struct workload *w, struct err *err)
{
    bool is_own = w->spec.user == NULL && w->spec.group == NULL;
    return is_own && w->ctx->own_creds != NULL ? creds_copy(w->ctx->own_creds)
                                               : creds_lookup(w->spec.user, w->spec.group, err);
}

/* What of the specification, or of the machine, kept it from starting. */
static const char *stage_of(const struct err *err)
{
    if (err->code != ERR_SPEC) {
        return "spawn";
    }
    return strncmp(err->msg, "sandbox", strlen("sandbox")) == 0 ? "sandbox" : "policy";
}

/* Before the log is opened: a launch that the policy refuses touches no file. */
static void launch_as_found(struct workload *w)
{
    struct err err = {0};
    w->fsm.deadline = 0; /* of the look */
    if (launch_take(w->launch, &err) == NULL) {
        workload_drop_launch(w);
        workload_close(w);
        launch_failed_with(w, stage_of(&err), &err);
        return;
    }
    w->wants_spawn = true;
    workload_open_log(w);
}

/* A start that has failed of a look goes on to wait for it, and the next one begins with its end.
 */
static void on_looked(void *arg)
{
    struct workload *w = arg;
    if (w->fsm.state == WL_STARTING) {
        launch_as_found(w);
    } else {
        workload_drop_launch(w);
    }
}

/* Its deadline is when the look counts as hanging: then the machine starts it once more. */
static void await_look(struct workload *w)
{
    struct err err = {0};
    w->fsm.deadline = launch_deadline(w->launch);
    if (w->fsm.deadline <= loop_now()) {
        (void) launch_hangs(w->launch, &err);
        launch_failed_with(w, "look", &err);
    }
}

void workload_drop_launch(struct workload *w)
{
    w->wants_spawn = false;
    launch_free(steal_ptr(&w->launch));
}

void workload_look_again(struct workload *w)
{
    if (w->launch == NULL) {
        return;
    }
    workload_drop_launch(w);
    if (w->fsm.state == WL_STARTING) {
        w->fsm.deadline = loop_now();
        loop_timer_arm(w->timer, w->fsm.deadline);
    }
}

void workload_launch(struct workload *w)
{
    struct err err = {0};
    forget_last_run(w);
    workload_save_unit(w); /* with it the next agent goes on counting, also where no start worked */
    workload_save_state(w);
    FAULT_POINT("launching");
    if (w->launch != NULL && !launch_is_over(w->launch)) {
        await_look(w);
        return;
    }
    workload_drop_launch(w);
    creds_free(steal_ptr(&w->creds));
    w->creds = workload_look_up_creds(w, &err);
    w->is_outdated = false;
    if (w->creds == NULL) {
        launch_failed_with(w, "user", &err);
        return;
    }
    w->launch = launch_new(w, false, on_looked, w, &err);
    if (w->launch == NULL && err.code == EBUSY) {
        w->fsm.deadline = loop_now() + BUSY_MS;
    } else if (w->launch == NULL) {
        launch_failed_with(w, "look", &err);
    } else if (launch_is_over(w->launch)) {
        launch_as_found(w);
    } else {
        await_look(w);
    }
}

void workload_configure_log(struct workload *w)
{
    CLEANUP(free) char *path = NULL;
    struct pump_log log = workload_log(w, &path);
    if (w->channel != NULL && w->log != LOG_CLOSING && pump_configure(w->channel, &log)) {
        w->log = LOG_OPENING;
    }
}

void workload_open_log(struct workload *w)
{
    CLEANUP(free) char *path = NULL;
    if (w->log == LOG_CLOSING) {
        return; /* PUMP_EV_CLOSED goes on */
    }
    if (w->channel == NULL) {
        struct pump_log log = workload_log(w, &path);
        w->channel = pump_open(w->ctx->pump, &log, w);
    } else {
        workload_configure_log(w);
    }
    if (w->log == LOG_OPEN) {
        w->wants_spawn = false;
        workload_launch_with_log(w);
        return;
    }
    if (w->log == LOG_BROKEN) {
        pump_reopen(w->channel);
    }
    w->log = LOG_OPENING;
}

static void set_env(struct strv *env, const char *name, const char *value)
{
    strv_add_take(env, xasprintf("%s=%s", name, value));
}

/* Whether the document's own environment has a variable of that name. */
static const char *own_env(const struct workload *w, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < w->spec.env.count; i++) {
        const char *item = w->spec.env.items[i];
        if (strncmp(item, name, len) == 0 && item[len] == '=') {
            return item + len + 1;
        }
    }
    return NULL;
}

static void make_env(const struct workload *w, bool is_check, struct strv *env)
{
    char mark[CHECK_MARK_BYTES];
    if (is_check) {
        check_mark_format(w->ctx->health->last_number, mark);
        set_env(env, CHECK_MARK_NAME, mark);
    }
    const struct {
        const char *name, *value;
    } base[] = {
        {"PATH",                SPAWN_DEFAULT_PATH },
        {"HOME",                w->creds->home     },
        {"USER",                w->creds->user     },
        {"LOGNAME",             w->creds->user     },
        {"SHELL",               w->creds->shell    },
        {"LANG",                "C.UTF-8"          },
        {"EDGIBLE_APPLICATION", w->application     },
        {"EDGIBLE_WORKLOAD",    w->spec.name       },
        {"EDGIBLE_DEVICE",      w->ctx->device_name},
    };
    for (size_t i = 0; i < ARRAY_LEN(base); i++) {
        if (own_env(w, base[i].name) == NULL) {
            set_env(env, base[i].name, base[i].value);
        }
    }
    for (size_t i = 0; i < w->spec.env.count; i++) {
        strv_add(env, w->spec.env.items[i]);
    }
}

static struct process_group open_group(const struct workload *w)
{
    struct process_group group = {.fd = -1};
    if (w->ctx->cgroups != NULL) {
        group.fd = cgroup_make(w->ctx->cgroups, w->cgroup, &group.is_fresh, NULL);
    }
    return group;
}

int workload_spawn(const struct workload *w, struct launch *launch, int output_fd,
                   struct process_group group, enum limit_state *states, struct spawned *ret,
                   struct err *err)
{
    CLEANUP(strv) struct strv env = {0};
    const struct launch_found *found = launch_take(launch, err);
    if (found == NULL) {
        return -1;
    }
    bool is_check = launch_is_check(launch);
    make_env(w, is_check, &env);
    if (found->sandbox_fd >= 0) {
        w->ctx->on_sandbox(w->ctx->arg, w->creds->uid, false);
    }
    char *no_paths[] = {NULL};
    struct spawn_request request = {
        .argv = is_check ? w->spec.health.command.items : w->spec.command.items,
        .envp = env.items,
        .paths = found->paths.items != NULL ? found->paths.items : no_paths,
        .exec_fd = found->runs_fd ? found->program.fd : -1,
        .working_dir = w->spec.working_dir,
        .is_dir_known = found->is_folder_known,
        .dir_dev = found->folder.st.st_dev,
        .dir_ino = found->folder.st.st_ino,
        .creds = w->creds,
        .output_fd = output_fd,
        .cgroup_fd = group.fd,
        .joins_cgroup = !group.is_fresh,
        .open_files = w->ctx->open_files,
        .no_new_privs = w->creds->uid != 0 && !w->spec.allow_new_privileges,
        .sandbox_fd = found->sandbox_fd,
        .filter = found->has_filter ? &found->filter : NULL,
    };
    struct limits_spec limits = admission_start_limits(w->ctx->policy, &w->spec.limits);
    limits_apply(&limits, w->ctx->cgroups, group.fd, w->creds, &request, states);
    return spawn(&request, ret, err);
}

static int make_process(struct workload *w, int output_fd, struct err *err)
{
    struct process_group group = open_group(w);
    CLEANUP(close_fd) int cgroup_fd = group.fd;
    struct spawned spawned;
    if (workload_spawn(w, w->launch, output_fd, group, w->limits, &spawned, err) < 0) {
        return -1;
    }
    w->pid = spawned.pid;
    w->pidfd = spawned.pidfd;
    w->handshake_fd = spawned.handshake_fd;
    w->in_cgroup = cgroup_fd >= 0;
    w->in_sandbox = w->spec.sandbox.present;
    return 0;
}

void workload_apply_limits(struct workload *w)
{
    struct spawn_request unused = {.open_files = w->ctx->open_files};
    CLEANUP(close_fd) int cgroup_fd = w->in_cgroup ? open_group(w).fd : -1;
    struct limits_spec limits = admission_start_limits(w->ctx->policy, &w->spec.limits);
    limits_apply(&limits, w->ctx->cgroups, cgroup_fd, w->creds, &unused, w->limits);
}

/* Everything that says who the process is, before it is let go on to its program. */
static void note_identity(struct workload *w)
{
    w->start_ticks = proc_read_start_ticks(w->pid);
    w->pidfd_inode = proc_read_pidfd_inode(w->pidfd);
    w->run++;
    workload_save_identity(w);
}

/* The reading end goes to the agent's keeper, too. Returns the end for the workload, or -1. */
static int make_pipe(struct workload *w, int *ret_read, struct err *err)
{
    struct stat st;
    if (pump_make_pipe(ret_read, err) < 0) {
        return -1;
    }
    uint64_t inode = fstat(*ret_read, &st) == 0 ? st.st_ino : 0;
    bool is_held = log_keeper_hold(w->ctx->log_keeper, *ret_read, inode, w->pipe_inode);
    w->pipe_inode = inode;
    uid_t user = w->creds->change ? w->creds->uid : (uid_t) -1;
    return pump_open_pipe_end(*ret_read, is_held, user, err);
}

void workload_launch_with_log(struct workload *w)
{
    struct err err = {0};
    CLEANUP(close_fd) int read_fd = -1;
    CLEANUP(close_fd) int write_fd = make_pipe(w, &read_fd, &err);
    if (write_fd < 0) {
        launch_failed_with(w, "pipe", &err);
        return;
    }
    workload_save_unit(w);
    int made = make_process(w, write_fd, &err);
    workload_drop_launch(w);
    if (made < 0) {
        launch_failed_with(w, stage_of(&err), &err);
        return;
    }
    FAULT_POINT("forked");
    note_identity(w);
    FAULT_POINT("identity-written");
    fd_close(&write_fd); /* later it could be the last of its kind, and closing it would hang */
    spawn_release(w->handshake_fd);
    FAULT_POINT("released");
    pump_attach(w->channel, steal_fd(&read_fd), w->run, false);
    workload_watch_process(w);
    workload_post(w, WL_EV_SPAWNED, WL_END_CLEAN);
}
