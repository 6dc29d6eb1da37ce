#include "health_probe.h"

#include "check_output.h"
#include "edgible/fd.h"
#include "edgible/http_probe.h"
#include "edgible/tcp_probe.h"
#include "launch.h"
#include "workload_private.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* So long a check that has failed waits for the last words of its command, which others can keep
 * from ending. */
#define LAST_WORDS_MS 100

struct health_probe {
    const struct workload *workload;
    health_probe_fn *done;
    void *arg;
    struct loop_timer *timer;
    /* One of these three. */
    struct tcp_probe *tcp;
    struct http_probe *http;
    struct {
        struct launch *launch; /* it is being looked up; NULL: it runs */
        struct spawned child;  /* pid 0: none */
        struct loop_io *exit_io;
        struct check_output *output; /* NULL: it has not begun */
        char *trouble;               /* it has failed, for that; NULL: it has not yet */
        int64_t number;
        char *cgroup; /* NULL: in none of its own */
    } exec;
    bool is_v6;    /* of http */
    char *refusal; /* of http: what came of 127.0.0.1, where ::1 is asked, too */
};

/* What it printed is still there. */
static void end_command(struct health_probe *probe)
{
    struct proc_exit ignored;
    const struct cgroup_root *cgroups = probe->workload->ctx->cgroups;
    if (probe->exec.child.pid != 0) {
        /* Not reaped yet, so the number is its own. */
        (void) killtree_signal_group(probe->exec.child.pid, SIGKILL);
        proc_signal(probe->exec.child.pidfd, probe->exec.child.pid, SIGKILL);
        if (probe->exec.cgroup != NULL) {
            (void) !cgroup_kill(cgroups, probe->exec.cgroup, NULL);
        }
        /* Where it is not dead yet, it is reaped as orphans are. */
        (void) !proc_wait_pidfd(probe->exec.child.pidfd, true, &ignored, NULL);
        probe->exec.child.pid = 0;
        probe->workload->ctx->health->has_ended = true;
        probe->workload->ctx->on_check_end(probe->workload->ctx->arg);
    }
    if (probe->exec.cgroup != NULL) {
        (void) cgroup_remove(cgroups, probe->exec.cgroup);
    }
    launch_free(steal_ptr(&probe->exec.launch));
    loop_io_free(steal_ptr(&probe->exec.exit_io));
    fd_close(&probe->exec.child.pidfd);
    fd_close(&probe->exec.child.handshake_fd);
    free(steal_ptr(&probe->exec.cgroup));
}

void health_probe_free(struct health_probe *probe)
{
    if (probe != NULL) {
        loop_timer_free(probe->timer);
        tcp_probe_free(probe->tcp);
        http_probe_free(probe->http);
        end_command(probe);
        check_output_free(probe->exec.output);
        free(probe->exec.trouble);
        free(probe->refusal);
        free(probe);
    }
}

pid_t health_probe_pid(const struct health_probe *probe)
{
    return probe->exec.child.pid;
}

bool health_probe_looks(const struct health_probe *probe)
{
    return probe->exec.launch != NULL;
}

int64_t health_probe_number(const struct health_probe *probe)
{
    return probe->exec.child.pid != 0 ? probe->exec.number : -1;
}

static void tell(struct health_probe *probe, const char *trouble)
{
    probe->done(probe->arg, trouble, NULL);
}

/* --- tcp ---------------------------------------------------------------------------------------
 */

static void on_tcp(void *arg, int error)
{
    struct health_probe *probe = arg;
    if (error == 0) {
        tell(probe, NULL);
        return;
    }
    CLEANUP(free)
    char *trouble = xasprintf("port %d does not accept connections: %s",
                              (int) probe->workload->spec.health.port, strerror(error));
    tell(probe, trouble);
}

/* --- http --------------------------------------------------------------------------------------
 */

static int ask_http(struct health_probe *probe, struct err *err);

/* Neither address stands for the other: where both were tried, the reason names both. */
static void add_refusal(const struct health_probe *probe, struct buf *to)
{
    if (probe->refusal != NULL) {
        buf_printf(to, "%s; ", probe->refusal);
    }
}

