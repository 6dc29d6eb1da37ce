#include "edgible/docread.h"

#include "edgible/buf.h"
#include "edgible/doc_path.h"
#include "edgible/map.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FIELDS 24
#define MAX_LIST 1000
/* The part of a key that a path shows. */
#define KEY_SHOWN 64

static void add_path(struct buf *path, const struct doc_spot *spot)
{
    if (spot->up == NULL) {
        return;
    }
    add_path(path, spot->up);
    if (spot->key == NULL) {
        buf_printf(path, "[%zu]", spot->index);
    } else {
        buf_printf(path, "%s%.*s", path->len > 0 ? "." : "", KEY_SHOWN, spot->key);
    }
}

static void report(struct doc_reader *reader, enum diag_severity severity,
                   const struct doc_spot *spot, const char *text)
{
    CLEANUP(buf) struct buf path = {0};
    add_path(&path, spot);
    diag_add(reader->diag, severity, reader->file, spot->node->line, spot->node->column,
             buf_str(&path), "%s", text);
}

/* The text is not worked out where it would not be kept: one document can have a hundred thousand
 * errors, each about a long string. */
__attribute__((format(printf, 4, 0))) static void vreport(struct doc_reader *reader,
                                                          enum diag_severity severity,
                                                          const struct doc_spot *spot,
                                                          const char *fmt, va_list ap)
{
    char text[1024];
    if (diag_is_full(reader->diag) && severity == DIAG_WARNING) {
        diag_add(reader->diag, severity, reader->file, 0, 0, "", " ");
        return;
    }
    (void) vsnprintf(text, sizeof(text), fmt, ap);
    report(reader, severity, spot, text);
}

void docread_error(struct doc_reader *reader, const struct doc_spot *spot, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vreport(reader, DIAG_ERROR, spot, fmt, ap);
    va_end(ap);
}

void docread_warning(struct doc_reader *reader, const struct doc_spot *spot, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vreport(reader, DIAG_WARNING, spot, fmt, ap);
    va_end(ap);
}

void docread_mismatch(struct doc_reader *reader, const struct doc_spot *spot, const char *what)
{
    docread_error(reader, spot, "expected %s, found %s", what, doc_node_kind_name(spot->node));
}

const char *docread_suggest(const char *word, const char *const *names, size_t count, char *buf,
                            size_t size)
{
    const char *nearest = parse_nearest(word, names, count);
    buf[0] = '\0';
    if (nearest != NULL) {
        (void) snprintf(buf, size, ", did you mean '%s'?", nearest);
    }
    return buf;
}

void docread_word(struct doc_reader *reader, const struct doc_spot *spot, const char *kind,
                  const char *const *words, size_t count, char **ret)
{
    const char *text = docread_text(reader, spot);
    char hint[64];
    if (text == NULL) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text, words[i]) == 0) {
            *ret = xstrdup(text);
            return;
        }
    }
    docread_error(reader, spot, "unknown %s '%.40s'%s", kind, text,
                  docread_suggest(text, words, count, hint, sizeof(hint)));
}

static size_t count_fields(const struct doc_field *fields)
{
    size_t count = 0;
    while (fields[count].name != NULL) {
        count++;
    }
    return count;
}

static void report_unknown(struct doc_reader *reader, const struct doc_spot *spot,
                           const struct doc_field *fields, size_t index)
{
    if (diag_is_full(reader->diag)) {
        diag_add(reader->diag, reader->unknown_keys, reader->file, 0, 0, "", "unknown key");
        return;
    }
    const char *names[MAX_FIELDS];
    char hint[128];
    size_t count = count_fields(fields);
    for (size_t i = 0; i < count; i++) {
        names[i] = fields[i].name;
    }
    const struct doc_node *key = spot->node->keys[index];
    struct doc_spot at = {.up = spot, .key = key->value, .node = key};
    if (reader->unknown_keys == DIAG_ERROR) {
        docread_error(reader, &at, "unknown key%s",
                      docread_suggest(key->value, names, count, hint, sizeof(hint)));
    } else {
        docread_warning(reader, &at, "unknown key%s",
                        docread_suggest(key->value, names, count, hint, sizeof(hint)));
    }
}

/* Sorts the mapping's values by the fields that they are of. */
static void match_fields(struct doc_reader *reader, const struct doc_spot *spot,
                         const struct doc_field *fields, const struct doc_node **values)
{
    const struct doc_node *node = spot->node;
    for (size_t i = 0; i < node->count; i++) {
        size_t at = 0;
        while (fields[at].name != NULL && strcmp(fields[at].name, node->keys[i]->value) != 0) {
            at++;
        }
        if (fields[at].name != NULL) {
            values[at] = node->items[i];
        } else {
            report_unknown(reader, spot, fields, i);
        }
    }
}

