/* How a workload is, for reports: nothing is changed here. */
#include "edgible/buf.h"
#include "edgible/clock.h"
#include "edgible/doc_path.h"
#include "edgible/reason.h"
#include "edgible/sandbox.h"
#include "edgible/syscall_filter.h"
#include "health.h"
#include "workload_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum status status_by_health(const struct workload *w)
{
    if (w->health == NULL || health_is_healthy(w->health)) {
        return STATUS_RUNNING;
    }
    return health_is_unhealthy(w->health) ? STATUS_UNHEALTHY : STATUS_STARTING;
}

enum status workload_status(const struct workload *w)
{
    switch (w->fsm.state) {
    case WL_STARTING:
        return STATUS_STARTING;
    case WL_RUNNING:
        return status_by_health(w);
    case WL_STOPPING:
    case WL_KILLING:
        return w->unhealthy != NULL && w->fsm.judged && w->fsm.wanted ? STATUS_UNHEALTHY
                                                                      : STATUS_STOPPING;
    case WL_ENDING:
        return STATUS_STOPPING;
    case WL_BACKOFF:
        return STATUS_BACKOFF;
    case WL_COMPLETED:
        return STATUS_COMPLETED;
    case WL_FAILED:
        return STATUS_FAILED;
    case WL_STOPPED:
    case WL_STATE_COUNT:
        break;
    }
    return w->held != NULL ? STATUS_PENDING : STATUS_STOPPED;
}

/* "; PID 4711 (state D) waits in the kernel in 'nfs_wait'" for the first of what is left. */
static void add_left(const struct workload *w, struct buf *text)
{
    pid_t pid = w->left_count > 0 ? w->left[0] : w->pid;
    struct proc_stat stat;
    char wchan[64];
    if (pid == 0 || proc_read_stat(pid, &stat, NULL) < 0) {
        return;
    }
    proc_read_wchan(pid, wchan, sizeof(wchan));
    buf_printf(text, "; PID %d (state %c", (int) pid, stat.state);
    if (wchan[0] != '\0' && strcmp(wchan, "0") != 0) {
        buf_printf(text, ", in the kernel in '%s'", wchan);
    }
    buf_add_str(text, ") is left");
    if (w->left_count > 1) {
        buf_printf(text, ", and %zu more", w->left_count - 1);
    }
}

char *workload_out_of_reach(const struct workload *w)
{
    pid_t pid = w->pid != 0 && !w->fsm.leader_exited && proc_is_out_of_reach(w->pid) ? w->pid : 0;
    for (size_t i = 0; i < w->left_count && pid == 0; i++) {
        pid = proc_is_out_of_reach(w->left[i]) ? w->left[i] : 0;
    }
    return pid == 0 ? NULL
                    : xasprintf("the agent (uid %u) is not allowed to signal PID %d of uid %u",
                                (unsigned) geteuid(), (int) pid, (unsigned) proc_read_uid(pid));
}

char *workload_waits_for(const struct workload *w)
{
    CLEANUP(buf) struct buf text = {0};
    char left[48];
    char name[32];
    mono_ms grace = w->fsm.grace_end - loop_now();
    (void) format_duration(grace > 0 ? grace : 0, left, sizeof(left));
    bool is_stopping =
        w->fsm.state == WL_STOPPING || w->fsm.state == WL_ENDING || w->fsm.state == WL_KILLING;
    CLEANUP(free) char *out_of_reach = is_stopping ? workload_out_of_reach(w) : NULL;
    if (out_of_reach != NULL) {
        buf_printf(&text, "cannot be stopped: %s, and waits until it has ended", out_of_reach);
    } else if (w->fsm.state == WL_STOPPING) {
        buf_printf(&text, "was sent %s; SIGKILL follows in %s",
                   signal_name(w->spec.stop.signal, name, sizeof(name)), left);
    } else if (w->fsm.state == WL_ENDING) {
        buf_printf(&text,
                   "its main process has ended, others of it have not; SIGKILL follows in "
                   "%s",
                   left);
    } else if (w->fsm.state == WL_KILLING) {
        buf_add_str(&text, "was sent SIGKILL, and waits until nothing of it is left");
    } else if (w->fsm.state == WL_STARTING && w->wants_spawn) {
        buf_add_str(&text, "waits for its log to be opened");
    } else if (w->fsm.state == WL_STARTING && w->fsm.deadline > loop_now()) {
        buf_add_str(&text, "waits for the policy.minRestartDelay of this device");
    } else {
        return NULL;
    }
    if (w->fsm.state != WL_STARTING) {
        add_left(w, &text);
    }
    return buf_steal(&text);
}

