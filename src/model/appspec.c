#include "edgible/appspec.h"

#include "edgible/appspec_read.h"
#include "edgible/map.h"

#include <stdlib.h>
#include <string.h>

/* NOLINTBEGIN(misc-redundant-expression): two headers, one bound; they are held together. */
// NOLINTBEGIN(misc-redundant-expression): that they are equal is the point
_Static_assert(APPSPEC_MAX_DOCUMENT_BYTES == YAML_DOC_MAX_BYTES, "one bound");
_Static_assert(APPSPEC_MAX_DOCUMENTS == YAML_DOC_MAX_DOCUMENTS, "one bound");
_Static_assert(APPSPEC_MAX_DEPTH == YAML_DOC_MAX_DEPTH, "one bound");
_Static_assert(APPSPEC_MAX_NODES == YAML_DOC_MAX_NODES, "one bound");
// NOLINTEND(misc-redundant-expression)
/* NOLINTEND(misc-redundant-expression) */

static void expect_word(struct doc_reader *reader, const struct doc_spot *spot, const char *word)
{
    const char *text = docread_text(reader, spot);
    if (text != NULL && strcmp(text, word) != 0) {
        docread_error(reader, spot, "expected %s, found '%.40s'", word, text);
    }
}

static void read_api_version(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    (void) target;
    expect_word(reader, spot, "v3");
}

static void read_kind(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    (void) target;
    expect_word(reader, spot, "Application");
}

/* An id stands in URLs and file names as it is. */
static void read_id(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789_-.";
    const char *text = docread_text(reader, spot);
    char **ret = target;
    if (text == NULL) {
        return;
    }
    if (text[strspn(text, allowed)] != '\0' || text[0] == '.' || strlen(text) > 128) {
        docread_error(reader, spot,
                      "'%.80s' is not an id: at most 128 letters, digits, _, - and ., no . first",
                      text);
        return;
    }
    *ret = xstrdup(text);
}

static void check_not_itself(struct doc_reader *reader, const struct doc_spot *spot,
                             const struct app_spec *app)
{
    const struct doc_node *list = doc_node_get(spot->node, "dependsOn");
    if (app->name == NULL || !strv_has(&app->depends_on, app->name)) {
        return;
    }
    struct doc_spot at = {.up = spot, .key = "dependsOn", .node = list};
    docread_error(reader, &at, "an application cannot wait for itself");
}

static void read_metadata(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct app_spec, name, "name", docread_label, .is_required = true),
        DOC_FIELD(struct app_spec, id, "id", read_id),
        DOC_FIELD(struct app_spec, organization, "organization", docread_name),
        DOC_FIELD(struct app_spec, depends_on, "dependsOn", docread_labels),
        DOC_FIELD_OF_ALL("labels", docread_any),
        DOC_FIELD_OF_ALL("annotations", docread_any),
        DOC_FIELDS_END,
    };
    docread_mapping(reader, spot, fields, target);
    check_not_itself(reader, spot, target);
}

static void read_strategy(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    docread_name(reader, spot, target);
    char *const *strategy = target;
    if (*strategy != NULL && strcmp(*strategy, "serving-device") != 0) {
        docread_warning(reader, spot, "unknown strategy '%.40s', known is serving-device",
                        *strategy);
    }
}

static void read_device_selector(struct doc_reader *reader, const struct doc_spot *spot,
                                 void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct app_spec, device_name, "deviceName", docread_name),
        DOC_FIELD(struct app_spec, device_id, "deviceId", docread_name),
        DOC_FIELDS_END,
    };
    docread_mapping(reader, spot, fields, target);
}

static void read_placement(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct app_spec, placement_strategy, "strategy", read_strategy),
        DOC_FIELD_OF_ALL("deviceSelector", read_device_selector),
        DOC_FIELDS_END,
    };
    docread_mapping(reader, spot, fields, target);
}

static void read_update(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct app_spec, rollback, "rollback", docread_bool),
        DOC_FIELD(struct app_spec, healthy_after_ms, "healthyAfter", docread_duration),
        DOC_FIELDS_END,
    };
    docread_mapping(reader, spot, fields, target);
}

/* Counts those of any type, valid or not, before they are read: each takes memory and time. */
static bool count_workloads(struct doc_reader *reader, const struct doc_spot *spot)
{
    size_t count = spot->node->kind == DOC_SEQUENCE ? spot->node->count : 0;
    if (reader->workload_count == NULL) {
        return true;
    }
    if (*reader->workload_count + count > APPSPEC_MAX_SOURCE_WORKLOADS) {
        docread_error(reader, spot, "with these the source has more than %d workloads",
                      APPSPEC_MAX_SOURCE_WORKLOADS);
        reader->is_short_of_room = true;
        return false;
    }
    *reader->workload_count += count;
    return true;
}

