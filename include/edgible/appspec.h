/*
 * appspec: a v3 Application document as a struct, with every error of it and its place.
 * Pure: no file is opened here. Format: docs/v3.md.
 */
#ifndef EDGIBLE_APPSPEC_H
#define EDGIBLE_APPSPEC_H

#include "edgible/diag.h"
#include "edgible/mem.h"
#include "edgible/parse.h"
#include "edgible/strv.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Bounds of input: past one the document is refused. */
#define APPSPEC_MAX_DOCUMENT_BYTES (1024UL * 1024)
#define APPSPEC_MAX_DOCUMENTS 1000 /* of a source, those with errors included */
#define APPSPEC_MAX_DEPTH 64
#define APPSPEC_MAX_NODES 100000
#define APPSPEC_MAX_WORKLOADS 1000        /* an application */
#define APPSPEC_MAX_SOURCE_WORKLOADS 5000 /* of all applications of a source, of any type */
/* What all documents of a source may take of memory, about: their words and, for each node, a
 * pointer and an allocation, aliases expanded. Old and new documents, their workloads and what is
 * written of them are there together at times: six times as much. */
#define APPSPEC_MAX_SOURCE_BYTES (6UL * 1024 * 1024)
#define APPSPEC_NODE_BYTES 48
/* Of so many documents with errors or warnings all are kept (DIAG_MAX), of the others one; a
 * stream that has errors as a whole counts as one of them. */
#define APPSPEC_MAX_FAULTY 20
/* A logFile with which output is read and dropped: nothing is opened, written or rotated. */
#define APPSPEC_NO_LOG "/dev/null"
#define APPSPEC_MAX_ARGV 4096 /* words of a command */
/* Of a word, or a variable with its name: the kernel takes no more (MAX_ARG_STRLEN, with its NUL).
 */
#define APPSPEC_MAX_WORD_BYTES (128UL * 1024 - 1)

/* In the policies below a member that the document leaves out is UNSET (-1, RESTART_UNSET, 0 for
 * a signal) until workload_spec_apply_defaults(). */
#define UNSET (-1)

enum restart_when { RESTART_UNSET, RESTART_ALWAYS, RESTART_ON_FAILURE, RESTART_NEVER };

struct restart_policy {
    enum restart_when when;
    mono_ms initial_delay_ms;
    mono_ms max_delay_ms;
    mono_ms rapid_after_ms;        /* an exit before this uptime is rapid */
    int64_t max_rapid_failures;    /* this many in a row: failed; 0: never */
    mono_ms stable_after_ms;       /* after this uptime the counts start again */
    mono_ms retry_failed_after_ms; /* 0: not */
    mono_ms min_delay_ms;          /* between any two starts; of the policy, not of a document */
};

struct stop_policy {
    int signal; /* 0: unset */
    mono_ms grace_ms;
};

struct log_policy {
    int64_t max_size_bytes;
    int64_t max_files; /* rotated ones kept beside the current; 0: none */
};

struct workload_defaults {
    struct restart_policy restart;
    struct stop_policy stop;
    struct log_policy logs;
    char *user; /* owned; NULL: the agent's own user */
};

struct port_spec {
    char *name; /* NULL where not given */
    uint16_t container_port;
    char *protocol; /* "tcp" or "udp" */
};

enum health_kind { HEALTH_NONE, HEALTH_HTTP, HEALTH_TCP, HEALTH_EXEC };

struct health_check {
    enum health_kind kind;
    uint16_t port;       /* of http and tcp, resolved from the name or number given */
    char *path;          /* of http */
    struct strv command; /* of exec */
    mono_ms interval_ms, timeout_ms, start_period_ms; /* UNSET where not given */
    int64_t failures, successes;                      /* UNSET where not given */
};

struct limits_spec {
    int64_t memory_bytes, cpu_millis, processes, open_files; /* UNSET: no limit */
};

struct sandbox_spec {
    bool present;
    struct strv read, write;
    bool has_connect;  /* connections are limited, an empty list allows none */
    uint16_t *connect; /* ports */
    size_t connect_count;
};