static void on_http(void *arg, int status, const struct err *err)
{
    struct health_probe *probe = arg;
    char text[ERR_MSG_MAX];
    if (err != NULL && err->code == ECONNREFUSED && !probe->is_v6) {
        struct err again = {0};
        probe->is_v6 = true;
        probe->refusal = xstrdup(err_text(err, text, sizeof(text)));
        http_probe_free(steal_ptr(&probe->http));
        if (ask_http(probe, &again) == 0) {
            return;
        }
    }
    if (err != NULL) {
        CLEANUP(buf) struct buf trouble = {0};
        add_refusal(probe, &trouble);
        buf_printf(&trouble, "%s", err_text(err, text, sizeof(text)));
        tell(probe, trouble.data);
        return;
    }
    bool is_good = status >= 200 && status < 400;
    (void) snprintf(text, sizeof(text), "'%s' on port %d answered with status %d",
                    probe->workload->spec.health.path, (int) probe->workload->spec.health.port,
                    status);
    tell(probe, is_good ? NULL : text);
}

static int ask_http(struct health_probe *probe, struct err *err)
{
    const struct health_check *check = &probe->workload->spec.health;
    probe->http = http_probe_new(probe->workload->ctx->loop, probe->is_v6, check->port, check->path,
                                 on_http, probe, err);
    return probe->http != NULL ? 0 : -1;
}

/* --- exec --------------------------------------------------------------------------------------
 */

/* ": its last words"; nothing where it was silent. */
static void add_output(const struct health_probe *probe, struct buf *text)
{
    char output[CHECK_OUTPUT_BYTES];
    size_t len = check_output_copy(probe->exec.output, output);
    while (len > 0 && strchr("\r\n \t", output[len - 1]) != NULL) {
        len--;
    }
    size_t from = len;
    while (from > 0 && output[from - 1] != '\n' && len - from < 200) {
        from--;
    }
    if (len > from) {
        buf_add_str(text, ": ");
        for (; from < len; from++) {
            char c = output[from];
            if (c < ' ' || c > '~') {
                c = '?';
            }
            buf_add_char(text, c);
        }
    }
}

static void tell_trouble(struct health_probe *probe)
{
    CLEANUP(buf) struct buf text = {0};
    buf_add_str(&text, probe->exec.trouble);
    add_output(probe, &text);
    tell(probe, text.data);
}

static void on_output_over(void *arg)
{
    struct health_probe *probe = arg;
    if (probe->exec.trouble != NULL) {
        tell_trouble(probe);
    }
}

/* Told with its last words, once nobody can add to them. */
static void fail(struct health_probe *probe, char *take_trouble)
{
    probe->exec.trouble = take_trouble;
    end_command(probe);
    if (check_output_is_over(probe->exec.output)) {
        tell_trouble(probe);
    } else {
        loop_timer_arm(probe->timer, loop_now() + LAST_WORDS_MS);
    }
}

static bool on_command_exit(void *arg)
{
    struct health_probe *probe = arg;
    struct proc_exit exit = {0};
    struct spawn_fault fault;
    struct err err = {0};
    if (proc_wait_pidfd(probe->exec.child.pidfd, false, &exit, &err) == 0) {
        return false;
    }
    CLEANUP(buf) struct buf text = {0};
    char name[32];
    if (spawn_read_handshake(probe->exec.child.handshake_fd, &fault) == SPAWN_FAULTED) {
        buf_printf(&text, "'%s' cannot be run: %s (%s)",
                   probe->workload->spec.health.command.items[0], strerror(fault.error),
                   spawn_stage_name(fault.stage));
    } else if (!exit.known || exit.signaled || exit.code != 0) {
        buf_printf(&text, "'%s' ", probe->workload->spec.health.command.items[0]);
        if (exit.known && exit.signaled) {
            buf_printf(&text, "was killed by %s", signal_name(exit.code, name, sizeof(name)));
        } else {
            buf_printf(&text, "exited with status %d", exit.known ? exit.code : -1);
        }
    }
    if (text.len > 0) {
        fail(probe, buf_steal(&text));
    } else {
        end_command(probe);
        tell(probe, NULL);
    }
    return true;
}

