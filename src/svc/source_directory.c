#include "edgible/source_directory.h"

#include "edgible/map.h"
#include "edgible/source_trust.h"
#include "edgible/watch.h"
#include "source_deploy.h"
#include "source_file.h"
#include "source_private.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RESCAN_MS 60000
#define POLL_MS 5000 /* where it cannot be watched */
/* After a change, so that a burst of them (a move, a checkout) is one. */
#define SETTLE_MS 20
#define SETTLE_WRITING_MS 50
#define WAIT_FOR_WRITER_MS 250
#define LOST_RETRY_MS 2000
/* After a scan, so many times what it took: whoever writes to the folder without an end gets a
 * fifth of a core, and not all of it. */
#define REST_FACTOR 4
#define MAX_FILES 10000
/* Whoever writes to the folder can have it overflow again and again. */
#define SAY_LEFT_OUT_MS 3600000

struct source_directory {
    struct source base;
    char *directory;
    struct watch *watch; /* NULL while it cannot be watched */
    struct loop_timer *timer;
    mono_ms scan_at;     /* what the timer is armed for */
    mono_ms rest_until;  /* no scan begins before */
    mono_ms busy_since;  /* a turn of the scan, with what is read beside the loop; 0: between two */
    mono_ms cost;        /* of the turns of the scan before */
    struct map *files;   /* name → struct source_file */
    struct map *holders; /* application → struct source_file that it was taken from last */
    DIR *dir;            /* whose names the scan under way reads; NULL: it has them all */
    struct strv names;   /* of the scan under way */
    size_t next;         /* of them */
    size_t left_out;     /* names of the scan under way that are too many */
    mono_ms say_left_out_at;
    bool is_scanning, is_held;  /* held: it does not scan */
    bool must_wait;             /* somebody writes to one of them */
    bool must_repeat;           /* something changed meanwhile */
    bool has_changed;           /* what was read is in no view yet */
    struct source_file *beside; /* which the scan waits for; NULL: none */
    bool was_scanned, is_lost, force_view;
    mono_ms last_contact; /* -1: never */
    char *trouble;        /* why it is lost */
    char *unwatched;      /* why it is polled; NULL: it is watched, or lost */
};

static void on_read(void *arg);

static struct source_directory *from_base(struct source *base)
{
    return (struct source_directory *) base;
}

static void scan_at(struct source_directory *source, mono_ms when)
{
    source->scan_at = when;
    loop_timer_arm(source->timer, when);
}

/* Scans after `delay`, or earlier where that is already planned; where a scan is under way, after
 * that; where it is held, once it is released. */
static void scan_within(struct source_directory *source, mono_ms delay)
{
    mono_ms when = loop_now() + delay;
    when = when > source->rest_until ? when : source->rest_until;
    if (source->is_scanning) {
        source->must_repeat = true;
    } else if (when < source->scan_at && !source->is_held) {
        scan_at(source, when);
    }
}

/* The file's record, made where there is none; NULL where there are too many. */
static struct source_file *get_file(struct source_directory *source, const char *name)
{
    struct source_file *file = map_get(source->files, name);
    if (file == NULL && map_count(source->files) < MAX_FILES) {
        file = source_file_new(source->directory, name, &source->base);
        file->on_read = on_read;
        file->arg = source;
        map_put(source->files, name, file);
    }
    return file;
}

/* --- the watch ---------------------------------------------------------------------------------
 */

static void on_change(void *arg, enum watch_change change, const char *name)
{
    struct source_directory *source = arg;
    if (change == WATCH_LOST) {
        watch_free(steal_ptr(&source->watch));
        scan_within(source, SETTLE_MS);
        return;
    }
    bool is_folder = *name == '\0'; /* its mode, for instance */
    if (change != WATCH_UNKNOWN && !is_folder && !source_directory_takes(name)) {
        return;
    }
    bool is_written = change == WATCH_WRITING || change == WATCH_COMPLETE;
    struct source_file *file = is_written ? get_file(source, name) : NULL;
    if (file != NULL) {
        file->written_at = change == WATCH_WRITING ? loop_now() : 0;
        file->is_closed = change == WATCH_COMPLETE;
        file->is_present = source->is_scanning; /* the scan may be past it */
    }
    scan_within(source, change == WATCH_WRITING ? SETTLE_WRITING_MS : SETTLE_MS);
}

