#include "edgible/supervisor.h"

#include "edgible/check_mark.h"
#include "edgible/doc_path.h"
#include "edgible/log.h"
#include "edgible/map.h"
#include "edgible/spec_diff.h"
#include "log_keeper.h"
#include "look.h"
#include "supervisor_private.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* A workload keeps three descriptors: pidfd, pipe and log file. */
#define FDS_PER_WORKLOAD 3
/* For the loop, the pump, the source, and what is open for a moment while one is started. */
#define FDS_RESERVED 34
/* Health checks under way at the same time. */
#define HEALTH_CHECKS_MAX 64
/* A log that is being written is waited for so long before the agent gives its place to another. */
#define PAUSE_MS 1000

static void on_rest(void *arg, struct workload *workload);
static void on_change(void *arg, struct workload *workload);

static char *make_key(const char *application, const char *workload)
{
    return xasprintf("%s/%s", application, workload);
}

/* --- the pump ----------------------------------------------------------------------------------
 */

/* Called on a pump thread. */
static void on_pump_notify(void *arg)
{
    struct supervisor *sup = arg;
    loop_async_send(sup->pump_async);
}

static void on_pump_events(void *arg)
{
    struct supervisor *sup = arg;
    struct pump_event event;
    mono_ms until = loop_now() + LOOP_SHARE_MS;
    while (pump_next_event(sup->pump, &event)) {
        workload_on_pump(&event);
        strv_fini(&event.lines);
        if (loop_now() >= until) {
            loop_async_send(sup->pump_async);
            return;
        }
    }
}

/* --- life --------------------------------------------------------------------------------------
 */

static void on_bury(void *arg);

struct old_marks {
    struct supervisor *sup; /* for the loop's thread */
    char *device;           /* owned */
};

static void free_old_marks(void *arg)
{
    struct old_marks *marks = arg;
    free(marks->device);
    free(marks);
}

static void run_old_marks(void *arg)
{
    const struct old_marks *marks = arg;
    check_mark_kill_old(marks->device);
}

static void end_old_marks(void *arg)
{
    const struct old_marks *marks = arg;
    work_free(steal_ptr(&marks->sup->old_marks));
}

/* They are of other agents, so nothing of this one waits for their end. */
static void kill_old_marks(struct supervisor *sup)
{
    struct old_marks *marks = xcalloc(1, sizeof(*marks));
    marks->sup = sup;
    marks->device = xstrdup(sup->device_name);
    struct work_params work = {.loop = sup->params.loop,
                               .run = run_old_marks,
                               .done = end_old_marks,
                               .free_arg = free_old_marks,
                               .arg = marks};
    sweep_look(&sup->old_marks, &work);
}

/* Each may take four descriptors. */
static size_t checks_at_once(const struct rlimit *open_files)
{
    rlim_t share = open_files->rlim_cur / 32;
    return share < 1 ? 1 : share > HEALTH_CHECKS_MAX ? HEALTH_CHECKS_MAX : (size_t) share;
}

/* Links on the way are the configuration's at the agent's start alone: a workload in a sandbox that
 * may write to a folder above could put others there. The caller frees. */
static char *find_log_dir(const char *given)
{
    const struct doc_path_rules rules = {0};
    struct err err = {0};
    char text[ERR_MSG_MAX];
    CLEANUP(doc_path) struct doc_path found = {.fd = -1};
    if (doc_path_find(given, &rules, &found, &err) < 0) {
        log_warn("supervisor", "logDir: %s", err_text(&err, text, sizeof(text)));
        return xstrdup(given);
    }
    return steal_ptr(&found.path);
}

