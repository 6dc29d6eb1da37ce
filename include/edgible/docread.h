/*
 * docread: from the nodes of a document into structs, by tables of fields. Every error is put
 * into the diag with its place and reading goes on; what could not be read is left as it was.
 */
#ifndef EDGIBLE_DOCREAD_H
#define EDGIBLE_DOCREAD_H

#include "edgible/appspec.h"
#include "edgible/diag.h"
#include "edgible/yaml_doc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of a log: smaller files would be rotated all the time, more would fill a folder. */
#define DOCREAD_MIN_LOG_BYTES 65536
#define DOCREAD_MAX_LOG_FILES 100

#define DOCREAD_MAX_NAME_BYTES 253
#define DOCREAD_MAX_KIND_BYTES 63

struct doc_reader {
    const char *file;
    struct diag *diag;
    enum diag_severity unknown_keys;
    bool null_is_absent;    /* `key: null` is as if the key were not there; else an error where the
                               value is not a mapping */
    bool is_record;         /* written by an agent, maybe of a version that accepted more: what was
                               accepted once is no error, and logs get the nearest value within bounds */
    size_t *workload_count; /* NULL, or how many the source has so far, this document's included
                               where they fit */
    size_t *memory_bytes;   /* in the same way; set where workload_count is */
    bool is_short_of_room;  /* they did not fit */
};

struct doc_field;

/* A node and how one came to it, for messages. Lives on the stack of its reader. */
struct doc_spot {
    const struct doc_spot *up; /* NULL: the document itself */
    const char *key;           /* NULL: an item of a list */
    size_t index;              /* of that item */
    const struct doc_node *node;
    const struct doc_field *field; /* that it is read as; NULL for items */
};

/* Reads spot's node into target. */
typedef void doc_read_fn(struct doc_reader *reader, const struct doc_spot *spot, void *target);

/* One key of a mapping. A table of them ends with a NULL name and is read in its order. */
struct doc_field {
    const char *name;
    doc_read_fn *read;
    size_t offset; /* of the member in the struct that the mapping is read into */
    bool is_required;
    int64_t min, max; /* of numbers, durations and sizes */
};

/* DOC_FIELD(struct stop_policy, grace_ms, "gracePeriod", docread_duration, .min = 1) */
#define DOC_FIELD(type, member, key, reader, ...)                                                  \
    {                                                                                              \
        .name = (key), .read = (reader), .offset = offsetof(type, member), __VA_ARGS__             \
    }
/* For a reader that is given the whole struct. */
#define DOC_FIELD_OF_ALL(key, reader, ...)                                                         \
    {                                                                                              \
        .name = (key), .read = (reader), __VA_ARGS__                                               \
    }
/* clang-format off */
#define DOC_FIELDS_END {.name = NULL}
/* clang-format on */

void docread_error(struct doc_reader *reader, const struct doc_spot *spot, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void docread_warning(struct doc_reader *reader, const struct doc_spot *spot, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* "expected <what>, found a mapping" */
void docread_mismatch(struct doc_reader *reader, const struct doc_spot *spot, const char *what);
/* ", did you mean 'x'?" into buf where one of the names is near, else "". */
const char *docread_suggest(const char *word, const char *const *names, size_t count, char *buf,
                            size_t size);

/* Reads one of the words into *ret, owned by the caller; `kind` is what a word is ("mode"). */
void docread_word(struct doc_reader *reader, const struct doc_spot *spot, const char *kind,
                  const char *const *words, size_t count, char **ret);

/* Reads a mapping's keys into the struct at target. Null is an empty mapping. */
void docread_mapping(struct doc_reader *reader, const struct doc_spot *spot,
                     const struct doc_field *fields, void *target);
/* The text of a string that is not empty; NULL after an error. */
const char *docread_text(struct doc_reader *reader, const struct doc_spot *spot);
/* True for a list of at most max items; else false after an error. */
bool docread_is_list(struct doc_reader *reader, const struct doc_spot *spot, size_t max);
/* The spot of a list's item. */
struct doc_spot docread_item(const struct doc_spot *list, size_t index);

/* The readers of a field; the comment is the type of target. */
doc_read_fn docread_string;    /* char *: not empty */
doc_read_fn docread_name;      /* char *: the same, short and on one line; reports repeat it */
doc_read_fn docread_kind;      /* char *: the same, a word that thousands of items may have */
doc_read_fn docread_label;     /* char *: a DNS label */
doc_read_fn docread_doc_path;  /* char *: absolute, without `..` */
doc_read_fn docread_bool;      /* bool */
doc_read_fn docread_int;       /* int64_t, from field->min to field->max */
doc_read_fn docread_port;      /* uint16_t, 1 to 65535 */
doc_read_fn docread_duration;  /* mono_ms, from field->min */
doc_read_fn docread_size;      /* int64_t, from field->min */
doc_read_fn docread_strings;   /* struct strv: not empty ones */
doc_read_fn docread_paths;     /* struct strv: absolute ones */
doc_read_fn docread_doc_paths; /* struct strv: absolute ones, without `..` */
doc_read_fn docread_labels;    /* struct strv: DNS labels, each once */
doc_read_fn docread_any;       /* none: the value is somebody else's */
/* False after an error: the text has a `..`, or is too long for a path. */
bool docread_is_doc_path(struct doc_reader *reader, const struct doc_spot *spot, const char *text);
/* Of v3 and of the configuration alike. */
doc_read_fn docread_restart;   /* struct restart_policy */
doc_read_fn docread_stop;      /* struct stop_policy */
doc_read_fn docread_logs;      /* struct log_policy */
doc_read_fn docread_user_name; /* char *: of a user or group */

#endif
