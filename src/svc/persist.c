#include "edgible/persist.h"

#include "edgible/fault.h"
#include "edgible/fd.h"
#include "edgible/log.h"
#include "edgible/state_doc.h"
#include "edgible/statedir.h"
#include "edgible/strv.h"
#include "persist_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SUFFIX ".json"
/* In the names of pending files, for the slashes; no label has it. */
#define SLASH ','
#define LAST_WAIT_MS 1000

/* --- files of this boot --------------------------------------------------------------------------
 */

/* Writes a file at once, without a sync. */
static int write_now(const char *dir, const char *name, const char *text, struct err *err)
{
    CLEANUP(free) char *path = xasprintf("%s/%s", dir, name);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    if (fd_make_dirs(path, 0700, err) < 0) {
        return -1;
    }
    CLEANUP(close_fd) int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) {
        return err_set(err, errno, "open '%s'", path);
    }
    return statedir_write_file(folder, slash + 1, text, strlen(text), 0600, false, err);
}

/* Said once, until it works again. */
static void say_volatile(struct persist *persist, int rc, const struct err *err)
{
    char text[ERR_MSG_MAX];
    if (rc < 0 && !persist->volatile_failed) {
        log_error("state",
                  "%s; workloads go on, but until there is room in '%s' an agent that is killed "
                  "leaves an older state behind",
                  err_text(err, text, sizeof(text)), persist->runtime_dir);
    } else if (rc == 0 && persist->volatile_failed) {
        log_info("state", "'%s' can be written again", persist->runtime_dir);
    }
    persist->volatile_failed = rc < 0;
}

void persist_put_volatile(struct persist *persist, const char *name, const char *text)
{
    struct err err = {0};
    int rc = write_now(persist->runtime_dir, name, text, &err);
    say_volatile(persist, rc, &err);
    FAULT_POINT("run-state-written");
}

void persist_remove_volatile(struct persist *persist, const char *name)
{
    CLEANUP(free) char *path = xasprintf("%s/%s", persist->runtime_dir, name);
    (void) unlink(path);
    *strrchr(path, '/') = '\0';
    (void) rmdir(path); /* of an application; one that is not empty stays */
}

char *persist_read_volatile(struct persist *persist, const char *name, size_t *ret_len,
                            struct err *err)
{
    CLEANUP(free) char *path = xasprintf("%s/%s", persist->runtime_dir, name);
    char *text = NULL;
    if (fd_read_file(AT_FDCWD, path, STATE_DOC_MAX_BYTES, &text, ret_len, err) < 0) {
        return NULL;
    }
    return text;
}

/* --- durable records -----------------------------------------------------------------------------
 */

/* "units/app/web.json" ↔ "units,app,web.json"; the caller frees. */
static char *translate(const char *name, char from, char to)
{
    char *translated = xstrdup(name);
    for (char *c = translated; *c != '\0'; c++) {
        *c = *c == from ? to : *c;
    }
    return translated;
}

/* An empty pending file says that the record is removed. */
static void put_pending(struct persist *persist, const char *name, const char *text)
{
    CLEANUP(free) char *flat = translate(name, '/', SLASH);
    struct err err = {0};
    int rc = write_now(persist->pending_dir, flat, text != NULL ? text : "", &err);
    say_volatile(persist, rc, &err);
    FAULT_POINT("record-pending");
}

static void remove_pending(struct persist *persist, const char *name)
{
    CLEANUP(free) char *flat = translate(name, '/', SLASH);
    CLEANUP(free) char *path = xasprintf("%s/%s", persist->pending_dir, flat);
    (void) unlink(path);
}

static void enqueue(struct persist *persist, const char *name, const char *text)
{
    struct persist_job *job = xcalloc(1, sizeof(*job));
    job->name = xstrdup(name);
    job->text = xstrdup_or_null(text);
    job->number = ++persist->last_number;
    map_put(persist->latest, name, (void *) (uintptr_t) job->number); // NOLINT(performance-no-int-to-ptr)
    pthread_mutex_lock(&persist->lock);
    list_add_tail(&persist->jobs, &job->link);
    pthread_cond_signal(&persist->wake);
    pthread_mutex_unlock(&persist->lock);
}

void persist_put(struct persist *persist, const char *name, const char *text)
{
    put_pending(persist, name, text);
    enqueue(persist, name, text);
}

void persist_remove(struct persist *persist, const char *name)
{
    put_pending(persist, name, NULL);
    enqueue(persist, name, NULL);
}