struct supervisor *supervisor_new(const struct supervisor_params *params, struct err *err)
{
    CLEANUP(supervisor) struct supervisor *sup = xcalloc(1, sizeof(*sup));
    sup->params = *params;
    sup->device_name = xstrdup(params->device_name);
    sup->log_dir_given = xstrdup(params->log_dir);
    sup->log_dir = find_log_dir(params->log_dir);
    sup->boot_id = xstrdup(params->boot_id);
    sup->own_creds = creds_lookup(NULL, NULL, NULL);
    list_init(&sup->members);
    list_init(&sup->sweeps);
    list_init(&sup->swept);
    sup->by_key = map_new();
    sup->pump_async = loop_async_new(params->loop, on_pump_events, sup);
    sup->pump = pump_new(params->journal_dir, workload_policy_paths(params->policy), on_pump_notify,
                         sup, err);
    if (sup->pump == NULL) {
        return NULL;
    }
    /* Of another number than those of this process before it executed itself anew (SIGUSR2). */
    sup->health.last_number = loop_now() * 1000;
    kill_old_marks(sup);
    sup->health.max_under_way = checks_at_once(&params->open_files_now);
    sup->bury_timer = loop_timer_new(params->loop, on_bury, sup);
    sandboxed_init(sup);
    sweep_init(sup);
    gate_init(sup);
    stop_order_init(sup);
    sup->log_keeper = log_keeper_new(params->loop, params->persist);
    sup->ctx = (struct workload_ctx){
        .loop = params->loop,
        .pump = sup->pump,
        .events = params->events,
        .persist = params->persist,
        .log_keeper = sup->log_keeper,
        .boot_id = sup->boot_id,
        .cgroups = params->cgroups,
        .own_creds = sup->own_creds,
        .device_name = sup->device_name,
        .log_dir = sup->log_dir,
        .log_dir_given = sup->log_dir_given,
        .open_files = params->open_files_before,
        .policy = params->policy,
        .stop_times = &sup->stop_times,
        .launches = &sup->launches,
        .health = &sup->health,
        .request_sweep = sweep_request,
        .on_check_end = sweep_orphans_soon,
        .on_sandbox = sandboxed_note,
        .on_rest = on_rest,
        .on_change = on_change,
        .arg = sup,
    };
    return steal_ptr(&sup);
}

void supervisor_free(struct supervisor *sup)
{
    if (sup == NULL) {
        return;
    }
    if (sup->empty_said && !list_is_empty(&sup->members)) {
        supervisor_abandon(sup); /* those that were given up */
    }
    if (sup->log_keeper != NULL && !sup->is_abandoned) {
        log_keeper_end(sup->log_keeper);
    }
    assert(list_is_empty(&sup->members));
    work_free(sup->old_marks);
    sweep_fini(sup);
    end_sweep_fini(sup);
    gate_fini(sup);
    stop_order_fini(sup);
    loop_timer_free(sup->bury_timer);
    if (sup->pump != NULL) {
        pump_free(sup->pump, 1000);
    }
    log_keeper_free(sup->log_keeper);
    lost_free(sup->lost);
    loop_async_free(sup->pump_async);
    map_free(sup->by_key);
    free(sup->device_name);
    free(sup->log_dir);
    free(sup->log_dir_given);
    free(sup->boot_id);
    free(sup->sandboxed.uids);
    creds_free(sup->own_creds);
    free(sup);
}

size_t supervisor_workload_count(const struct supervisor *sup)
{
    return map_count(sup->by_key);
}

/* --- removing ------------------------------------------------------------------------------------
 */

static void free_member(struct supervisor *sup, struct member *m)
{
    list_remove(&m->link);
    list_remove(&m->sweep_link);
    (void) map_remove(sup->by_key, m->key);
    workload_free(m->workload);
    cleanup_killtree_rounds(&m->rounds);
    free(m->key);
    free(m);
}

static bool has_members(const struct supervisor *sup, const char *application)
{
    list_each (it, &sup->members) {
        const struct member *m = list_entry(it, struct member, link);
        if (strcmp(workload_application(m->workload), application) == 0) {
            return true;
        }
    }
    return false;
}