static char *reason_of_health(const struct workload *w)
{
    if (w->health != NULL && health_uncheckable(w->health) != NULL) {
        return xstrdup(health_uncheckable(w->health));
    }
    if (w->health == NULL || health_is_healthy(w->health)) {
        return NULL;
    }
    const char *trouble = health_trouble(w->health);
    if (health_is_unhealthy(w->health)) {
        return xasprintf("fails its health check: %s", trouble);
    }
    return trouble != NULL ? xasprintf("has not passed its health check yet: %s", trouble)
                           : xstrdup("waits for its first health check");
}

char *workload_reason(const struct workload *w)
{
    CLEANUP(buf) struct buf text = {0};
    switch (w->fsm.state) {
    case WL_BACKOFF:
    case WL_FAILED:
    case WL_COMPLETED: {
        CLEANUP(free) char *reason = workload_last_reason(w);
        buf_add_str(&text, reason);
        workload_add_rapid_count(w, &text);
        return buf_steal(&text);
    }
    case WL_STOPPED:
        return xstrdup_or_null(w->held);
    case WL_RUNNING:
        return reason_of_health(w);
    case WL_STARTING:
    case WL_STOPPING:
    case WL_ENDING:
    case WL_KILLING:
    case WL_STATE_COUNT:
        break;
    }
    CLEANUP(free) char *waits = workload_waits_for(w);
    bool is_unhealthy = workload_status(w) == STATUS_UNHEALTHY;
    return is_unhealthy ? xasprintf("fails its health check: %s; %s", w->unhealthy, waits)
                        : steal_ptr(&waits);
}

static void fill_exit(const struct run_end *end, struct exit_report *report)
{
    char text[32];
    report->present = end->at_unix_ms != 0;
    report->at_unix_ms = end->at_unix_ms;
    report->uptime_ms = -1;
    if (end->start_error != NULL || end->fault_stage >= 0) {
        bool is_fault = end->fault_stage >= 0;
        int error = (int) (is_fault ? end->fault_errno : end->start_errno);
        report->stage = xstrdup_or_null(
            is_fault ? spawn_stage_name((enum spawn_stage) end->fault_stage) : end->start_stage);
        report->errno_name =
            error != 0 ? xstrdup(reason_errno_name(error, text, sizeof(text))) : NULL;
        return;
    }
    report->uptime_ms = end->uptime_ms;
    report->unhealthy = xstrdup_or_null(end->unhealthy);
    report->has_code = end->is_known && !end->is_signal;
    report->code = end->code;
    if (end->is_known && end->is_signal) {
        report->signal = xstrdup(signal_name((int) end->code, text, sizeof(text)));
        report->core_dumped = end->core_dumped;
        report->oom_killed = end->oom_killed;
    }
    strv_copy(&report->output, &end->tail);
}

static void fill_ports(const struct workload *w, struct workload_report *report)
{
    report->port_count = w->spec.port_count;
    report->ports = xcalloc(w->spec.port_count, sizeof(*report->ports));
    for (size_t i = 0; i < w->spec.port_count; i++) {
        report->ports[i].spec = &w->spec.ports[i];
        report->ports[i].is_known = w->pid == 0; /* then nothing can listen */
    }
}

uint32_t workload_own_length(const char *log_dir, const char *path)
{
    size_t len = strlen(log_dir);
    while (len > 1 && log_dir[len - 1] == '/') {
        len--;
    }
    return strncmp(path, log_dir, len) == 0 && path[len] == '/' ? (uint32_t) len : 0;
}

/* Of its next run. The caller frees. */
static char *next_log_file(const struct workload *w)
{
    const char *file = w->spec.log_file;
    const char *top = w->ctx->log_dir;
    if (file == NULL) {
        return xasprintf("%s/%s/%s.log", top, w->application, w->spec.name);
    }
    uint32_t len = workload_own_length(w->ctx->log_dir_given, file);
    return xasprintf("%s%s", len > 0 ? top : "", file + len);
}

char *workload_log_file(const struct workload *w)
{
    return workload_old_log(w) != NULL ? xstrdup(workload_old_log(w)->file) : next_log_file(w);
}