/* The thread has made records durable, or failed to. */
static void on_progress(void *arg)
{
    struct persist *persist = arg;
    struct list done;
    char text[ERR_MSG_MAX];
    list_init(&done);
    pthread_mutex_lock(&persist->lock);
    while (!list_is_empty(&persist->done)) {
        struct list *link = persist->done.next;
        list_remove(link);
        list_add_tail(&done, link);
    }
    bool is_failing = persist->is_failing;
    struct err failure = persist->failure;
    pthread_mutex_unlock(&persist->lock);
    while (!list_is_empty(&done)) {
        struct persist_job *job = list_entry(done.next, struct persist_job, link);
        list_remove(&job->link);
        if ((uintptr_t) map_get(persist->latest, job->name) == job->number) {
            (void) map_remove(persist->latest, job->name);
            remove_pending(persist, job->name);
        }
        persist_job_free(job);
    }
    if (is_failing && !persist->failure_said) {
        log_error("state", "%s; it is tried again until it works, and workloads go on meanwhile",
                  err_text(&failure, text, sizeof(text)));
    } else if (!is_failing && persist->failure_said) {
        log_info("state", "'%s' can be written again", persist->state_dir);
    }
    persist->failure_said = is_failing;
}

int persist_flush(struct persist *persist, int max_wait_ms, struct err *err)
{
    struct timespec until;
    (void) clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += max_wait_ms / 1000;
    until.tv_nsec += (long) (max_wait_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&persist->lock);
    int rc = 0;
    while ((persist->is_busy || !list_is_empty(&persist->jobs)) && rc != ETIMEDOUT) {
        rc = pthread_cond_timedwait(&persist->rests, &persist->lock, &until);
    }
    bool is_done = !persist->is_busy && list_is_empty(&persist->jobs);
    pthread_mutex_unlock(&persist->lock);
    on_progress(persist);
    return is_done ? 0 : err_set(err, ETIMEDOUT, "write the records in '%s'", persist->state_dir);
}

/* --- reading -------------------------------------------------------------------------------------
 */

static bool is_record(const char *file)
{
    size_t len = strlen(file);
    return file[0] != '.' && len > strlen(SUFFIX) &&
           strcmp(file + len - strlen(SUFFIX), SUFFIX) == 0;
}

/* Adds the records below dir/<name>, and below the folders in there where depth is not 0. */
static void list_records(const char *dir, const char *name, int depth, struct strv *names)
{
    CLEANUP(free) char *path = xasprintf("%s/%s", dir, name);
    DIR *folder = opendir(path);
    if (folder == NULL) {
        return;
    }
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        CLEANUP(free) char *inner = xasprintf("%s/%s", name, entry->d_name);
        if (is_record(entry->d_name)) {
            strv_add_take(names, steal_ptr(&inner));
        } else if (entry->d_name[0] != '.' && depth > 0) {
            list_records(dir, inner, depth - 1, names);
        }
    }
    (void) closedir(folder);
}

static void list_pending(const struct persist *persist, const char *folder, struct strv *names)
{
    DIR *dir = opendir(persist->pending_dir);
    if (dir == NULL) {
        return;
    }
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        size_t len = strlen(folder);
        if (is_record(entry->d_name) && strncmp(entry->d_name, folder, len) == 0 &&
            entry->d_name[len] == SLASH) {
            strv_add_take(names, translate(entry->d_name, SLASH, '/'));
        }
    }
    (void) closedir(dir);
}

static void give_record(const char *path, const char *name, persist_fn *fn, void *arg)
{
    CLEANUP(free) char *text = NULL;
    size_t len = 0;
    struct err err = {0};
    if (fd_read_file(AT_FDCWD, path, STATE_DOC_MAX_BYTES, &text, &len, &err) < 0) {
        fn(arg, name, NULL, 0, &err);
    } else {
        fn(arg, name, text, len, NULL);
    }
}

/* What was pending when the agent before was killed is on its way to the disk again. */
static void take_pending(struct persist *persist, const char *name, persist_fn *fn, void *arg)
{
    CLEANUP(free) char *flat = translate(name, '/', SLASH);
    CLEANUP(free) char *path = xasprintf("%s/%s", persist->pending_dir, flat);
    CLEANUP(free) char *text = NULL;
    size_t len = 0;
    if (fd_read_file(AT_FDCWD, path, STATE_DOC_MAX_BYTES, &text, &len, NULL) < 0) {
        return;
    }
    enqueue(persist, name, len > 0 ? text : NULL);
    if (len > 0) {
        fn(arg, name, text, len, NULL);
    }
}

void persist_each(struct persist *persist, const char *folder, persist_fn *fn, void *arg)
{
    CLEANUP(strv) struct strv durable = {0};
    CLEANUP(strv) struct strv pending = {0};
    CLEANUP(map) struct map *is_pending = map_new();
    list_records(persist->state_dir, folder, 1, &durable);
    list_pending(persist, folder, &pending);
    for (size_t i = 0; i < pending.count; i++) {
        map_put(is_pending, pending.items[i], persist);
    }
    for (size_t i = 0; i < durable.count; i++) {
        if (!map_has(is_pending, durable.items[i])) {
            CLEANUP(free) char *path = xasprintf("%s/%s", persist->state_dir, durable.items[i]);
            give_record(path, durable.items[i], fn, arg);
        }
    }
    for (size_t i = 0; i < pending.count; i++) {
        take_pending(persist, pending.items[i], fn, arg);
    }
}