static void bury(struct supervisor *sup, struct member *m)
{
    CLEANUP(free) char *application = xstrdup(workload_application(m->workload));
    workload_forget(m->workload, !sup->shutting_down || m->for_good);
    free_member(sup, m);
    if (!has_members(sup, application)) {
        sup->params.on_app_gone(sup->params.arg, application);
    }
    sup->params.on_forgotten(sup->params.arg);
}

/* Frees what is gone. Run from a timer: on_rest() is called from inside a workload's own step. */
static void on_bury(void *arg)
{
    struct supervisor *sup = arg;
    bool any_buried = false;
    list_each (it, &sup->members) {
        struct member *m = list_entry(it, struct member, link);
        if (m->suspending && workload_is_at_rest(m->workload)) {
            m->suspending = false;
        }
        if (m->renewing && workload_is_at_rest(m->workload)) {
            gate_end_renewal(sup, m);
        }
        if (!m->removing || !workload_is_at_rest(m->workload)) {
            continue;
        }
        if (workload_is_disposable(m->workload)) {
            bury(sup, m);
            any_buried = true;
        } else {
            m->closing_since = m->closing_since != 0 ? m->closing_since : loop_now();
            workload_close(m->workload);
        }
    }
    stop_order_advance(sup);
    if (any_buried && sup->is_short_of_fds && !sup->shutting_down) {
        sup->is_short_of_fds = false; /* until one is refused again */
        sup->params.on_room(sup->params.arg);
    }
    if (sup->shutting_down && !end_sweep_has_awaited(sup) && !sup->empty_said) {
        sup->empty_said = true;
        end_sweep_begin(sup);
    }
}

void supervisor_bury_soon(struct supervisor *sup)
{
    if (!loop_timer_is_armed(sup->bury_timer)) {
        loop_timer_arm(sup->bury_timer, 0);
    }
}

static void on_rest(void *arg, struct workload *workload)
{
    (void) workload;
    struct supervisor *sup = arg;
    gate_look_again(sup); /* its log is free */
    if (sup->leaving_count > 0 || sup->shutting_down) {
        supervisor_bury_soon(sup);
    }
}

static void on_change(void *arg, struct workload *workload)
{
    struct supervisor *sup = arg;
    sup->params.on_change(sup->params.arg, workload);
    gate_look_again(sup);
}

/* for_good: it is no longer wanted; else only the agent ends. */
static void mark_removing(struct member *m, bool for_good)
{
    m->for_good = m->for_good || for_good;
    if (!m->removing) {
        m->removing = true;
        m->stop_sent = false;
    }
}

void supervisor_remove(struct supervisor *sup, const char *const *names, size_t count)
{
    list_each (it, &sup->members) {
        struct member *m = list_entry(it, struct member, link);
        for (size_t i = 0; i < count; i++) {
            if (strcmp(workload_application(m->workload), names[i]) == 0) {
                mark_removing(m, true);
            }
        }
    }
    stop_order_rank(sup);
    stop_order_advance(sup);
    for (size_t i = 0; i < count; i++) {
        if (!has_members(sup, names[i])) {
            sup->params.on_app_gone(sup->params.arg, names[i]);
        }
    }
}

void supervisor_shutdown(struct supervisor *sup)
{
    bool again = sup->shutting_down;
    sup->shutting_down = true;
    list_each (it, &sup->members) {
        struct member *m = list_entry(it, struct member, link);
        mark_removing(m, false);
        if (again) {
            m->rank = 0; /* no more waiting for each other either */
        }
    }
    if (!again) {
        stop_order_rank(sup);
        end_sweep_watch_members(sup);
    } else {
        end_sweep_hurry(sup);
    }
    stop_order_advance(sup);
    list_each (it, &sup->members) {
        struct member *m = list_entry(it, struct member, link);
        if (again) {
            workload_skip_grace(m->workload);
        }
    }
    supervisor_bury_soon(sup);
}

