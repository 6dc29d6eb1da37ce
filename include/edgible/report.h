/*
 * report: what is said of workloads and applications to people and programs: over the API, in
 * files, to the control plane. Plain values and their JSON, as interface.md (section 5) has it.
 * Pure.
 *
 * A report owns its strings and is a snapshot: it is filled, turned into JSON, and finished.
 */
#ifndef EDGIBLE_REPORT_H
#define EDGIBLE_REPORT_H

#include "edgible/appspec.h"
#include "edgible/json_doc.h"
#include "edgible/strv.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In the order of what is worst, but for those of an application that all of its parts share. */
enum status {
    STATUS_RUNNING,
    STATUS_STARTING,
    STATUS_PENDING,
    STATUS_STOPPING,
    STATUS_BACKOFF,
    STATUS_UNHEALTHY,
    STATUS_REJECTED,
    STATUS_FAILED,
    STATUS_COMPLETED,   /* at rest from here on: an application has it where all parts are at */
    STATUS_STOPPED,     /* rest; of an application "suspended" */
    STATUS_UNSUPPORTED, /* of a type that this agent does not run */
    STATUS_COUNT
};

/* "running"; of an application or device, "suspended" for STATUS_STOPPED. */
const char *status_name(enum status status);
const char *status_name_of_app(enum status status);
/* The worst of both; STATUS_COUNT is none at all. */
enum status status_worst(enum status a, enum status b);
/* Not as it should be: failed, rejected, unhealthy, backoff. */
bool status_is_bad(enum status status);

/* Why a process was started anew. */
enum restart_reason {
    RESTARTED_AFTER_EXIT,
    RESTARTED_AFTER_SIGNAL,
    RESTARTED_AFTER_FAULT,      /* it could not be started */
    RESTARTED_AFTER_HOST_FAULT, /* the machine could not */
    RESTARTED_AFTER_UNHEALTHY,  /* it failed its health check */
    RESTART_REASON_COUNT
};
/* "exit", "signal", "start-failure", "host-failure", "unhealthy" */
const char *restart_reason_name(enum restart_reason reason);

struct exit_report {
    bool present;
    int64_t at_unix_ms;
    int64_t uptime_ms; /* -1: the program never ran */
    bool has_code;
    int64_t code;
    char *signal; /* "SIGSEGV"; NULL: none */
    bool core_dumped;
    bool oom_killed;
    char *stage;        /* "exec": where the start failed; NULL: it did not */
    char *errno_name;   /* of that */
    char *unhealthy;    /* the agent ended it for its failed health check: why; NULL: it did not */
    struct strv output; /* its last lines */
};

struct port_report {
    const struct port_spec *spec; /* borrowed, for as long as the report lives */
    bool is_known;                /* whether anything listens */
    bool listening;
};

/* The limits of a workload, and what holds them. */
enum limit_kind { LIMIT_MEMORY, LIMIT_CPU, LIMIT_PROCESSES, LIMIT_OPEN_FILES, LIMIT_COUNT };
enum limit_state { LIMIT_NONE, LIMIT_BY_CGROUP, LIMIT_BY_RLIMIT, LIMIT_NOT_IN_FORCE };
/* "memory" */
const char *limit_name(enum limit_kind kind);

struct workload_report {
    char *name, *type;
    enum status status;
    char *reason;               /* NULL: none needed */
    int64_t pid;                /* 0: no process; also the process group */
    int64_t started_at_unix_ms; /* 0: never */
    int64_t uptime_ms;          /* -1: does not run */
    bool supported, adopted;
    int64_t restarts, rapid_failures;
    uint64_t restarts_by[RESTART_REASON_COUNT]; /* of this agent */
    int64_t next_start_unix_ms;                 /* 0: not planned */
    struct exit_report last_exit;
    struct port_report *ports;
    size_t port_count;
    enum limit_state limits[LIMIT_COUNT];
    bool is_checked, is_healthy; /* it runs and has a health check; that passes */
    int64_t check_failures;      /* in a row */
    char *sandbox;               /* "landlock 7": what holds it; NULL: it asks for none */
    bool has_resources;
    int64_t processes, memory_bytes, cpu_ms;
    char *log_file; /* NULL: has no log */
    bool log_full;  /* what it prints is dropped just now */
    uint64_t log_bytes_written, log_bytes_dropped, log_rotations;
};

struct app_report {
    char *id, *name, *organization;
    int64_t generation; /* 0: none was ever accepted */
    enum status status;
    bool suspended; /* targetState */
    int64_t rolled_back_from, rolled_back_to;
    char *rolled_back_reason;            /* NULL: it was not */
    const char *device_name, *device_id; /* borrowed */
    char *source;
    struct workload_report *workloads;
    size_t workload_count;
    const struct app_spec *spec; /* borrowed; for `access`; NULL: never accepted */
    struct strv errors;
    struct strv warnings; /* of the documents that have those errors */
};

void workload_report_fini(struct workload_report *report);
void app_report_fini(struct app_report *report);
void cleanup_app_report(struct app_report *report);

/* Works out an application's status from its workloads and errors. */
void app_report_judge(struct app_report *report);

struct json *workload_report_json(const struct workload_report *report);
struct json *app_report_json(const struct app_report *report);

/* A member "2026-11-23T09:00:00.123Z"; left out where 0. */
void json_set_time(struct json *object, const char *key, int64_t unix_ms);

#endif
