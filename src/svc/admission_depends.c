/* Whether what an application depends on is there, and does not wait for it in turn. */
#include "edgible/admission.h"
#include "edgible/buf.h"

#include <string.h>

struct walk {
    const struct app_spec *start;
    struct map *known;
    struct map *seen;
    struct strv path; /* of a circle, the last one first */
};

/* A circle from here back to the start. At most as deep as there are applications. */
static bool leads_back(struct walk *walk, const struct app_spec *app)
{
    for (size_t i = 0; i < app->depends_on.count; i++) {
        const char *name = app->depends_on.items[i];
        const void *next = map_get(walk->known, name);
        bool is_back = strcmp(name, walk->start->name) == 0;
        if (!is_back && next != NULL && next != walk->known && !map_has(walk->seen, name)) {
            map_put(walk->seen, name, walk);
            is_back = leads_back(walk, next);
        }
        if (is_back) {
            strv_add(&walk->path, app->name);
            return true;
        }
    }
    return false;
}

char *admission_depends_refusal(const struct app_spec *app, struct map *known)
{
    for (size_t i = 0; i < app->depends_on.count; i++) {
        if (!map_has(known, app->depends_on.items[i])) {
            return xasprintf("%s:%zu: metadata.dependsOn[%zu]: there is no application '%s' on "
                             "this device",
                             app->file != NULL ? app->file : "", app->line, i,
                             app->depends_on.items[i]);
        }
    }
    CLEANUP(map) struct map *seen = map_new();
    struct walk walk = {.start = app, .known = known, .seen = seen};
    if (!leads_back(&walk, app)) {
        return NULL;
    }
    CLEANUP(buf) struct buf text = {0};
    buf_printf(&text, "%s:%zu: metadata.dependsOn: the applications wait for each other: ",
               app->file != NULL ? app->file : "", app->line);
    for (size_t i = walk.path.count; i > 0; i--) {
        buf_printf(&text, "%s -> ", walk.path.items[i - 1]);
    }
    buf_add_str(&text, app->name);
    strv_fini(&walk.path);
    return buf_steal(&text);
}