static void read_workloads(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    const struct app_spec *app = target;
    if (!count_workloads(reader, spot)) {
        return;
    }
    appspec_read_workloads(reader, spot, target);
    if (app->workload_count > 0) {
        appspec_check_depends(reader, spot, app);
    }
}

static size_t memory_of(const struct doc_node *mapping, const char *key)
{
    const struct doc_node *node = mapping != NULL ? doc_node_get(mapping, key) : NULL;
    return node != NULL ? node->bytes + node->nodes * APPSPEC_NODE_BYTES : 0;
}

/* Counts what the whole document takes, before most of it is read. */
static bool count_memory(struct doc_reader *reader, const struct doc_spot *spot,
                         struct app_spec *app)
{
    const struct doc_node *root = spot->up->node;
    if (reader->memory_bytes == NULL) {
        return true;
    }
    const struct doc_node *metadata = doc_node_get(root, "metadata");
    /* Which are not kept. */
    size_t bytes = root->bytes + root->nodes * APPSPEC_NODE_BYTES -
                   memory_of(metadata, "annotations") - memory_of(metadata, "labels");
    if (*reader->memory_bytes + bytes > APPSPEC_MAX_SOURCE_BYTES) {
        docread_error(reader, spot,
                      "with this the source's documents take more than %lu MiB of memory",
                      APPSPEC_MAX_SOURCE_BYTES >> 20);
        reader->is_short_of_room = true;
        return false;
    }
    *reader->memory_bytes += bytes;
    app->memory_bytes = bytes;
    return true;
}

static void read_spec(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD_OF_ALL("placement", read_placement),
        DOC_FIELD_OF_ALL("workloads", read_workloads, .is_required = true),
        DOC_FIELD_OF_ALL("update", read_update),
        DOC_FIELD_OF_ALL("access", appspec_read_access),
        DOC_FIELDS_END,
    };
    if (count_memory(reader, spot, target)) {
        docread_mapping(reader, spot, fields, target);
    }
}

struct app_spec *appspec_read_document(struct doc_reader *reader, const struct doc_spot *spot)
{
    static const struct doc_field fields[] = {
        DOC_FIELD_OF_ALL("apiVersion", read_api_version, .is_required = true),
        DOC_FIELD_OF_ALL("kind", read_kind, .is_required = true),
        DOC_FIELD_OF_ALL("metadata", read_metadata, .is_required = true),
        DOC_FIELD_OF_ALL("spec", read_spec, .is_required = true),
        DOC_FIELDS_END,
    };
    struct app_spec *app = xcalloc(1, sizeof(*app));
    app->healthy_after_ms = UNSET;
    app->file = xstrdup(reader->file);
    app->line = spot->node->line;
    if (spot->node->kind == DOC_MAPPING) {
        docread_mapping(reader, spot, fields, app);
    } else {
        docread_mismatch(reader, spot, "a mapping");
    }
    return app;
}

struct parsing {
    const char *file;
    struct app_docs *docs;
    struct map *names; /* of the documents so far, to their node */
};

static struct app_doc *new_doc(struct app_docs *docs)
{
    if (docs->count == docs->cap) {
        docs->cap = docs->cap > 0 ? docs->cap * 2 : 4;
        docs->docs = xrealloc(docs->docs, docs->cap, sizeof(*docs->docs));
    }
    struct app_doc *doc = &docs->docs[docs->count++];
    *doc = (struct app_doc){0};
    return doc;
}

/* The place of metadata.name, for which the name was read. */
static void check_name_is_new(struct parsing *parsing, struct doc_reader *reader,
                              const struct doc_spot *spot, const char *name)
{
    if (map_has(parsing->names, name)) {
        const struct doc_node *metadata = doc_node_get(spot->node, "metadata");
        struct doc_spot up = {.up = spot, .key = "metadata", .node = metadata};
        struct doc_spot at = {.up = &up, .key = "name", .node = doc_node_get(metadata, "name")};
        docread_error(reader, &at, "another document before it has the name '%s' too", name);
    }
    map_put(parsing->names, name, parsing);
}

static bool is_before(size_t line, size_t column, const struct doc_node *node)
{
    return line < node->line || (line == node->line && column < node->column);
}

/* An item of a list that is an alias stands where its anchor does, which may be anywhere. */
static bool has_items_in_order(const struct doc_node *list)
{
    for (size_t i = 1; i < list->count; i++) {
        const struct doc_node *item = list->items[i - 1];
        if (!is_before(item->line, item->column, list->items[i])) {
            return false;
        }
    }
    return true;
}

/* What reading the YAML found wrong, such as a key that stands twice: of a list's documents the
 * one that it stands in has the error; where that cannot be told the first has it, and the others
 * are refused as well. */
