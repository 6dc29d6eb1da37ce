#include "edgible/state_doc.h"

#include "edgible/appspec_json.h"
#include "edgible/appspec_read.h"
#include "edgible/yaml_doc.h"

#include <inttypes.h>
#include <stdlib.h>

struct json *state_doc_new(void)
{
    struct json *json = json_object();
    json_set_int(json, "version", STATE_DOC_VERSION);
    return json;
}

static void take_first_error(const char *name, const struct diag *diag, struct err *err)
{
    for (size_t i = 0; i < diag->count; i++) {
        if (diag->items[i].severity == DIAG_ERROR) {
            CLEANUP(free) char *text = diag_item_text(&diag->items[i]);
            (void) err_set(err, ERR_SPEC, "%s", text);
            return;
        }
    }
    (void) err_set(err, ERR_SPEC, "'%s' holds no document", name);
}

/* 0 where it cannot be read. */
static int64_t read_version(const struct doc_node *root)
{
    const struct doc_node *node = doc_node_get(root, "version");
    int64_t version = 0;
    if (node != NULL && node->kind == DOC_SCALAR) {
        (void) !parse_int(node->value, 1, INT32_MAX, &version, NULL);
    }
    return version;
}

enum state_doc_result state_doc_read(const char *name, const char *text, size_t len,
                                     const struct doc_field *fields, void *target, struct err *err)
{
    CLEANUP(diag) struct diag diag = {0};
    struct yaml_reader yaml;
    yaml_reader_init(&yaml, name, text, len, &diag);
    yaml.bound_factor = STATE_DOC_BOUND_FACTOR;
    CLEANUP(yaml_doc) struct yaml_doc *doc = yaml_reader_next(&yaml);
    if (doc != NULL) {
        diag_append(&diag, &doc->diag);
    }
    if (doc == NULL || diag.error_count > 0) {
        take_first_error(name, &diag, err);
        return STATE_DOC_CORRUPT;
    }
    int64_t version = read_version(doc->root);
    if (version == 0) {
        (void) err_set(err, ERR_SPEC, "'%s' does not say its version", name);
        return STATE_DOC_CORRUPT;
    }
    if (version > STATE_DOC_VERSION) {
        (void) err_set(err, ERR_SPEC,
                       "'%s' has version %" PRId64 ", and this agent reads up to version %d: run "
                       "the newer agent that wrote it, or remove the file",
                       name, version, STATE_DOC_VERSION);
        return STATE_DOC_NEWER;
    }
    /* What an older agent wrote and this one no longer knows is no error. */
    struct doc_reader reader = {.file = name,
                                .diag = &diag,
                                .unknown_keys = DIAG_WARNING,
                                .null_is_absent = true,
                                .is_record = true};
    struct doc_spot root = {.node = doc->root};
    docread_mapping(&reader, &root, fields, target);
    if (diag.error_count > 0) {
        take_first_error(name, &diag, err);
        return STATE_DOC_CORRUPT;
    }
    return STATE_DOC_READ;
}

/* --- applications ------------------------------------------------------------------------------
 */

void cleanup_app_record(struct app_record *record)
{
    app_spec_free(steal_ptr(&record->app));
    app_spec_free(steal_ptr(&record->good));
    free(steal_ptr(&record->source));
    free(steal_ptr(&record->rolled_back.reason));
    free(steal_ptr(&record->rolled_back.document));
}

char *app_record_text(const struct app_record *record)
{
    CLEANUP(json) struct json *json = state_doc_new();
    json_set_int(json, "generation", record->generation);
    json_set_string(json, "source", record->source);
    json_set_bool(json, "removing", record->removing);
    json_set_bool(json, "suspended", record->suspended);
    json_set(json, "document", appspec_to_json(record->app));
    json_set_int(json, "lastGeneration", record->last_generation);
    if (record->good != NULL) {
        json_set_int(json, "goodGeneration", record->good_generation);
        json_set(json, "goodDocument", appspec_to_json(record->good));
    }
    if (record->rolled_back.reason != NULL) {
        struct json *back = json_object();
        json_set_int(back, "from", record->rolled_back.from);
        json_set_int(back, "to", record->rolled_back.to);
        json_set_string(back, "reason", record->rolled_back.reason);
        json_set_string(back, "document", record->rolled_back.document);
        json_set(json, "rolledBack", back);
    }
    return json_text(json);
}

