/* Any bytes as documents: nothing breaks, and what is accepted holds what it promises. */
#include "edgible/appspec.h"
#include "edgible/spec_diff.h"
#include "fuzz.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const struct workload_defaults defaults = {
    .restart = {.when = RESTART_ALWAYS, .initial_delay_ms = 500, .max_delay_ms = 60000},
    .stop = {.signal = 15,                      .grace_ms = 10000                                 },
    .logs = {.max_size_bytes = 1024,                      .max_files = 5},
};

static void check_workload(const struct workload_spec *workload)
{
    assert(parse_is_dns_label(workload->name));
    assert(workload->type != NULL);
    if (!workload->supported) {
        return;
    }
    assert(workload->command.count > 0 && *workload->command.items[0] != '\0');
    assert(workload->working_dir == NULL || workload->working_dir[0] == '/');
    assert(workload->log_file == NULL || workload->log_file[0] == '/');
    for (size_t i = 0; i < workload->env.count; i++) {
        assert(strchr(workload->env.items[i], '=') != NULL);
        assert(strncmp(workload->env.items[i], "EDGIBLE_", 8) != 0);
    }
    for (size_t i = 0; i < workload->port_count; i++) {
        assert(workload->ports[i].container_port > 0);
        assert(workload->ports[i].protocol != NULL);
    }
}

static void check_spec(const struct app_spec *spec)
{
    assert(parse_is_dns_label(spec->name));
    assert(spec->workload_count > 0);
    for (size_t i = 0; i < spec->workload_count; i++) {
        const struct workload_spec *workload = &spec->workloads[i];
        check_workload(workload);
        assert(app_spec_find_workload(spec, workload->name) == workload);
        for (size_t j = 0; j < workload->depends_on.count; j++) {
            assert(app_spec_find_workload(spec, workload->depends_on.items[j]) != NULL);
        }
    }
    for (size_t i = 0; i < spec->access_count; i++) {
        assert(app_spec_find_workload(spec, spec->access[i].workload) != NULL);
    }
    CLEANUP(app_spec) struct app_spec *copy = app_spec_copy(spec);
    assert(!spec_diff_app_is_different(spec, copy));
    for (size_t i = 0; i < copy->workload_count; i++) {
        struct workload_spec *workload = &copy->workloads[i];
        workload_spec_apply_defaults(workload, &defaults);
        assert(workload->restart.initial_delay_ms <= workload->restart.max_delay_ms);
        assert(workload->stop.signal > 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(app_docs) struct app_docs docs = {0};
    appspec_parse("fuzz.yaml", (const char *) data, size, &docs);
    assert(!docs.is_empty || (docs.count == 0 && app_docs_error_count(&docs) == 0));
    assert(docs.count <= APPSPEC_MAX_DOCUMENTS);
    for (size_t i = 0; i < docs.count; i++) {
        const struct app_doc *doc = &docs.docs[i];
        assert((doc->spec == NULL) == (doc->diag.error_count > 0));
        assert(doc->offset + doc->length <= size);
        if (doc->spec != NULL) {
            check_spec(doc->spec);
        }
        for (size_t j = 0; j < doc->diag.count; j++) {
            CLEANUP(free) char *text = diag_item_text(&doc->diag.items[j]);
            assert(strchr(text, '\n') == NULL);
        }
    }
    return 0;
}
