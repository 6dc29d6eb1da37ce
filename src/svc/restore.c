#include "edgible/restore.h"

#include "edgible/log.h"
#include "edgible/proc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A unit and, where it is of this boot, how its workload was left. */
struct found {
    struct unit unit;
    struct run_state state;
    bool has_state;
};

struct restore {
    struct persist *persist;
    struct reconcile *reconcile;
    const char *boot_id;
    struct found *found;
    size_t count, cap;
    bool is_damaged; /* some unit cannot be read */
};

/* The part of "units/app/web.json" at this place; the caller frees. */
static char *name_part(const char *name, int place)
{
    for (; place > 0; place--) {
        name += strcspn(name, "/") + 1;
    }
    return xstrndup(name, strcspn(name, "/."));
}

static void say(const char *what, const struct err *err)
{
    char text[ERR_MSG_MAX];
    log_error("state", "%s; %s", err_text(err, text, sizeof(text)), what);
}

static void on_application(void *arg, const char *name, const char *text, size_t len,
                           const struct err *read_error)
{
    struct restore *r = arg;
    CLEANUP(app_record) struct app_record record = {0};
    CLEANUP(free) char *app = name_part(name, 1);
    struct err err = {0};
    enum state_doc_result result = STATE_DOC_CORRUPT;
    if (text == NULL) {
        err = *read_error;
    } else {
        result = app_record_read(name, text, len, &record, &err);
    }
    if (result == STATE_DOC_READ) {
        reconcile_restore(r->reconcile, &record);
    } else if (result == STATE_DOC_NEWER) {
        reconcile_block(r->reconcile, app, err.msg);
    } else {
        say("the application goes on by the units of its workloads", &err);
    }
}

static struct found *add_found(struct restore *r)
{
    if (r->count == r->cap) {
        r->cap = r->cap > 0 ? r->cap * 2 : 16;
        r->found = xrealloc(r->found, r->cap, sizeof(*r->found));
    }
    r->found[r->count] = (struct found){0};
    return &r->found[r->count++];
}

/* What ran last of a workload whose unit is lost is most likely what its application says. */
static bool make_unit_from_record(const struct restore *r, const char *name, struct unit *unit)
{
    CLEANUP(free) char *app = name_part(name, 1);
    CLEANUP(free) char *workload = name_part(name, 2);
    const struct workload_spec *spec = reconcile_find_workload(r->reconcile, app, workload);
    if (spec == NULL) {
        return false;
    }
    cleanup_unit(unit);
    *unit = (struct unit){.application = xstrdup(app), .spec = xcalloc(1, sizeof(*unit->spec))};
    workload_spec_copy(unit->spec, spec);
    return true;
}

/* False where the application is blocked by it. */
static bool read_state(struct restore *r, const char *name, struct found *found)
{
    struct err err = {0};
    size_t len = 0;
    CLEANUP(free) char *text = persist_read_volatile(r->persist, name, &len, &err);
    if (text == NULL) {
        if (err.code != ENOENT) {
            say("the workload is started anew", &err);
        }
        return true;
    }
    enum state_doc_result result = run_state_read(name, text, len, &found->state, &err);
    if (result == STATE_DOC_NEWER) {
        reconcile_block(r->reconcile, found->unit.application, err.msg);
        return false;
    }
    if (result == STATE_DOC_CORRUPT) {
        say("the workload is started anew", &err);
    }
    found->has_state = result == STATE_DOC_READ && strcmp(found->state.boot_id, r->boot_id) == 0;
    return true;
}

static void on_unit(void *arg, const char *name, const char *text, size_t len,
                    const struct err *read_error)
{
    struct restore *r = arg;
    struct err err = {0};
    struct found *found = add_found(r);
    enum state_doc_result result = STATE_DOC_CORRUPT;
    if (text == NULL) {
        err = *read_error;
    } else {
        result = unit_read(name, text, len, &found->unit, &err);
    }
    bool is_usable = result == STATE_DOC_READ;
    if (result == STATE_DOC_NEWER) {
        CLEANUP(free) char *app = name_part(name, 1);
        reconcile_block(r->reconcile, app, err.msg);
    } else if (!is_usable) {
        r->is_damaged = true;
        is_usable = make_unit_from_record(r, name, &found->unit);
        say(is_usable ? "the workload goes on by what its application says"
                      : "the workload is passed over",
            &err);
    }
    if (!is_usable || !read_state(r, name, found)) {
        cleanup_unit(&found->unit);
        run_state_fini(&found->state);
        r->count--;
    }
}

static bool has_process(const struct run_state *state)
{
    return state->pid != 0 &&
           proc_read_start_ticks((pid_t) state->pid) == (uint64_t) state->start_ticks;
}

/* Whether something may run of which no record tells: also where one tells of no process that is
 * there, as it may be of a run before, and there was no room for another. */
static bool is_short_of_records(const struct restore *r)
{
    bool is_short = r->count == 0 || r->is_damaged;
    for (size_t i = 0; i < r->count; i++) {
        is_short = is_short || !r->found[i].has_state || !has_process(&r->found[i].state);
    }
    return is_short;
}

static void adopt_all(struct restore *r, struct supervisor *supervisor)
{
    if (is_short_of_records(r)) {
        supervisor_look_for_lost(supervisor);
    }
    for (size_t i = 0; i < r->count; i++) {
        const struct found *found = &r->found[i];
        if (!reconcile_is_blocked(r->reconcile, found->unit.application)) {
            reconcile_restore_unit(r->reconcile, &found->unit);
            supervisor_adopt(supervisor, &found->unit, found->has_state ? &found->state : NULL);
        }
    }
}

void restore_all(struct persist *persist, struct reconcile *reconcile,
                 struct supervisor *supervisor, const char *boot_id)
{
    struct restore r = {.persist = persist, .reconcile = reconcile, .boot_id = boot_id};
    persist_each(persist, "applications", on_application, &r);
    persist_each(persist, "units", on_unit, &r);
    adopt_all(&r, supervisor);
    supervisor_end_adoption(supervisor);
    reconcile_resume(reconcile);
    for (size_t i = 0; i < r.count; i++) {
        cleanup_unit(&r.found[i].unit);
        run_state_fini(&r.found[i].state);
    }
    free(r.found);
}