struct workload_spec {
    char *name;
    char *type;
    bool supported; /* type is managed-process */
    struct strv command;
    char *working_dir; /* NULL where not given */
    char *log_file;    /* absolute; NULL where not given, APPSPEC_NO_LOG: no log is kept */
    struct strv env;   /* "NAME=value" in the order of the document */
    struct port_spec *ports;
    size_t port_count;
    struct strv depends_on;
    struct restart_policy restart;
    struct stop_policy stop;
    struct log_policy logs;
    char *user, *group; /* NULL where not given */
    struct health_check health;
    struct limits_spec limits;
    struct sandbox_spec sandbox;
    bool allow_new_privileges; /* its programs may gain rights on exec (setuid) */
    size_t line;               /* of its document, for messages */
};

/* Whether the workload keeps no log: its logFile is APPSPEC_NO_LOG. */
static inline bool workload_spec_has_no_log(const struct workload_spec *spec)
{
    return spec->log_file != NULL && strcmp(spec->log_file, APPSPEC_NO_LOG) == 0;
}

struct access_spec {
    char *name, *type, *workload, *port, *hostname, *tls_managed_by,
        *auth_mode; /* NULL: not given */
};

struct app_spec {
    unsigned shares; /* how many more hold it (app_spec_share()) */
    char *name;
    char *id, *organization;       /* NULL where not given */
    char *device_name, *device_id; /* of the placement; NULL where not given */
    char *placement_strategy;      /* NULL where not given */
    struct strv depends_on;        /* names of other applications */
    struct workload_spec *workloads;
    size_t workload_count;
    bool rollback;
    mono_ms healthy_after_ms; /* UNSET where not given */
    struct access_spec *access;
    size_t access_count;
    size_t memory_bytes; /* about what it takes, when it was read; 0 of a copy */
    char *file;          /* where the document stands */
    size_t line;
};

/* One document of a stream. */
struct app_doc {
    struct app_spec *spec; /* owned; NULL where the document is invalid */
    char *name;            /* metadata.name where it could be read, also of an invalid one */
    size_t line;           /* where it starts */
    struct diag diag;      /* its errors and warnings */
    size_t offset, length; /* in the data, with the comments before it and its `---`; of a list's
                              documents the list's */
    bool is_in_list;       /* an item of a top-level list */
};

struct app_docs {
    struct app_doc *docs;
    size_t count;
    size_t cap;
    struct diag diag; /* of the stream as a whole: syntax errors, not UTF-8, too many documents.
                         With an error here the list of documents may be incomplete */
    size_t workload_count; /* of all its documents; and, where the caller puts it there before,
                              those that the source has elsewhere */
    size_t document_count; /* in the same way */
    size_t memory_bytes;   /* in the same way */
    size_t faulty;         /* in the same way: documents with errors or warnings */
    bool is_short_of_room; /* a document was refused, for it did not fit beside the others */
    bool is_single;        /* set by the caller: more than one document is too many */
    bool is_too_many;      /* which is an error of the stream; the others were not read */
    size_t text_bytes;     /* of what was read */
    bool is_empty;         /* nothing but white space was given: no answer, not an empty list */
};

void cleanup_app_docs(struct app_docs *docs);
void app_docs_fini(struct app_docs *docs);
/* All errors of the stream and of its documents. */
size_t app_docs_error_count(const struct app_docs *docs);

/*
 * Reads every document of a YAML stream or JSON text; a top-level list is a list of documents.
 * `file` names it in messages. *docs must be zeroed; the caller finishes it with app_docs_fini().
 * A name that stands twice is an error at the second place.
 */
void appspec_parse(const char *file, const char *data, size_t len, struct app_docs *docs);

/* The same one for one more holder, who frees it as well; none of them may change it. Not for
 * several threads. */
struct app_spec *app_spec_share(struct app_spec *spec);
void app_spec_free(struct app_spec *spec);
DEFINE_CLEANUP(app_spec, struct app_spec, app_spec_free)
struct app_spec *app_spec_copy(const struct app_spec *spec);
/* Finds by name; NULL where absent. */
const struct workload_spec *app_spec_find_workload(const struct app_spec *spec, const char *name);

void workload_spec_fini(struct workload_spec *spec);
void workload_spec_copy(struct workload_spec *to, const struct workload_spec *from);
/* Fills what the document leaves out. */
void workload_spec_apply_defaults(struct workload_spec *spec,
                                  const struct workload_defaults *defaults);

/* SIGTERM from "SIGTERM", "TERM" or "15"; -1 where there is no such signal. */
int signal_from_name(const char *name);
/* "SIGTERM"; "signal 42" for one without a name (buf is used then). */
const char *signal_name(int signal, char *buf, size_t size);

#endif
