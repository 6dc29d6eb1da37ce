#include "edgible/deploy_plan.h"

#include "edgible/spec_diff.h"

static void add_workload(struct json *array, const char *name, const char *change,
                         const struct strv *fields)
{
    struct json *json = json_object();
    json_set_string(json, "name", name);
    json_set_string(json, "change", change);
    json_set_strings(json, "fields", fields);
    json_add(array, json);
}

/* Returns whether anything differs. */
static bool diff_workloads(const struct app_spec *from, const struct app_spec *to,
                           struct json *array)
{
    static const char *const changes[] = {
        [SPEC_SAME] = "unchanged", [SPEC_LIVE] = "live", [SPEC_RESTART] = "restart"};
    bool differs = false;
    for (size_t i = 0; i < to->workload_count; i++) {
        const struct workload_spec *w = &to->workloads[i];
        const struct workload_spec *old =
            from != NULL ? app_spec_find_workload(from, w->name) : NULL;
        CLEANUP(strv) struct strv fields = {0};
        enum spec_change change = old != NULL ? spec_diff_workload(old, w, &fields) : SPEC_SAME;
        differs = differs || old == NULL || change != SPEC_SAME;
        add_workload(array, w->name, old != NULL ? changes[change] : "add", &fields);
    }
    for (size_t i = 0; from != NULL && i < from->workload_count; i++) {
        if (app_spec_find_workload(to, from->workloads[i].name) == NULL) {
            struct strv none = {0};
            add_workload(array, from->workloads[i].name, "remove", &none);
            differs = true;
        }
    }
    return differs;
}

struct json *deploy_plan_app(const struct app_spec *from, const struct app_spec *to, const char *id)
{
    CLEANUP(strv) struct strv fields = {0};
    struct json *workloads = json_array();
    bool differs = diff_workloads(from, to, workloads);
    if (from != NULL) {
        spec_diff_app_head(from, to, &fields);
    }
    struct json *json = json_object();
    json_set_string(json, "name", to->name);
    json_set_string(json, "id", id);
    json_set_string(json, "action",
                    from == NULL                  ? "create"
                    : differs || fields.count > 0 ? "update"
                                                  : "unchanged");
    json_set_strings(json, "fields", &fields);
    json_set(json, "workloads", workloads);
    return json;
}