/* --- applying ------------------------------------------------------------------------------------
 */

static bool has_budget(const struct supervisor *sup)
{
    size_t need = (map_count(sup->by_key) + 1) * FDS_PER_WORKLOAD + FDS_RESERVED;
    return need <= sup->params.open_files_now.rlim_cur;
}

static void refuse_for_budget(struct supervisor *sup, const char *application,
                              const struct workload_spec *spec)
{
    struct event event = {
        .type = EVENT_REJECTED,
        .level = LOG_ERROR,
        .application = application,
        .workload = spec->name,
        .fields = (struct log_field[]){{"status", "rejected"}, {0}},
    };
    events_emit(sup->params.events, &event,
                "%s/%s is refused: with its limit of %llu open files the agent can run %zu "
                "workloads; raise LimitNOFILE= of its unit, or `ulimit -n`",
                application, spec->name, (unsigned long long) sup->params.open_files_now.rlim_cur,
                map_count(sup->by_key));
}

static struct member *add_member(struct supervisor *sup, const char *application,
                                 const struct workload_spec *spec)
{
    struct member *m = xcalloc(1, sizeof(*m));
    m->key = make_key(application, spec->name);
    m->workload = workload_new(&sup->ctx, application, spec);
    list_init(&m->sweep_link);
    list_add_tail(&sup->members, &m->link);
    map_put(sup->by_key, m->key, m);
    sup->had_sandbox = sup->had_sandbox || spec->sandbox.present;
    return m;
}

/* Whether some of it have to wait for others of it. */
static bool app_has_order(const struct app_spec *app)
{
    for (size_t i = 0; i < app->workload_count; i++) {
        if (app->workloads[i].depends_on.count > 0) {
            return true;
        }
    }
    return false;
}

/* A new generation forgives the counters; the one that an earlier agent ran already does not. */
static void update_member(struct supervisor *sup, struct member *m, const struct app_spec *app,
                          int64_t generation, const struct workload_spec *spec, bool suspended)
{
    bool is_new = workload_generation(m->workload) != generation;
    enum spec_change change = spec_diff_workload(workload_spec(m->workload), spec, NULL);
    enum workload_renewal renewal = RENEW_NOTHING;
    if (change == SPEC_RESTART && !suspended) {
        /* The gate looks whether another one has that log still. */
        const char *log = workload_spec(m->workload)->log_file;
        bool same_log = log == NULL ? spec->log_file == NULL
                                    : spec->log_file != NULL && strcmp(log, spec->log_file) == 0;
        bool in_this_turn =
            same_log && !app_has_order(app) && loop_share_lasts(sup->params.loop, &sup->stops);
        renewal = in_this_turn ? RENEW_NOW : RENEW_LATER;
    }
    workload_set_application(m->workload, generation, &app->depends_on);
    if (renewal == RENEW_LATER) {
        gate_begin_renewal(m);
    }
    if (is_new || change != SPEC_SAME) {
        workload_update(m->workload, spec, renewal);
    }
}

static void want_member(struct supervisor *sup, struct member *m, bool suspended)
{
    sup->had_sandbox = sup->had_sandbox || workload_spec(m->workload)->sandbox.present;
    m->seen = true;
    m->removing = false;
    m->for_good = false;
    m->suspending = suspended && !workload_is_at_rest(m->workload);
    m->renewing = m->renewing && !suspended;
    m->stop_sent = m->stop_sent && member_is_leaving(m);
    if (!suspended) {
        if (!m->renewing) {
            gate_start(sup, m);
        }
    } else if (!m->suspending) {
        workload_stop(m->workload); /* one that failed or is completed is neither any more */
    }
}