void workload_note_log(struct workload *w)
{
    CLEANUP(free) char *path = next_log_file(w);
    doc_path_make_plain(path);
    w->log_hash = workload_hash_text(path);
}

static bool names_its_log(const struct workload *w)
{
    return workload_old_log(w) != NULL ? w->has_log_file : w->spec.log_file != NULL;
}

bool workload_waits_for_log(const struct workload *w, const struct workload *other)
{
    if (w == other || workload_is_at_rest(other) ||
        (w->spec.log_file == NULL && !names_its_log(other)) || workload_spec_has_no_log(&w->spec)) {
        return false;
    }
    if (w->log_hash != (workload_old_log(other) != NULL ? other->old_log_hash : other->log_hash)) {
        return false;
    }
    CLEANUP(free) char *path = next_log_file(w);
    CLEANUP(free) char *in_use = workload_log_file(other);
    doc_path_make_plain(path);
    doc_path_make_plain(in_use);
    return strcmp(path, in_use) == 0;
}

struct log_place *workload_log_place(const struct workload *w)
{
    return w->channel != NULL ? pump_channel_place(w->channel) : NULL;
}

static void fill_log(const struct workload *w, struct workload_report *report)
{
    if (workload_spec_has_no_log(&w->spec)) {
        return;
    }
    report->log_file = workload_log_file(w);
    if (w->channel != NULL) {
        struct pump_counters counters = pump_channel_counters(w->channel);
        report->log_bytes_written = counters.bytes_written;
        report->log_bytes_dropped = counters.bytes_dropped;
        report->log_rotations = counters.rotations;
    }
}

void workload_fill_report(const struct workload *w, bool brief, struct workload_report *report)
{
    report->name = xstrdup(w->spec.name);
    report->type = xstrdup(w->spec.type);
    report->supported = true;
    report->status = workload_status(w);
    report->reason = workload_reason(w);
    bool runs = w->fsm.alive && !w->fsm.leader_exited && w->fsm.state != WL_STARTING;
    report->pid = w->fsm.alive && !w->fsm.leader_exited ? w->pid : 0;
    report->started_at_unix_ms = runs ? clock_moment_unix_ms(&w->started) : 0;
    report->uptime_ms = runs ? loop_now() - w->fsm.started_at : -1;
    report->adopted = w->adopted;
    report->restarts = w->fsm.restarts;
    report->rapid_failures = w->fsm.rapid_failures;
    memcpy(report->restarts_by, w->restarts_by, sizeof(report->restarts_by));
    report->is_checked = w->health != NULL;
    report->is_healthy = w->health != NULL && health_is_healthy(w->health);
    report->check_failures = w->health != NULL ? health_failures(w->health) : 0;
    report->log_full = w->log_full;
    memcpy(report->limits, w->limits, sizeof(report->limits));
    if (w->spec.sandbox.present) {
        char text[80];
        sandbox_describe(sandbox_version(), syscall_filter_is_available(),
                         w->spec.sandbox.has_connect, text, sizeof(text));
        report->sandbox = xstrdup(text);
    }
    bool will_start =
        w->fsm.wanted && w->fsm.deadline != 0 &&
        (w->fsm.state == WL_BACKOFF || w->fsm.state == WL_FAILED || w->fsm.state == WL_STARTING);
    report->next_start_unix_ms = will_start ? clock_unix_ms() + w->fsm.deadline - loop_now() : 0;
    if (brief) {
        return;
    }
    struct run_end end;
    workload_fill_end(w, &end); /* borrowed */
    fill_exit(end.at_unix_ms != 0 ? &end : &w->before, &report->last_exit);
    fill_ports(w, report);
    fill_log(w, report);
}

pid_t workload_check_pid(const struct workload *w)
{
    return w->health != NULL ? health_pid(w->health) : 0;
}

bool workload_check_target(const struct workload *w, struct killtree_target *ret)
{
    pid_t pid = workload_check_pid(w);
    if (pid == 0) {
        return false;
    }
    *ret = (struct killtree_target){
        .leader = pid,
        .start_ticks = proc_read_start_ticks(pid),
        .uid = w->creds->uid,
    };
    return true;
}

int64_t workload_check_number(const struct workload *w)
{
    return w->health != NULL ? health_number(w->health) : -1;
}
