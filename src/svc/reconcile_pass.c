/*
 * A pass: one view is brought about, an application after the other. Many are taken in several
 * turns of the loop.
 */
#include "edgible/admission.h"
#include "edgible/log.h"
#include "edgible/map.h"
#include "reconcile_private.h"

#include <stdint.h>
#include <stdlib.h>

/* A view is taken in a turn of its own where there are so many applications, or where their
 * documents take so much memory, which a short text with aliases does, too. */
#define MANY 100
#define MUCH_BYTES (512UL * 1024)

static struct map *make_set(const struct strv *names)
{
    struct map *set = map_new();
    for (size_t i = 0; i < names->count; i++) {
        map_put(set, names->items[i], set);
    }
    return set;
}

/* The view as it is now; the source may go on meanwhile. */
static struct pass *pass_new(const struct source_view *view)
{
    struct pass *pass = xcalloc(1, sizeof(*pass));
    pass->apps = xcalloc(view->count, sizeof(struct app_spec *));
    for (size_t i = 0; i < view->count; i++) {
        pass->apps[pass->count++] = app_spec_share(view->apps[i]);
    }
    pass->kept = make_set(&view->kept);
    pass->unsure = make_set(&view->unsure);
    return pass;
}

static void pass_free(struct pass *pass)
{
    if (pass == NULL) {
        return;
    }
    for (size_t i = 0; i < pass->count; i++) {
        app_spec_free(pass->apps[i]);
    }
    free(pass->apps);
    map_free(pass->kept);
    map_free(pass->unsure);
    map_free(pass->known);
    free(pass);
}

/* --- its beginning ------------------------------------------------------------------------------
 */

static void add_known(struct map *known, const char *name, const struct app_spec *app)
{
    if (!map_has(known, name)) {
        // NOLINTNEXTLINE(performance-no-int-to-ptr)
        map_put(known, name, app != NULL ? (void *) (uintptr_t) app : known);
    }
}

/* What an application of this view may depend on. Where something could not be read, what is
 * missing may be in that: then whoever waits for it is pending, and not refused. */
static void find_known(const struct reconcile *rec, struct pass *pass)
{
    pass->known = map_new();
    for (size_t i = 0; i < pass->count; i++) {
        CLEANUP(free) char *elsewhere = admission_not_for_device(rec->config, pass->apps[i]);
        if (elsewhere == NULL) {
            add_known(pass->known, pass->apps[i]->name, pass->apps[i]);
        }
    }
    size_t at = 0;
    const char *name = NULL;
    while (map_next(pass->kept, &at, &name, NULL)) {
        map_put(pass->known, name, pass->known);
    }
    for (size_t i = 0; i < pass->count && map_count(pass->unsure) > 0; i++) {
        const struct strv *names = &pass->apps[i]->depends_on;
        for (size_t j = 0; j < names->count; j++) {
            add_known(pass->known, names->items[j], NULL);
        }
    }
}

static void begin(struct reconcile *rec, struct pass *pass)
{
    size_t at = 0;
    void *value = NULL;
    while (map_next(rec->apps, &at, NULL, &value)) {
        struct accepted *a = value;
        a->seen = false;
        a->present = false;
    }
    rec->pass = pass;
    find_known(rec, pass);
}

/* --- its end
 * --------------------------------------------------------------------------------------
 */

/* Some source says something of it that cannot be read, and nothing else is known of it. */
static bool is_in_doubt(const struct accepted *a, const char *name, const struct pass *pass)
{
    if (a->running == NULL || a->removing) {
        return false;
    }
    const char *origin = a->is_of_other_source ? NULL : a->running->file;
    bool may_be_there =
        origin != NULL ? map_has(pass->unsure, origin) : map_count(pass->unsure) > 0;
    return map_has(pass->kept, name) || (!a->was_seen && may_be_there);
}