static int run_command(struct health_probe *probe, struct err *err)
{
    const struct workload *w = probe->workload;
    CLEANUP(close_fd) int write_fd = -1;
    CLEANUP(close_fd) int cgroup_fd = -1;
    bool is_fresh = false;
    CLEANUP(free) char *owner = xasprintf("%s/%s", w->application, w->spec.name);
    probe->exec.output =
        check_output_new(w->ctx->loop, owner, on_output_over, probe, &write_fd, err);
    if (probe->exec.output == NULL) {
        return -1;
    }
    if (w->ctx->cgroups != NULL) {
        probe->exec.cgroup = xasprintf("%s.check", w->cgroup);
        cgroup_fd = cgroup_make(w->ctx->cgroups, probe->exec.cgroup, &is_fresh, NULL);
    }
    struct process_group group = {.fd = cgroup_fd, .is_fresh = is_fresh};
    enum limit_state states[LIMIT_COUNT];
    probe->exec.number = ++w->ctx->health->last_number;
    int rc =
        workload_spawn(w, probe->exec.launch, write_fd, group, states, &probe->exec.child, err);
    launch_free(steal_ptr(&probe->exec.launch));
    if (rc < 0) {
        probe->exec.child = (struct spawned){.pidfd = -1, .handshake_fd = -1};
        return -1;
    }
    fd_close(&write_fd); /* later it could be the last of its kind, and closing it would hang */
    spawn_release(probe->exec.child.handshake_fd);
    probe->exec.exit_io =
        loop_io_new(w->ctx->loop, probe->exec.child.pidfd, on_command_exit, probe);
    return 0;
}

static void on_looked(void *arg)
{
    struct health_probe *probe = arg;
    struct err err = {0};
    if (run_command(probe, &err) < 0) {
        probe->done(probe->arg, NULL, &err);
    }
}

static int look_up_command(struct health_probe *probe, struct err *err)
{
    probe->exec.launch = launch_new(probe->workload, true, on_looked, probe, err);
    if (probe->exec.launch == NULL) {
        return -1;
    }
    return launch_is_over(probe->exec.launch) ? run_command(probe, err) : 0;
}

/* --- all ---------------------------------------------------------------------------------------
 */

static void on_timeout(void *arg)
{
    struct health_probe *probe = arg;
    char took[48];
    CLEANUP(buf) struct buf text = {0};
    if (probe->exec.trouble != NULL) {
        tell_trouble(probe);
        return;
    }
    add_refusal(probe, &text);
    buf_printf(&text, "no answer%s within %s", probe->refusal != NULL ? " from '[::1]'" : "",
               format_duration(probe->workload->spec.health.timeout_ms, took, sizeof(took)));
    if (probe->exec.child.pid != 0) {
        fail(probe, buf_steal(&text));
        return;
    }
    if (probe->exec.launch != NULL) {
        struct err err = {0};
        (void) launch_hangs(probe->exec.launch, &err);
        buf_printf(&text, ": %s", err.msg);
    }
    tell(probe, text.data);
}

static int begin(struct health_probe *probe, struct err *err)
{
    const struct health_check *check = &probe->workload->spec.health;
    switch (check->kind) {
    case HEALTH_TCP:
        probe->tcp = tcp_probe_new(probe->workload->ctx->loop, check->port, on_tcp, probe, err);
        return probe->tcp != NULL ? 0 : -1;
    case HEALTH_HTTP:
        return ask_http(probe, err);
    case HEALTH_EXEC:
        return look_up_command(probe, err);
    case HEALTH_NONE:
        break;
    }
    return err_set(err, ERR_SPEC, "there is no check");
}

struct health_probe *health_probe_new(const struct workload *workload, health_probe_fn *done,
                                      void *arg, struct err *err)
{
    struct health_probe *probe = xcalloc(1, sizeof(*probe));
    probe->workload = workload;
    probe->done = done;
    probe->arg = arg;
    probe->exec.child = (struct spawned){.pidfd = -1, .handshake_fd = -1};
    probe->timer = loop_timer_new(workload->ctx->loop, on_timeout, probe);
    if (begin(probe, err) < 0) {
        health_probe_free(probe);
        return NULL;
    }
    loop_timer_arm(probe->timer, loop_now() + workload->spec.health.timeout_ms);
    return probe;
}
