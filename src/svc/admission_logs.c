/* Workloads that would write to one log: their output would be mixed, and rotation would lose some.
 */
#include "edgible/admission.h"
#include "edgible/doc_path.h"

#include <string.h>

/* own: path → workload; those of app are added where it is theirs. */
static char *compare_logs(struct map *own, const char *log_dir, const struct app_spec *app,
                          bool is_own)
{
    for (size_t i = 0; i < app->workload_count; i++) {
        struct workload_spec *w = &app->workloads[i];
        if (!w->supported || workload_spec_has_no_log(w)) {
            continue;
        }
        CLEANUP(free)
        char *path = w->log_file != NULL ? xstrdup(w->log_file)
                                         : xasprintf("%s/%s/%s.log", log_dir, app->name, w->name);
        doc_path_make_plain(path);
        const struct workload_spec *with = map_get(own, path);
        if (with != NULL) {
            return xasprintf("its workload '%s' has the log '%s', as has '%s/%s': give each a "
                             "logFile of its own",
                             with->name, path, app->name, w->name);
        }
        if (is_own) {
            map_put(own, path, w);
        }
    }
    return NULL;
}

char *admission_log_refusal(const char *log_dir, const struct app_spec *app, struct map *known)
{
    CLEANUP(map) struct map *own = map_new();
    char *refusal = compare_logs(own, log_dir, app, true);
    size_t at = 0;
    const char *name = NULL;
    void *other = NULL;
    while (refusal == NULL && map_next(known, &at, &name, &other)) {
        if (other != known && strcmp(name, app->name) != 0) {
            refusal = compare_logs(own, log_dir, other, false);
        }
    }
    return refusal;
}