/* --- life --------------------------------------------------------------------------------------
 */

static void remove_all(const char *dir, const char *folder)
{
    CLEANUP(strv) struct strv names = {0};
    list_records(dir, folder, 1, &names);
    for (size_t i = 0; i < names.count; i++) {
        CLEANUP(free) char *path = xasprintf("%s/%s", dir, names.items[i]);
        (void) unlink(path);
    }
}

/* A runtimeDir that is not in memory outlives a reboot; what is in it does not count then. */
static int check_boot(const struct persist *persist, const char *boot_id, struct err *err)
{
    CLEANUP(free) char *path = xasprintf("%s/boot-id", persist->runtime_dir);
    CLEANUP(free) char *found = NULL;
    size_t len = 0;
    if (fd_read_file(AT_FDCWD, path, 128, &found, &len, NULL) == 0 && strcmp(found, boot_id) == 0) {
        return 0;
    }
    remove_all(persist->runtime_dir, "units");
    remove_all(persist->runtime_dir, "pending");
    return write_now(persist->runtime_dir, "boot-id", boot_id, err);
}

static int start_thread(struct persist *persist, struct err *err)
{
    sigset_t all;
    sigset_t before;
    (void) sigfillset(&all);
    (void) pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&persist->thread, NULL, persist_disk_main, persist);
    (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        return err_set(err, rc, "start the thread for records");
    }
    (void) pthread_setname_np(persist->thread, "edgible-state");
    persist->has_thread = true;
    return 0;
}

static int make_folders(const struct persist *persist, struct err *err)
{
    const struct {
        const char *dir, *name;
    } folders[] = {
        {persist->state_dir,   "applications"},
        {persist->state_dir,   "units"       },
        {persist->runtime_dir, "units"       },
        {persist->runtime_dir, "pending"     },
    };
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        CLEANUP(free) char *path = xasprintf("%s/%s", folders[i].dir, folders[i].name);
        if (fd_make_dirs(path, 0700, err) < 0) {
            return -1;
        }
    }
    return 0;
}

struct persist *persist_new(const struct persist_params *params, struct err *err)
{
    CLEANUP(persist) struct persist *persist = xcalloc(1, sizeof(*persist));
    persist->loop = params->loop;
    persist->state_dir = xstrdup(params->state_dir);
    persist->runtime_dir = xstrdup(params->runtime_dir);
    persist->pending_dir = xasprintf("%s/pending", params->runtime_dir);
    persist->latest = map_new();
    list_init(&persist->jobs);
    list_init(&persist->done);
    pthread_condattr_t attr;
    (void) pthread_condattr_init(&attr);
    (void) pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void) pthread_mutex_init(&persist->lock, NULL);
    (void) pthread_cond_init(&persist->wake, &attr);
    (void) pthread_cond_init(&persist->rests, &attr);
    (void) pthread_condattr_destroy(&attr);
    persist->progress = loop_async_new(params->loop, on_progress, persist);
    if (make_folders(persist, err) < 0 || check_boot(persist, params->boot_id, err) < 0 ||
        start_thread(persist, err) < 0) {
        return NULL;
    }
    return steal_ptr(&persist);
}

static void free_jobs(struct list *jobs)
{
    list_each (it, jobs) {
        list_remove(it);
        persist_job_free(list_entry(it, struct persist_job, link));
    }
}

/* False where the thread hangs in the kernel, on a disk that does not answer. */
static bool end_thread(struct persist *persist)
{
    bool is_idle = persist_flush(persist, LAST_WAIT_MS, NULL) == 0;
    pthread_mutex_lock(&persist->lock);
    bool can_end = is_idle || !persist->is_busy;
    persist->quitting = true;
    persist->orphaned = !can_end;
    pthread_cond_signal(&persist->wake);
    pthread_mutex_unlock(&persist->lock);
    if (can_end) {
        (void) pthread_join(persist->thread, NULL);
        return true;
    }
    (void) pthread_detach(persist->thread);
    loop_async_free(persist->progress);
    return false;
}

void persist_free(struct persist *persist)
{
    if (persist == NULL || (persist->has_thread && !end_thread(persist))) {
        return;
    }
    free_jobs(&persist->jobs);
    free_jobs(&persist->done);
    loop_async_free(persist->progress);
    map_free(persist->latest);
    (void) pthread_cond_destroy(&persist->wake);
    (void) pthread_cond_destroy(&persist->rests);
    (void) pthread_mutex_destroy(&persist->lock);
    free(persist->state_dir);
    free(persist->runtime_dir);
    free(persist->pending_dir);
    free(persist);
}