static void report_missing(struct doc_reader *reader, const struct doc_spot *spot,
                           const struct doc_field *field)
{
    struct doc_spot at = {.up = spot, .key = field->name, .node = spot->node};
    docread_error(reader, &at, "is required");
}

void docread_mapping(struct doc_reader *reader, const struct doc_spot *spot,
                     const struct doc_field *fields, void *target)
{
    const struct doc_node *values[MAX_FIELDS] = {0};
    bool is_null = doc_node_is_null(spot->node);
    if (spot->node->kind != DOC_MAPPING && !is_null) {
        docread_mismatch(reader, spot, "a mapping");
        return;
    }
    if (!is_null) {
        match_fields(reader, spot, fields, values);
    }
    for (size_t i = 0; fields[i].name != NULL; i++) {
        const struct doc_field *field = &fields[i];
        bool is_absent =
            values[i] == NULL || (reader->null_is_absent && doc_node_is_null(values[i]));
        if (!is_absent) {
            struct doc_spot at = {
                .up = spot, .key = field->name, .node = values[i], .field = field};
            field->read(reader, &at, (char *) target + field->offset);
        } else if (field->is_required) {
            report_missing(reader, spot, field);
        }
    }
}

const char *docread_text(struct doc_reader *reader, const struct doc_spot *spot)
{
    const struct doc_node *node = spot->node;
    if (node->kind != DOC_SCALAR || doc_node_is_null(node)) {
        docread_mismatch(reader, spot, "a string");
        return NULL;
    }
    if (*node->value == '\0') {
        docread_error(reader, spot, "is empty");
        return NULL;
    }
    return node->value;
}

bool docread_is_list(struct doc_reader *reader, const struct doc_spot *spot, size_t max)
{
    if (spot->node->kind != DOC_SEQUENCE) {
        docread_mismatch(reader, spot, "a list");
        return false;
    }
    if (spot->node->count > max) {
        docread_error(reader, spot, "has %zu items, the most is %zu", spot->node->count, max);
        return false;
    }
    return true;
}

struct doc_spot docread_item(const struct doc_spot *list, size_t index)
{
    return (struct doc_spot){.up = list, .index = index, .node = list->node->items[index]};
}

static void put_string(void *target, const char *text)
{
    char **at = target;
    free(*at);
    *at = xstrdup(text);
}

void docread_string(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    const char *text = docread_text(reader, spot);
    if (text != NULL) {
        put_string(target, text);
    }
}

/* A record may have what an earlier version accepted. */
static void read_short(struct doc_reader *reader, const struct doc_spot *spot, size_t max,
                       void *target)
{
    const char *text = docread_text(reader, spot);
    bool is_plain = text != NULL;
    for (size_t len = 0; is_plain && text[len] != '\0'; len++) {
        is_plain = len < max && (unsigned char) text[len] >= ' ' && text[len] != 0x7f;
    }
    if (text != NULL && !is_plain && !reader->is_record) {
        docread_error(reader, spot, "must have at most %zu bytes, and no control characters", max);
    } else if (text != NULL) {
        put_string(target, text);
    }
}

void docread_name(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    read_short(reader, spot, DOCREAD_MAX_NAME_BYTES, target);
}

void docread_kind(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    read_short(reader, spot, DOCREAD_MAX_KIND_BYTES, target);
}

static const char *read_label_text(struct doc_reader *reader, const struct doc_spot *spot)
{
    const char *text = docread_text(reader, spot);
    if (text != NULL && !parse_is_dns_label(text)) {
        docread_error(reader, spot,
                      "'%.80s' is not a DNS label: at most 63 of a-z, 0-9 and -, with no - at "
                      "either end",
                      text);
        return NULL;
    }
    return text;
}

void docread_label(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    const char *text = read_label_text(reader, spot);
    if (text != NULL) {
        put_string(target, text);
    }
}

static const char *read_path_text(struct doc_reader *reader, const struct doc_spot *spot)
{
    const char *text = docread_text(reader, spot);
    if (text != NULL && text[0] != '/') {
        docread_error(reader, spot, "'%.200s' is not an absolute path", text);
        return NULL;
    }
    return text;
}

bool docread_is_doc_path(struct doc_reader *reader, const struct doc_spot *spot, const char *text)
{
    struct err err = {0};
    if (!reader->is_record && doc_path_check(text, &err) < 0) {
        docread_error(reader, spot, "%s", err.msg);
        return false;
    }
    return true;
}

