/* Workloads that would write to one log: their output would be mixed, and rotation would lose some.
 */
#include "edgible/admission.h"
#include "edgible/doc_path.h"
#include "edgible/logfile.h"

#include <stdlib.h>
#include <string.h>

/* Of a name such as x.1.2.3 so many endings are looked at: each costs a copy of the path. */
#define ENDINGS_MAX 4
/* Before a path of whose rotated files another could be one; no path begins so. */
#define ABOVE "\n"

/* Cuts ".7" off a name that a rotated file could have; false where it is no such name. */
static bool cut_number(char *path)
{
    char *dot = strrchr(path, '.');
    char *end = NULL;
    if (dot == NULL || dot[1] < '1' || dot[1] > '9' ||
        strtol(dot + 1, &end, 10) > LOGFILE_ROTATED_MAX || *end != '\0') {
        return false;
    }
    *dot = '\0';
    return true;
}

/* Whose log, or whose rotated files, the path would be, or those of the path; NULL: nobody's. */
static const struct workload_spec *find_other(struct map *own, const char *path)
{
    CLEANUP(free) char *above = xasprintf(ABOVE "%s", path);
    CLEANUP(free) char *base = xstrdup(path);
    const struct workload_spec *with = map_get(own, path);
    with = with != NULL ? with : map_get(own, above);
    for (int i = 0; i < ENDINGS_MAX && with == NULL && cut_number(base); i++) {
        with = map_get(own, base);
    }
    return with;
}

static void add_own(struct map *own, const char *path, struct workload_spec *w)
{
    CLEANUP(free) char *above = xasprintf(ABOVE "%s", path);
    map_put(own, path, w);
    for (int i = 0; i < ENDINGS_MAX && cut_number(above); i++) {
        map_put(own, above, w);
    }
}

/* own: path → workload, and the paths of whose rotated files it could be one; those of app are
 * added where it is theirs. */
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
        const struct workload_spec *with = find_other(own, path);
        if (with != NULL) {
            return xasprintf("its workload '%s' has the log '%s', as has '%s/%s', or rotated files "
                             "of one have that name: give each a logFile of its own",
                             with->name, path, app->name, w->name);
        }
        if (is_own) {
            add_own(own, path, w);
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