static void read_rolled_back(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct rolled_back, from, "from", docread_int, .max = INT32_MAX),
        DOC_FIELD(struct rolled_back, to, "to", docread_int, .max = INT32_MAX),
        DOC_FIELD(struct rolled_back, reason, "reason", docread_string, .is_required = true),
        DOC_FIELD(struct rolled_back, document, "document", docread_string, .is_required = true),
        DOC_FIELDS_END,
    };
    docread_mapping(reader, spot, fields, target);
}

static void read_document(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    struct app_spec **ret = target;
    *ret = appspec_read_document(reader, spot);
}

enum state_doc_result app_record_read(const char *name, const char *text, size_t len,
                                      struct app_record *record, struct err *err)
{
    static const struct doc_field fields[] = {
        DOC_FIELD_OF_ALL("version", docread_any),
        DOC_FIELD(struct app_record, generation, "generation", docread_int, .is_required = true,
                  .min = 1, .max = INT32_MAX),
        DOC_FIELD(struct app_record, source, "source", docread_string),
        DOC_FIELD(struct app_record, removing, "removing", docread_bool),
        DOC_FIELD(struct app_record, suspended, "suspended", docread_bool),
        DOC_FIELD(struct app_record, app, "document", read_document, .is_required = true),
        DOC_FIELD(struct app_record, last_generation, "lastGeneration", docread_int,
                  .max = INT32_MAX),
        DOC_FIELD(struct app_record, good, "goodDocument", read_document),
        DOC_FIELD(struct app_record, good_generation, "goodGeneration", docread_int,
                  .max = INT32_MAX),
        DOC_FIELD(struct app_record, rolled_back, "rolledBack", read_rolled_back),
        DOC_FIELDS_END,
    };
    enum state_doc_result result = state_doc_read(name, text, len, fields, record, err);
    if (result == STATE_DOC_READ && record->source != NULL) {
        free(record->app->file);
        record->app->file = xstrdup(record->source);
    }
    return result;
}

/* --- units -------------------------------------------------------------------------------------
 */

void cleanup_unit(struct unit *unit)
{
    free(steal_ptr(&unit->application));
    strv_fini(&unit->app_depends_on);
    if (unit->spec != NULL) {
        workload_spec_fini(unit->spec);
        free(steal_ptr(&unit->spec));
    }
}

char *unit_text(const char *application, int64_t generation, const struct strv *app_depends_on,
                const struct workload_spec *spec)
{
    CLEANUP(json) struct json *json = state_doc_new();
    json_set_string(json, "application", application);
    json_set_int(json, "generation", generation);
    if (app_depends_on->count > 0) {
        json_set_strings(json, "applicationDependsOn", app_depends_on);
    }
    json_set(json, "workload", appspec_workload_to_json(spec));
    return json_text(json);
}

static void read_workload(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    struct workload_spec **ret = target;
    *ret = xcalloc(1, sizeof(**ret));
    appspec_read_workload(reader, spot, *ret);
}

enum state_doc_result unit_read(const char *name, const char *text, size_t len, struct unit *unit,
                                struct err *err)
{
    static const struct doc_field fields[] = {
        DOC_FIELD_OF_ALL("version", docread_any),
        DOC_FIELD(struct unit, application, "application", docread_label, .is_required = true),
        DOC_FIELD(struct unit, generation, "generation", docread_int, .is_required = true, .min = 0,
                  .max = INT32_MAX),
        DOC_FIELD(struct unit, app_depends_on, "applicationDependsOn", docread_labels),
        DOC_FIELD(struct unit, spec, "workload", read_workload, .is_required = true),
        DOC_FIELDS_END,
    };
    return state_doc_read(name, text, len, fields, unit, err);
}
