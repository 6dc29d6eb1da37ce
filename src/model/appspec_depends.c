#include "edgible/appspec_read.h"
#include "edgible/buf.h"
#include "edgible/map.h"

#include <stdlib.h>
#include <string.h>

enum visit { VISIT_NONE, VISIT_OPEN, VISIT_DONE };

struct walk {
    struct doc_reader *reader;
    const struct doc_spot *workloads;
    const struct app_spec *app;
    struct map *by_name; /* name to struct workload_spec */
    enum visit *visits;  /* of each workload */
    size_t *path;        /* indexes of the open ones, in order */
    size_t path_len;
};

/* Where item `item` of a workload's dependsOn stands. The list can be shorter than the one in the
 * document, which may hold what was an error; the text is what tells them apart. */
static const struct doc_node *find_item(const struct doc_node *list, const char *name,
                                        size_t *ret_index)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct doc_node *item = list->items[i];
        if (item->kind == DOC_SCALAR && strcmp(item->value, name) == 0) {
            *ret_index = i;
            return item;
        }
    }
    return list;
}

static void report(const struct walk *walk, size_t workload, const char *name, const char *text)
{
    struct doc_spot item = docread_item(walk->workloads, workload);
    struct doc_spot list = {
        .up = &item, .key = "dependsOn", .node = doc_node_get(item.node, "dependsOn")};
    struct doc_spot at = {.up = &list};
    /* Looking for the place among thousands of errors that are not shown would take long. */
    bool is_shown = !diag_is_full(walk->reader->diag);
    at.node = is_shown ? find_item(list.node, name, &at.index) : list.node;
    docread_error(walk->reader, &at, "%s", text);
}

/* "a -> b -> a" from where the path meets itself. */
static void report_cycle(const struct walk *walk, size_t first, const char *name)
{
    size_t from = 0;
    while (walk->path[from] != first) {
        from++;
    }
    CLEANUP(buf) struct buf text = {0};
    buf_add_str(&text, "the workloads wait for each other: ");
    for (size_t i = from; i < walk->path_len && !diag_is_full(walk->reader->diag); i++) {
        buf_printf(&text, "%s -> ", walk->app->workloads[walk->path[i]].name);
    }
    buf_add_str(&text, name);
    report(walk, walk->path[walk->path_len - 1], name, buf_str(&text));
}

/* At most APPSPEC_MAX_WORKLOADS deep. */
static void visit(struct walk *walk, size_t index)
{
    const struct workload_spec *workload = &walk->app->workloads[index];
    walk->visits[index] = VISIT_OPEN;
    walk->path[walk->path_len++] = index;
    for (size_t i = 0; i < workload->depends_on.count; i++) {
        const char *name = workload->depends_on.items[i];
        const struct workload_spec *to = map_get(walk->by_name, name);
        size_t to_index = to != NULL ? (size_t) (to - walk->app->workloads) : 0;
        if (to == NULL) {
            CLEANUP(free) char *text = xasprintf("there is no workload '%s'", name);
            report(walk, index, name, text);
        } else if (to_index == index) {
            report(walk, index, name, "a workload cannot wait for itself");
        } else if (walk->visits[to_index] == VISIT_NONE) {
            visit(walk, to_index);
        } else if (walk->visits[to_index] == VISIT_OPEN) {
            report_cycle(walk, to_index, name);
        }
    }
    walk->path_len--;
    walk->visits[index] = VISIT_DONE;
}

void appspec_check_depends(struct doc_reader *reader, const struct doc_spot *workloads,
                           const struct app_spec *app)
{
    CLEANUP(map) struct map *by_name = map_new();
    CLEANUP(free) enum visit *visits = xcalloc(app->workload_count, sizeof(*visits));
    CLEANUP(free) size_t *path = xcalloc(app->workload_count, sizeof(*path));
    struct walk walk = {
        .reader = reader,
        .workloads = workloads,
        .app = app,
        .by_name = by_name,
        .visits = visits,
        .path = path,
    };
    for (size_t i = 0; i < app->workload_count; i++) {
        struct workload_spec *workload = &app->workloads[i];
        if (workload->name != NULL && !map_has(by_name, workload->name)) {
            map_put(by_name, workload->name, workload);
        }
    }
    for (size_t i = 0; i < app->workload_count; i++) {
        if (visits[i] == VISIT_NONE) {
            visit(&walk, i);
        }
    }
}
