#include "edgible/report.h"

#include "edgible/mem.h"

#include <stdlib.h>

const char *status_name(enum status status)
{
    static const char *const names[STATUS_COUNT] = {
        [STATUS_RUNNING] = "running",         [STATUS_STARTING] = "starting",
        [STATUS_PENDING] = "pending",         [STATUS_STOPPING] = "stopping",
        [STATUS_BACKOFF] = "backoff",         [STATUS_UNHEALTHY] = "unhealthy",
        [STATUS_REJECTED] = "rejected",       [STATUS_FAILED] = "failed",
        [STATUS_COMPLETED] = "completed",     [STATUS_STOPPED] = "stopped",
        [STATUS_UNSUPPORTED] = "unsupported",
    };
    return names[status];
}

const char *status_name_of_app(enum status status)
{
    return status == STATUS_STOPPED ? "suspended" : status_name(status);
}

static bool is_of_all(enum status status)
{
    return status >= STATUS_COMPLETED;
}

enum status status_worst(enum status a, enum status b)
{
    if (a == STATUS_COUNT || b == STATUS_COUNT) {
        return a == STATUS_COUNT ? b : a;
    }
    if (is_of_all(a) && is_of_all(b)) {
        return a < b ? a : b; /* of unlike ones, the one that says most */
    }
    if (is_of_all(a) || is_of_all(b)) {
        return is_of_all(a) ? b : a;
    }
    return a > b ? a : b;
}

bool status_is_bad(enum status status)
{
    return status == STATUS_FAILED || status == STATUS_REJECTED || status == STATUS_UNHEALTHY ||
           status == STATUS_BACKOFF;
}

const char *limit_name(enum limit_kind kind)
{
    static const char *const names[LIMIT_COUNT] = {[LIMIT_MEMORY] = "memory",
                                                   [LIMIT_CPU] = "cpu",
                                                   [LIMIT_PROCESSES] = "processes",
                                                   [LIMIT_OPEN_FILES] = "openFiles"};
    return names[kind];
}

const char *restart_reason_name(enum restart_reason reason)
{
    static const char *const names[RESTART_REASON_COUNT] = {
        [RESTARTED_AFTER_EXIT] = "exit",           [RESTARTED_AFTER_SIGNAL] = "signal",
        [RESTARTED_AFTER_FAULT] = "start-failure", [RESTARTED_AFTER_HOST_FAULT] = "host-failure",
        [RESTARTED_AFTER_UNHEALTHY] = "unhealthy",
    };
    return names[reason];
}

void workload_report_fini(struct workload_report *report)
{
    free(report->name);
    free(report->type);
    free(report->reason);
    free(report->last_exit.signal);
    free(report->last_exit.stage);
    free(report->last_exit.errno_name);
    free(report->last_exit.unhealthy);
    strv_fini(&report->last_exit.output);
    free(report->ports);
    free(report->sandbox);
    free(report->log_file);
}

void app_report_fini(struct app_report *report)
{
    free(report->id);
    free(report->name);
    free(report->organization);
    free(report->rolled_back_reason);
    free(report->source);
    for (size_t i = 0; i < report->workload_count; i++) {
        workload_report_fini(&report->workloads[i]);
    }
    free(report->workloads);
    strv_fini(&report->errors);
    strv_fini(&report->warnings);
}

void cleanup_app_report(struct app_report *report)
{
    app_report_fini(report);
}

void app_report_judge(struct app_report *report)
{
    enum status worst = STATUS_COUNT;
    for (size_t i = 0; i < report->workload_count; i++) {
        worst = status_worst(worst, report->workloads[i].status);
    }
    if (worst == STATUS_COUNT) {
        worst = report->generation == 0 || report->errors.count > 0 ? STATUS_REJECTED
                                                                    : STATUS_COMPLETED;
    }
    report->status = worst;
}