static void watch_again(struct source_directory *source)
{
    struct err err = {0};
    if (source->watch != NULL) {
        return;
    }
    source->watch = watch_new(source->base.params.loop, source->directory, on_change, source, &err);
    if (source->watch != NULL) {
        free(steal_ptr(&source->unwatched));
    } else if (source->unwatched == NULL && (err.code == EMFILE || err.code == ENOSPC)) {
        source->unwatched = xstrdup(err.msg);
        log_warn("source", "%s; changes are looked for each 5 s", err.msg);
    }
}

/* --- the view ------------------------------------------------------------------------------------
 */

static void say_duplicate(struct source_directory *source, const struct app_spec *app,
                          const struct source_file *file, const struct source_file *holder)
{
    struct event event = {
        .type = EVENT_REJECTED,
        .level = LOG_ERROR,
        .application = app->name,
        .fields = (struct log_field[]){{"status", "rejected"}, {0}},
    };
    events_emit(source->base.params.events, &event,
                "%s:%zu: application '%s' is rejected: '%s' has one of that name",
                file->docs.origin, app->line, app->name, holder->docs.origin);
}

/* The file that an application is taken from stays the one while it has it. */
static struct source_file *holder_of(const struct source_directory *source, const char *name)
{
    struct source_file *holder = map_get(source->holders, name);
    return holder != NULL && source_docs_has_app(&holder->docs, name) ? holder : NULL;
}

struct view {
    struct app_spec **apps;
    size_t count;
};

static void add_to_view(struct source_directory *source, struct view *view,
                        struct source_file *file, bool changed)
{
    for (size_t i = 0; i < file->docs.app_count; i++) {
        struct app_spec *app = file->docs.apps[i];
        struct source_file *holder = holder_of(source, app->name);
        if (holder == NULL) {
            map_put(source->holders, app->name, file);
        } else if (holder != file) {
            if (changed) {
                say_duplicate(source, app, file, holder);
            }
            continue;
        }
        if (view->count < APPSPEC_MAX_DOCUMENTS) { /* more are not read */
            view->apps[view->count++] = app;
        }
    }
}