static const char *read_doc_path_text(struct doc_reader *reader, const struct doc_spot *spot)
{
    const char *text = read_path_text(reader, spot);
    return text != NULL && docread_is_doc_path(reader, spot, text) ? text : NULL;
}

void docread_doc_path(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    const char *text = read_doc_path_text(reader, spot);
    if (text != NULL) {
        put_string(target, text);
    }
}

/* A plain scalar that may be read as something else than text; NULL after an error. */
static const char *read_plain(struct doc_reader *reader, const struct doc_spot *spot,
                              const char *what)
{
    if (spot->node->kind != DOC_SCALAR || doc_node_is_null(spot->node)) {
        docread_mismatch(reader, spot, what);
        return NULL;
    }
    return spot->node->value;
}

void docread_bool(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    const struct doc_node *node = spot->node;
    bool *ret = target;
    if (node->kind == DOC_SCALAR && node->is_plain && strcmp(node->value, "true") == 0) {
        *ret = true;
    } else if (node->kind == DOC_SCALAR && node->is_plain && strcmp(node->value, "false") == 0) {
        *ret = false;
    } else if (node->kind == DOC_SCALAR && !doc_node_is_null(node)) {
        docread_error(reader, spot, "expected true or false, found '%.40s'", node->value);
    } else {
        docread_mismatch(reader, spot, "true or false");
    }
}

void docread_int(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    const char *text = read_plain(reader, spot, "a number");
    struct err err = {0};
    int64_t *ret = target;
    if (text != NULL && parse_int(text, spot->field->min, spot->field->max, ret, &err) < 0) {
        docread_error(reader, spot, "%s", err.msg);
    }
}

void docread_port(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    const char *text = read_plain(reader, spot, "a port number");
    struct err err = {0};
    int64_t port = 0;
    uint16_t *ret = target;
    if (text == NULL) {
        return;
    }
    if (parse_int(text, 1, UINT16_MAX, &port, &err) < 0) {
        docread_error(reader, spot, "%s", err.msg);
        return;
    }
    *ret = (uint16_t) port;
}

void docread_duration(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    const char *text = read_plain(reader, spot, "a duration");
    struct err err = {0};
    mono_ms ms = 0;
    mono_ms *ret = target;
    char least[32];
    if (text == NULL) {
        return;
    }
    if (parse_duration(text, &ms, &err) < 0) {
        docread_error(reader, spot, "%s", err.msg);
    } else if (ms < spot->field->min) {
        docread_error(reader, spot, "'%.40s' is below %s", text,
                      format_duration(spot->field->min, least, sizeof(least)));
    } else {
        *ret = ms;
    }
}

void docread_size(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    const char *text = read_plain(reader, spot, "a size");
    struct err err = {0};
    uint64_t bytes = 0;
    int64_t *ret = target;
    if (text == NULL) {
        return;
    }
    if (parse_size(text, &bytes, &err) < 0) {
        docread_error(reader, spot, "%s", err.msg);
    } else if ((int64_t) bytes < spot->field->min) {
        docread_error(reader, spot, "'%.40s' is below %lld bytes", text,
                      (long long) spot->field->min);
    } else {
        *ret = (int64_t) bytes;
    }
}

typedef const char *read_text_fn(struct doc_reader *reader, const struct doc_spot *spot);

static void read_list(struct doc_reader *reader, const struct doc_spot *spot,
                      read_text_fn *read_item, struct strv *ret)
{
    if (!docread_is_list(reader, spot, MAX_LIST)) {
        return;
    }
    for (size_t i = 0; i < spot->node->count; i++) {
        struct doc_spot item = docread_item(spot, i);
        const char *text = read_item(reader, &item);
        if (text != NULL) {
            strv_add(ret, text);
        }
    }
}

void docread_strings(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    read_list(reader, spot, docread_text, target);
}

void docread_paths(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    read_list(reader, spot, read_path_text, target);
}

void docread_doc_paths(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    read_list(reader, spot, read_doc_path_text, target);
}

void docread_labels(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    if (!docread_is_list(reader, spot, MAX_LIST)) {
        return;
    }
    CLEANUP(map) struct map *seen = map_new();
    for (size_t i = 0; i < spot->node->count; i++) {
        struct doc_spot item = docread_item(spot, i);
        const char *text = read_label_text(reader, &item);
        if (text == NULL) {
            continue;
        }
        if (map_has(seen, text)) {
            docread_error(reader, &item, "'%s' stands twice", text);
            continue;
        }
        map_put(seen, text, seen);
        strv_add(target, text);
    }
}

void docread_any(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    (void) reader;
    (void) spot;
    (void) target;
}