static void take_yaml_errors(struct diag *diag, const struct doc_spot *spot,
                             const struct yaml_doc *yaml)
{
    const struct doc_node *list = spot->up != NULL ? spot->up->node : NULL;
    if (yaml->diag.count == 0) {
        return;
    }
    bool is_in_order = list != NULL && has_items_in_order(list);
    if (!is_in_order && spot->index > 0) {
        diag_add(diag, DIAG_ERROR, yaml->diag.items[0].file, spot->node->line, spot->node->column,
                 "", "the list has errors, which the first of its documents has");
        return;
    }
    if (!is_in_order) {
        diag_add_all(diag, &yaml->diag);
        return;
    }
    for (size_t i = 0; i < yaml->diag.count; i++) {
        const struct diag_item *item = &yaml->diag.items[i];
        bool is_behind = spot->index + 1 < list->count &&
                         !is_before(item->line, item->column, list->items[spot->index + 1]);
        bool is_ahead = spot->index > 0 && is_before(item->line, item->column, spot->node);
        if (!is_behind && !is_ahead) {
            diag_add(diag, item->severity, item->file, item->line, item->column, item->path, "%s",
                     item->message);
        }
    }
}

/* What is kept of errors and warnings counts for all texts of the source together. */
static size_t max_diags(const struct app_docs *docs)
{
    return docs->faulty < APPSPEC_MAX_FAULTY ? 0 : 1;
}

static void add_document(struct parsing *parsing, const struct doc_spot *spot,
                         const struct yaml_doc *yaml)
{
    struct app_doc *doc = new_doc(parsing->docs);
    doc->diag.max = max_diags(parsing->docs);
    struct doc_reader reader = {
        .file = parsing->file,
        .diag = &doc->diag,
        .unknown_keys = DIAG_WARNING,
        .null_is_absent = true,
        .workload_count = &parsing->docs->workload_count,
        .memory_bytes = &parsing->docs->memory_bytes,
    };
    CLEANUP(app_spec) struct app_spec *app = appspec_read_document(&reader, spot);
    doc->line = spot->node->line;
    doc->offset = yaml->offset;
    doc->length = yaml->length;
    doc->name = xstrdup_or_null(app->name);
    if (app->name != NULL) {
        check_name_is_new(parsing, &reader, spot, app->name);
    }
    parsing->docs->is_short_of_room |= reader.is_short_of_room;
    take_yaml_errors(&doc->diag, spot, yaml);
    diag_sort(&doc->diag);
    parsing->docs->faulty += doc->diag.count > 0 ? 1 : 0;
    if (doc->diag.error_count == 0) {
        doc->spec = steal_ptr(&app);
    }
}

static void add_list(struct parsing *parsing, const struct doc_spot *list,
                     const struct yaml_doc *yaml)
{
    size_t count = list->node->count;
    for (size_t i = 0; i < count; i++) {
        struct doc_spot item = docread_item(list, i);
        add_document(parsing, &item, yaml);
        parsing->docs->docs[parsing->docs->count - 1].is_in_list = true;
    }
    if (count == 0) {
        diag_add_all(&parsing->docs->diag, &yaml->diag);
    }
}

/* Counts the documents before they are read. */
static bool count_documents(struct app_docs *docs, const struct doc_node *root, const char *file)
{
    size_t count = root->kind == DOC_SEQUENCE ? root->count : 1;
    docs->is_too_many = docs->document_count + count > APPSPEC_MAX_DOCUMENTS ||
                        (docs->is_single && docs->count + count > 1);
    if (docs->is_too_many) {
        diag_add(&docs->diag, DIAG_ERROR, file, root->line, root->column, "",
                 "with this the source has more than %d documents", APPSPEC_MAX_DOCUMENTS);
        docs->is_short_of_room = true;
        return false;
    }
    docs->document_count += count;
    return true;
}

static void read_documents(const char *file, struct yaml_reader *reader, struct app_docs *docs)
{
    CLEANUP(map) struct map *names = map_new();
    struct parsing parsing = {.file = file, .docs = docs, .names = names};
    for (;;) {
        CLEANUP(yaml_doc) struct yaml_doc *doc = yaml_reader_next(reader);
        if (doc == NULL || !count_documents(docs, doc->root, file)) {
            return;
        }
        struct doc_spot root = {.node = doc->root};
        if (doc->root->kind == DOC_SEQUENCE) {
            add_list(&parsing, &root, doc);
        } else {
            add_document(&parsing, &root, doc);
        }
    }
}

void appspec_parse(const char *file, const char *data, size_t len, struct app_docs *docs)
{
    struct yaml_reader reader;
    docs->diag.max = max_diags(docs);
    yaml_reader_init(&reader, file, data, len, &docs->diag);
    docs->text_bytes = len;
    docs->is_empty = yaml_text_is_blank(&reader.text);
    read_documents(file, &reader, docs);
    docs->faulty += docs->diag.count > 0 ? 1 : 0;
}