static void keep_doubtful(struct reconcile *rec)
{
    size_t at = 0;
    const char *name = NULL;
    void *value = NULL;
    while (map_next(rec->apps, &at, &name, &value)) {
        struct accepted *a = value;
        if (!a->present && is_in_doubt(a, name, rec->pass)) {
            a->present = true;
            a->seen = true;
        }
    }
}

static void remove_unseen(struct reconcile *rec)
{
    size_t max = map_count(rec->apps);
    CLEANUP(free) const char **names = xcalloc(max, sizeof(char *));
    size_t count = 0;
    size_t at = 0;
    const char *name = NULL;
    void *value = NULL;
    while (map_next(rec->apps, &at, &name, &value)) {
        struct accepted *a = value;
        if (!a->seen && a->running != NULL) {
            names[count++] = name;
            log_info("reconcile", "%s is no longer in the source: it is removed", name);
            reconcile_write_record(rec, a, a->running, true);
            reconcile_leave(rec, name, a);
        }
    }
    if (count > 0) {
        supervisor_remove(rec->supervisor, names, count);
    }
}

/* Names that are not in the view any more are not kept: there is no end of them. */
static void forget_absent(struct reconcile *rec)
{
    CLEANUP(strv) struct strv names = {0};
    size_t at = 0;
    const char *name = NULL;
    void *value = NULL;
    while (map_next(rec->apps, &at, &name, &value)) {
        const struct accepted *a = value;
        if (!a->present && a->blocked == NULL) {
            strv_add(&names, name);
        }
    }
    for (size_t i = 0; i < names.count; i++) {
        reconcile_free_accepted(map_remove(rec->apps, names.items[i]));
    }
}

static void end(struct reconcile *rec)
{
    keep_doubtful(rec);
    remove_unseen(rec);
    forget_absent(rec);
    pass_free(steal_ptr(&rec->pass));
}

/* --- turns
 * ----------------------------------------------------------------------------------------
 */

/* Takes at least one; false where some are left for another turn. */
static bool go_on(struct reconcile *rec)
{
    struct pass *pass = rec->pass;
    mono_ms until = loop_now() + LOOP_SHARE_MS;
    while (pass->next < pass->count) {
        reconcile_take(rec, pass->apps[pass->next++]);
        if (loop_now() >= until) {
            loop_timer_arm(rec->pass_timer, 0);
            return false;
        }
    }
    end(rec);
    return true;
}

static void on_turn(void *arg)
{
    struct reconcile *rec = arg;
    if (rec->pass == NULL) {
        begin(rec, steal_ptr(&rec->next_pass));
    }
    if (go_on(rec) && rec->next_pass != NULL) {
        loop_timer_arm(rec->pass_timer, 0);
    }
}

void reconcile_view(void *arg, const struct source_view *view)
{
    struct reconcile *rec = arg;
    struct pass *pass = pass_new(view);
    size_t bytes = 0;
    for (size_t i = 0; i < view->count; i++) {
        bytes += view->apps[i]->memory_bytes;
    }
    bool is_small = view->count < MANY && map_count(rec->apps) < MANY && bytes < MUCH_BYTES;
    if (is_small && !reconcile_is_busy(rec)) {
        begin(rec, pass);
        (void) go_on(rec);
        return;
    }
    /* What is under way comes to its end: views that come fast must not keep off its last. */
    pass_free(rec->next_pass);
    rec->next_pass = pass;
    if (rec->pass == NULL) {
        loop_timer_arm(rec->pass_timer, 0);
    }
}

bool reconcile_is_busy(const struct reconcile *rec)
{
    return rec->pass != NULL || rec->next_pass != NULL;
}

void reconcile_drop_views(struct reconcile *rec)
{
    loop_timer_disarm(rec->pass_timer);
    pass_free(steal_ptr(&rec->pass));
    pass_free(steal_ptr(&rec->next_pass));
}

void pass_init(struct reconcile *rec, struct loop *loop)
{
    rec->pass_timer = loop_timer_new(loop, on_turn, rec);
}

void pass_fini(struct reconcile *rec)
{
    reconcile_drop_views(rec);
    loop_timer_free(rec->pass_timer);
}