static int compare_files(const void *a, const void *b)
{
    const struct source_file *const *x = a;
    const struct source_file *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static void give_view(struct source_directory *source)
{
    if (source_waits_for_set(&source->base, source->directory)) {
        return;
    }
    size_t count = map_count(source->files);
    CLEANUP(free) struct source_file **files = xcalloc(count, sizeof(struct source_file *));
    CLEANUP(free)
    struct app_spec **apps = xcalloc(APPSPEC_MAX_DOCUMENTS, sizeof(struct app_spec *));
    size_t at = 0;
    void *value = NULL;
    for (size_t i = 0; map_next(source->files, &at, NULL, &value); i++) {
        files[i] = value;
    }
    qsort(files, count, sizeof(struct source_file *), compare_files);
    struct view view = {.apps = apps};
    struct source_view given = {.apps = apps};
    for (size_t i = 0; i < count; i++) {
        add_to_view(source, &view, files[i], source->force_view);
        source_docs_add_doubts(&files[i]->docs, &given);
    }
    given.count = view.count;
    source->base.params.on_view(source->base.params.arg, &given);
    strv_fini(&given.kept);
    strv_fini(&given.unsure);
}

/* --- scanning ------------------------------------------------------------------------------------
 */

static void say_source(struct source_directory *source, enum event_type type, const char *reason)
{
    struct event event = {
        .type = type,
        .level = type == EVENT_SOURCE_LOST ? LOG_ERROR : LOG_INFO,
        .fields = type == EVENT_SOURCE_LOST ? (struct log_field[]){{"reason", reason}, {0}}
               : NULL,
    };
    events_emit(source->base.params.events, &event,
                type == EVENT_SOURCE_LOST
                    ? "cannot read the directory '%s': %s; everything goes on as it is"
                    : "the directory '%s' can be read%s",
                source->directory, reason);
}

static void lose(struct source_directory *source, int error)
{
    if (!source->is_lost) {
        source->is_lost = true;
        free(source->trouble);
        source->trouble = xstrdup(strerror(error));
        say_source(source, EVENT_SOURCE_LOST, source->trouble);
    }
    scan_at(source, loop_now() + LOST_RETRY_MS);
}

/* False where the file is read beside the loop. */
static bool refresh(struct source_directory *source, const char *name)
{
    struct source_file *file = map_get(source->files, name);
    enum source_read result = source_file_refresh(file, &source->base);
    bool is_beside = result == SOURCE_READ_BESIDE;
    source->beside = is_beside ? file : NULL;
    source->must_wait = source->must_wait || result == SOURCE_READ_WAIT;
    source->has_changed = source->has_changed || result == SOURCE_READ_LOADED || is_beside;
    return !is_beside;
}

/* Forgets the files that were not there; true where there was one with applications. */
static bool forget_absent(struct source_directory *source)
{
    CLEANUP(free) char **absent = xcalloc(map_count(source->files), sizeof(char *));
    size_t count = 0;
    size_t at = 0;
    void *value = NULL;
    while (map_next(source->files, &at, NULL, &value)) {
        struct source_file *file = value;
        bool is_set = source->base.trust != NULL && strcmp(file->name, TRUST_SET_NAME) == 0;
        if (!file->is_present && is_set) {
            source_file_keep(file, source->base.params.events);
        } else if (!file->is_present) {
            absent[count++] = file->name;
        }
    }
    for (size_t i = 0; i < count; i++) {
        struct source_file *file = map_remove(source->files, absent[i]);
        for (size_t k = 0; k < file->docs.app_count; k++) {
            if (map_get(source->holders, file->docs.apps[k]->name) == file) {
                (void) map_remove(source->holders, file->docs.apps[k]->name);
            }
        }
        source_file_free(file);
    }
    return count > 0;
}

/* The names known already stay, wherever in the folder they stand. */
static void take_name(struct source_directory *source, const char *name)
{
    struct source_file *file = get_file(source, name);
    if (file == NULL || source->names.count >= MAX_FILES) {
        source->left_out++;
    } else {
        strv_add(&source->names, name);
    }
    if (file != NULL) {
        file->is_present = true;
    }
}

/* Reads names until `end`: 1 where those are all, 0 where more are to come, -1 with errno. */
static int list_names(struct source_directory *source, mono_ms end)
{
    errno = 0;
    for (struct dirent *entry = readdir(source->dir); entry != NULL; entry = readdir(source->dir)) {
        if (source_directory_takes(entry->d_name)) {
            take_name(source, entry->d_name);
        }
        if (loop_now() >= end) {
            return 0;
        }
        errno = 0;
    }
    if (errno != 0) {
        return -1;
    }
    (void) closedir(steal_ptr(&source->dir));
    return 1;
}

/* A file that did not fit may do so since another one was read, or is gone. */
static bool is_room_found(const struct source_directory *source)
{
    size_t at = 0;
    void *value = NULL;
    while (map_next(source->files, &at, NULL, &value)) {
        const struct source_file *file = value;
        if (source_docs_has_room(&file->docs)) {
            return true;
        }
    }
    return false;
}

static void drop_scan(struct source_directory *source)
{
    if (source->beside != NULL) {
        source_file_drop_reading(steal_ptr(&source->beside));
    }
    if (source->dir != NULL) {
        (void) closedir(steal_ptr(&source->dir));
    }
    strv_fini(&source->names);
    source->is_scanning = false;
}

static void say_left_out(struct source_directory *source)
{
    if (source->left_out > 0 && loop_now() >= source->say_left_out_at) {
        source->say_left_out_at = loop_now() + SAY_LEFT_OUT_MS;
        log_error("source", "'%s' has more than %d files: %zu of them are left out",
                  source->directory, MAX_FILES, source->left_out);
    }
}

static void end_scan(struct source_directory *source)
{
    drop_scan(source);
    source->last_contact = loop_now();
    if (source->is_lost) {
        source->is_lost = false;
        free(steal_ptr(&source->trouble));
        say_source(source, EVENT_SOURCE_BACK, " again");
    }
    bool is_gone = forget_absent(source);
    bool is_changed = is_gone || source->has_changed;
    bool waits = source->must_wait || is_room_found(source);
    bool must_repeat = source->must_repeat || (is_gone && source->left_out > 0);
    say_left_out(source);
    mono_ms idle = source->watch == NULL ? POLL_MS : RESCAN_MS;
    mono_ms pause = must_repeat ? SETTLE_MS : waits ? WAIT_FOR_WRITER_MS : idle;
    scan_at(source, loop_now() + pause);
    source->has_changed = false;
    if (is_changed || !source->was_scanned) {
        source->was_scanned = true;
        source->force_view = true;
        give_view(source);
        source->force_view = false;
    }
}

/* Reads on, a turn's worth. */
static void read_on(struct source_directory *source)
{
    mono_ms end = loop_now() + LOOP_SHARE_MS;
    int listed = source->dir != NULL ? list_names(source, end) : 1;
    if (listed < 0) {
        int error = errno;
        drop_scan(source);
        lose(source, error);
        return;
    }
    while (listed == 0 || source->next < source->names.count) {
        if (listed == 0 || loop_now() >= end) {
            scan_at(source, 0);
            return;
        }
        if (!refresh(source, source->names.items[source->next++])) {
            return;
        }
    }
    end_scan(source);
}

static void go_on(struct source_directory *source)
{
    source->busy_since = source->busy_since != 0 ? source->busy_since : loop_now();
    read_on(source);
    if (source->beside != NULL) {
        return; /* on_read() goes on */
    }
    mono_ms now = loop_now();
    source->cost += now - source->busy_since;
    source->busy_since = 0;
    mono_ms rest = REST_FACTOR * source->cost;
    source->rest_until = now + (rest < RESCAN_MS ? rest : RESCAN_MS);
    if (!source->is_scanning && source->scan_at < source->rest_until) {
        scan_at(source, source->rest_until);
    }
}

static void on_read(void *arg)
{
    struct source_directory *source = arg;
    source->beside = NULL;
    go_on(source);
}

static void begin_scan(struct source_directory *source)
{
    /* First the watch, then the look: what changes in between is seen by one of them. */
    watch_again(source);
    source->must_wait = source->must_repeat = false;
    source->next = source->left_out = 0;
    source->cost = source->busy_since = 0;
    source->dir = opendir(source->directory);
    if (source->dir == NULL) {
        lose(source, errno);
        return;
    }
    source->is_scanning = true;
    size_t at = 0;
    for (void *value = NULL; map_next(source->files, &at, NULL, &value);) {
        ((struct source_file *) value)->is_present = false;
    }
    go_on(source);
}

static void on_scan(void *arg)
{
    struct source_directory *source = arg;
    if (source->is_scanning) {
        go_on(source);
    } else {
        begin_scan(source);
    }
}

static void directory_free(struct source *base)
{
    struct source_directory *source = from_base(base);
    drop_scan(source);
    size_t at = 0;
    void *value = NULL;
    while (map_next(source->files, &at, NULL, &value)) {
        source_file_free(value);
    }
    map_free(source->files);
    map_free(source->holders);
    watch_free(source->watch);
    loop_timer_free(source->timer);
    free(source->directory);
    free(source->trouble);
    free(source->unwatched);
    free(source);
}

static void directory_stop(struct source *base)
{
    struct source_directory *source = from_base(base);
    watch_free(steal_ptr(&source->watch));
    loop_timer_disarm(source->timer);
    drop_scan(source);
}

static void directory_reload(struct source *base)
{
    struct source_directory *source = from_base(base);
    if (source->was_scanned) {
        give_view(source);
    }
}

/* --- what is asked of it -------------------------------------------------------------------------
 */

static void directory_describe(const struct source *base, struct source_state *ret)
{
    const struct source_directory *source = (const struct source_directory *) base;
    ret->type = "directory";
    ret->location = source->directory;
    ret->trouble = source->trouble;
    ret->mode = source->watch != NULL ? "watch" : "poll";
    ret->unwatched = source->unwatched;
    ret->last_contact = source->last_contact;
}

const char *source_directory_file_of(const struct source_directory *source, const char *app)
{
    const struct source_file *holder = holder_of(source, app);
    return holder != NULL ? holder->docs.origin : NULL;
}

static void give_duplicates(const struct source_directory *source, const struct source_file *file,
                            source_problem_fn *fn, void *arg)
{
    for (size_t i = 0; i < file->docs.app_count; i++) {
        const struct app_spec *app = file->docs.apps[i];
        const struct source_file *holder = holder_of(source, app->name);
        if (holder != NULL && holder != file) {
            CLEANUP(strv) struct strv lines = {0};
            const struct strv none = {0};
            strv_add_take(&lines,
                          xasprintf("%s:%zu: application '%s' is rejected: '%s' has one of "
                                    "that name",
                                    file->docs.origin, app->line, app->name, holder->docs.origin));
            fn(arg, app->name, file->docs.origin, &lines, &none);
        }
    }
}

static void directory_each_problem(const struct source *base, source_problem_fn *fn, void *arg)
{
    const struct source_directory *source = (const struct source_directory *) base;
    size_t at = 0;
    void *value = NULL;
    while (map_next(source->files, &at, NULL, &value)) {
        const struct source_file *file = value;
        source_docs_each_problem(&file->docs, fn, arg);
        give_duplicates(source, file, fn, arg);
    }
}

void source_directory_hold(struct source *base)
{
    if (source_as_directory(base) != NULL) {
        struct source_directory *source = from_base(base);
        drop_scan(source);
        loop_timer_disarm(source->timer);
        source->is_held = true;
    }
}

void source_directory_release(struct source *base)
{
    if (source_as_directory(base) != NULL && from_base(base)->is_held) {
        from_base(base)->is_held = false;
        begin_scan(from_base(base));
    }
}

bool source_directory_is_looking(const struct source *source)
{
    const struct source_directory *directory = source_as_directory(source);
    return directory != NULL && (directory->is_scanning || directory->is_held);
}

static const struct source_ops directory_ops = {
    .free = directory_free,
    .stop = directory_stop,
    .reload = directory_reload,
    .describe = directory_describe,
    .each_problem = directory_each_problem,
};

struct source *source_directory_open(const struct source_params *params)
{
    struct source_directory *source = xcalloc(1, sizeof(*source));
    source->base = (struct source){.ops = &directory_ops, .params = *params};
    source->last_contact = -1;
    source->directory = xstrdup(params->config->directory);
    source->files = map_new();
    source->holders = map_new();
    source->timer = loop_timer_new(params->loop, on_scan, source);
    struct err err = {0};
    char text[ERR_MSG_MAX];
    if (source_deploy_recover(source->directory, &err) < 0) {
        log_error("source", "a deploy that was cut off cannot be finished: %s",
                  err_text(&err, text, sizeof(text)));
    }
    scan_at(source, 0);
    return &source->base;
}

const struct source_directory *source_as_directory(const struct source *source)
{
    bool is_one = source != NULL && source->ops == &directory_ops;
    return is_one ? (const struct source_directory *) source : NULL;
}