static void apply_workload(struct supervisor *sup, const struct app_spec *app, int64_t generation,
                           const struct workload_spec *spec, bool suspended)
{
    CLEANUP(free) char *key = make_key(app->name, spec->name);
    struct member *m = map_get(sup->by_key, key);
    if (m != NULL) {
        update_member(sup, m, app, generation, spec, suspended);
    } else if (has_budget(sup)) {
        m = add_member(sup, app->name, spec);
        workload_set_application(m->workload, generation, &app->depends_on);
        workload_resume_without_state(m->workload, sup->lost);
    } else {
        sup->is_short_of_fds = true;
        refuse_for_budget(sup, app->name, spec);
        return;
    }
    want_member(sup, m, suspended);
}

void supervisor_fill(struct supervisor *sup, const struct app_spec *app, int64_t generation)
{
    for (size_t i = 0; i < app->workload_count; i++) {
        const struct workload_spec *spec = &app->workloads[i];
        CLEANUP(free) char *key = make_key(app->name, spec->name);
        if (!spec->supported || map_get(sup->by_key, key) != NULL) {
            continue;
        }
        if (!has_budget(sup)) {
            sup->is_short_of_fds = true;
            return;
        }
        struct member *m = add_member(sup, app->name, spec);
        workload_set_application(m->workload, generation, &app->depends_on);
        workload_resume_without_state(m->workload, sup->lost);
        want_member(sup, m, false);
    }
}

void supervisor_apply(struct supervisor *sup, const struct app_spec *app, int64_t generation,
                      bool suspended)
{
    if (sup->shutting_down) {
        return;
    }
    list_each (it, &sup->members) {
        list_entry(it, struct member, link)->seen = false;
    }
    for (size_t i = 0; i < app->workload_count; i++) {
        if (app->workloads[i].supported) {
            apply_workload(sup, app, generation, &app->workloads[i], suspended);
        }
    }
    bool any_leaving = suspended;
    list_each (it, &sup->members) {
        struct member *m = list_entry(it, struct member, link);
        if (!m->seen && strcmp(workload_application(m->workload), app->name) == 0) {
            mark_removing(m, true);
        }
        any_leaving = any_leaving || member_is_leaving(m);
    }
    gate_look_again(sup); /* what others wait for may be there now */
    if (any_leaving) {
        stop_order_rank(sup);
        stop_order_advance(sup);
    }
}

void supervisor_adopt(struct supervisor *sup, const struct unit *unit,
                      const struct run_state *state)
{
    struct member *m = add_member(sup, unit->application, unit->spec);
    workload_set_application(m->workload, unit->generation, &unit->app_depends_on);
    workload_note_unit(m->workload);
    if (state != NULL && !workload_is_record_old(m->workload, state, sup->lost)) {
        workload_resume(m->workload, state);
    } else {
        workload_resume_without_state(m->workload, sup->lost);
    }
}

void supervisor_look_for_lost(struct supervisor *sup)
{
    if (sup->lost == NULL) {
        sup->lost = lost_find(sup->device_name);
    }
}

void supervisor_end_adoption(struct supervisor *sup)
{
    log_keeper_end_earlier(sup->log_keeper);
}

/* --- going on without this process
 * -----------------------------------------------------------------
 */

int supervisor_pause(struct supervisor *sup, struct err *err)
{
    if (look_any_hangs()) {
        return err_set(err, ERR_HOST, "a path of a workload is being looked up, and hangs");
    }
    return pump_pause(sup->pump, PAUSE_MS, err);
}

void supervisor_unpause(struct supervisor *sup)
{
    pump_unpause(sup->pump);
}

void supervisor_hand_over(struct supervisor *sup, bool keep)
{
    list_each (it, &sup->members) {
        workload_hand_over(list_entry(it, struct member, link)->workload, keep);
    }
}

void supervisor_abandon(struct supervisor *sup)
{
    sup->is_abandoned = true;
    pump_leave(sup->pump);
    list_each (it, &sup->members) {
        struct member *m = list_entry(it, struct member, link);
        workload_abandon(m->workload);
        free_member(sup, m);
    }
}
