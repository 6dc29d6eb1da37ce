#include "edgible/persist.h"

#include "edgible/buf.h"
#include "edgible/fault.h"
#include "edgible/fd.h"
#include "edgible/log.h"
#include "edgible/parse.h"
#include "edgible/state_doc.h"
#include "edgible/statedir.h"
#include "edgible/strv.h"
#include "edgible/thread.h"
#include "persist_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SUFFIX ".json"
/* More is not kept of what cannot be written to a disk that is full. */
#define PENDING_MAX ((size_t) 64 * 1024 * 1024)
#define LAST_WAIT_MS 1000
#define RETRY_MS 1000

/* --- files of this boot --------------------------------------------------------------------------
 */

/* The folder of dir/name, made where it is missing; *ret_base is the rest of name. */
static int open_folder_of(const char *dir, const char *name, const char **ret_base, struct err *err)
{
    const char *slash = strrchr(name, '/');
    *ret_base = slash != NULL ? slash + 1 : name;
    CLEANUP(free)
    char *path =
        slash != NULL ? xasprintf("%s/%.*s", dir, (int) (slash - name), name) : xstrdup(dir);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && fd_make_dirs(path, 0700, err) == 0) {
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    return fd >= 0 ? fd : err_set(err, errno, "open '%s'", path);
}

static int write_now(const char *dir, const char *name, const char *text, struct err *err)
{
    const char *base = NULL;
    CLEANUP(close_fd) int folder = open_folder_of(dir, name, &base, err);
    if (folder < 0) {
        return -1;
    }
    return statedir_exchange_file(folder, base, text, strlen(text), err);
}

/* Said once, until it works again. */
static void say_volatile(struct persist *persist, int rc, const struct err *err)
{
    if (rc < 0) {
        persist->volatile_failure = *err;
    }
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

/* A workload that goes on running gives no other occasion to write its record. */
static void retry_volatile(void *arg)
{
    struct persist *persist = arg;
    int rc = 0;
    struct err err = {0};
    while (rc == 0 && map_count(persist->unwritten) > 0) {
        size_t at = 0;
        const char *first = NULL;
        void *text = NULL;
        (void) map_next(persist->unwritten, &at, &first, &text);
        CLEANUP(free) char *name = xstrdup(first);
        rc = write_now(persist->runtime_dir, name, text, &err);
        if (rc == 0) {
            free(map_remove(persist->unwritten, name));
        }
        say_volatile(persist, rc, &err);
    }
    if (rc < 0) {
        loop_timer_arm(persist->retry, loop_now() + RETRY_MS);
    }
}

void persist_put_volatile(struct persist *persist, const char *name, const char *text)
{
    struct err err = {0};
    free(map_remove(persist->unwritten, name));
    int rc = write_now(persist->runtime_dir, name, text, &err);
    if (rc < 0) {
        map_put(persist->unwritten, name, xstrdup(text));
        loop_timer_arm(persist->retry, loop_now() + RETRY_MS);
    }
    say_volatile(persist, rc, &err);
    FAULT_POINT("run-state-written");
}

void persist_remove_volatile(struct persist *persist, const char *name)
{
    free(map_remove(persist->unwritten, name));
    const char *base = NULL;
    CLEANUP(close_fd) int folder = open_folder_of(persist->runtime_dir, name, &base, NULL);
    if (folder >= 0) {
        (void) !statedir_remove_file(folder, base, false, NULL);
    }
    CLEANUP(free) char *path = xasprintf("%s/%s", persist->runtime_dir, name);
    *strrchr(path, '/') = '\0';
    (void) rmdir(path); /* of an application; one that is not empty stays */
}

char *persist_read_volatile(struct persist *persist, const char *name, size_t *ret_len,
                            struct err *err)
{
    char *text = NULL;
    return persist_read_file(persist->runtime_dir, name, &text, ret_len, err) == 0 ? text : NULL;
}

/* --- durable records -----------------------------------------------------------------------------
 */

static int open_pending(struct persist *persist, struct err *err)
{
    int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW;
    persist->pending_fd = open(persist->pending_path, flags, 0600);
    if (persist->pending_fd < 0 && errno == EACCES && chmod(persist->pending_path, 0600) == 0) {
        persist->pending_fd = open(persist->pending_path, flags, 0600);
    }
    return persist->pending_fd >= 0 ? 0 : err_set(err, errno, "open '%s'", persist->pending_path);
}

/* Appended in one write each: "<name> <bytes>\n", the text; -1 bytes say that the record is
 * removed. What an agent's death cut off is the last one, and nothing was done about that yet. */
static void put_pending(struct persist *persist, const char *name, const char *text)
{
    CLEANUP(buf) struct buf entry = {0};
    struct err err = {0};
    buf_printf(&entry, "%s %d\n", name, text != NULL ? (int) strlen(text) : -1);
    buf_add_str(&entry, text != NULL ? text : "");
    int rc = -1;
    if (persist->pending_fd < 0 && open_pending(persist, &err) < 0) {
        /* That failed before, too. */
    } else if (persist->pending_bytes + entry.len > PENDING_MAX) {
        (void) err_set(&err, EFBIG, "append to '%s'", persist->pending_path);
    } else {
        rc = fd_write_all(persist->pending_fd, entry.data, entry.len, &err);
        if (rc == 0) {
            persist->pending_bytes += entry.len;
        } else {
            /* The part that found room would make the next entry its own. */
            (void) !ftruncate(persist->pending_fd, (off_t) persist->pending_bytes);
        }
    }
    say_volatile(persist, rc, &err);
    FAULT_POINT("record-pending");
}

/* All is durable. */
static void clear_pending(struct persist *persist)
{
    if (persist->pending_bytes > 0 && ftruncate(persist->pending_fd, 0) == 0) {
        persist->pending_bytes = 0;
    }
}

/* The next entry at *at; false at the end, or at one that is cut off or damaged. */
static bool next_pending(char **at, char *end, char **ret_name, char **ret_text, int64_t *ret_len)
{
    char *line_end = memchr(*at, '\n', (size_t) (end - *at));
    char *space = line_end != NULL ? memrchr(*at, ' ', (size_t) (line_end - *at)) : NULL;
    if (space == NULL) {
        return false;
    }
    *space = '\0';
    *line_end = '\0';
    *ret_name = *at;
    *ret_text = line_end + 1;
    if (strchr(*at, '/') == NULL || parse_int(space + 1, -1, end - *ret_text, ret_len, NULL) < 0 ||
        *ret_len == 0) {
        return false;
    }
    *at = *ret_text + (*ret_len > 0 ? *ret_len : 0);
    return true;
}

static void enqueue(struct persist *persist, const char *name, const char *text)
{
    struct persist_job *job = xcalloc(1, sizeof(*job));
    job->name = xstrdup(name);
    job->text = xstrdup_or_null(text);
    job->number = ++persist->last_number;
    map_put(persist->latest, name,
            (void *) (uintptr_t) job->number); // NOLINT(performance-no-int-to-ptr)
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
        }
        persist_job_free(job);
    }
    if (map_count(persist->latest) == 0) {
        clear_pending(persist);
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
    persist->flushes++;
    pthread_cond_signal(&persist->wake);
    int rc = 0;
    while ((persist->is_busy || !list_is_empty(&persist->jobs)) && rc != ETIMEDOUT) {
        rc = pthread_cond_timedwait(&persist->rests, &persist->lock, &until);
    }
    bool is_done = !persist->is_busy && list_is_empty(&persist->jobs);
    persist->flushes--;
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
    if (folder == NULL && errno == EACCES && chmod(path, 0700) == 0) {
        folder = opendir(path);
    }
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

static void give_record(const char *dir, const char *name, persist_fn *fn, void *arg)
{
    CLEANUP(free) char *text = NULL;
    size_t len = 0;
    struct err err = {0};
    if (persist_read_file(dir, name, &text, &len, &err) < 0) {
        fn(arg, name, NULL, 0, &err);
    } else {
        fn(arg, name, text, len, NULL);
    }
}

static void keep_pending(struct persist *persist, const char *name, const char *text)
{
    free(map_remove(persist->left, name));
    map_put(persist->left, name, xstrdup(text != NULL ? text : ""));
    enqueue(persist, name, text);
}

/* What was pending when the agent before was killed is on its way to the disk again. */
static int read_pending(struct persist *persist, struct err *err)
{
    CLEANUP(free) char *data = NULL;
    size_t len = 0;
    if (fd_read_regular_file(persist->pending_path, PENDING_MAX, &data, &len, err) < 0) {
        return -1;
    }
    char *at = data;
    char *name = NULL;
    char *text = NULL;
    int64_t bytes = 0;
    while (next_pending(&at, data + len, &name, &text, &bytes)) {
        CLEANUP(free) char *copy = bytes > 0 ? xstrndup(text, (size_t) bytes) : NULL;
        keep_pending(persist, name, copy);
        persist->pending_bytes = (size_t) (at - data);
    }
    /* What is cut off would take the next entries for its own text. */
    return persist->pending_fd < 0 ||
                   ftruncate(persist->pending_fd, (off_t) persist->pending_bytes) == 0
               ? 0
               : err_set(err, errno, "shorten '%s'", persist->pending_path);
}

static bool is_below(const char *name, const char *folder)
{
    size_t len = strlen(folder);
    return strncmp(name, folder, len) == 0 && name[len] == '/';
}

void persist_each(struct persist *persist, const char *folder, persist_fn *fn, void *arg)
{
    CLEANUP(strv) struct strv durable = {0};
    list_records(persist->state_dir, folder, 1, &durable);
    for (size_t i = 0; i < durable.count; i++) {
        if (!map_has(persist->left, durable.items[i])) {
            give_record(persist->state_dir, durable.items[i], fn, arg);
        }
    }
    size_t at = 0;
    const char *name = NULL;
    void *text = NULL;
    while (map_next(persist->left, &at, &name, &text)) {
        if (is_below(name, folder) && *(const char *) text != '\0') {
            fn(arg, name, text, strlen(text), NULL);
        }
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

/* What the disk refuses just now is tried again. 0, or -1 where it is something else. */
static int go_on_without(struct persist *persist, struct err *err)
{
    if (!fd_is_disk_refusal(err->code)) {
        return -1;
    }
    say_volatile(persist, -1, err);
    loop_timer_arm(persist->retry, loop_now() + RETRY_MS);
    *err = (struct err){0};
    return 0;
}

static int put_boot_id(struct persist *persist, const char *boot_id, struct err *err)
{
    if (write_now(persist->runtime_dir, "boot-id", boot_id, err) == 0) {
        return 0;
    }
    map_put(persist->unwritten, "boot-id", xstrdup(boot_id));
    return go_on_without(persist, err);
}

/* A runtimeDir that is not in memory outlives a reboot; what is in it does not count then. */
static int check_boot(struct persist *persist, const char *boot_id, struct err *err)
{
    CLEANUP(free) char *path = xasprintf("%s/boot-id", persist->runtime_dir);
    CLEANUP(free) char *found = NULL;
    size_t len = 0;
    struct err why = {0};
    int rc = fd_read_regular_file(path, 128, &found, &len, &why);
    if (rc == 0 && strcmp(found, boot_id) == 0) {
        return 0;
    }
    /* One that is there and cannot be read says nothing: each record tells of its boot itself. */
    if (rc < 0 && why.code != ENOENT) {
        (void) unlink(path);
        return put_boot_id(persist, boot_id, err);
    }
    remove_all(persist->runtime_dir, "units");
    (void) unlink(persist->pending_path);
    return put_boot_id(persist, boot_id, err);
}

static int make_folders(const struct persist *persist, struct err *err)
{
    const struct {
        const char *dir, *name;
    } folders[] = {
        {persist->state_dir,   "applications"},
        {persist->state_dir,   "units"       },
        {persist->runtime_dir, "units"       },
    };
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        CLEANUP(free) char *path = xasprintf("%s/%s", folders[i].dir, folders[i].name);
        /* Who writes a record makes its folder, too. */
        if (fd_make_dirs(path, 0700, err) < 0 && !fd_is_disk_refusal(err->code)) {
            return -1;
        }
    }
    *err = (struct err){0};
    return 0;
}

/* What an earlier agent left is read, also where nothing can be added. */
static int take_pending(struct persist *persist, struct err *err)
{
    if (open_pending(persist, err) < 0 && go_on_without(persist, err) < 0) {
        return -1;
    }
    int rc = read_pending(persist, err);
    return rc == 0 || persist->pending_fd >= 0 || err->code != ENOENT ? rc : 0;
}

struct persist *persist_new(const struct persist_params *params, struct err *err)
{
    CLEANUP(persist) struct persist *persist = xcalloc(1, sizeof(*persist));
    persist->loop = params->loop;
    persist->state_dir = xstrdup(params->state_dir);
    persist->runtime_dir = xstrdup(params->runtime_dir);
    persist->pending_path = xasprintf("%s/pending", params->runtime_dir);
    persist->pending_fd = -1;
    persist->latest = map_new();
    persist->left = map_new();
    persist->unwritten = map_new();
    persist->retry = loop_timer_new(params->loop, retry_volatile, persist);
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
        take_pending(persist, err) < 0 ||
        thread_start(&persist->thread, "edgible-state", persist_disk_main, persist, err) < 0) {
        return NULL;
    }
    persist->has_thread = true;
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

/* What a thread that hangs on the disk still uses at this process's end: no leak. */
static struct persist *volatile left_behind;

void persist_free(struct persist *persist)
{
    if (persist == NULL) {
        return;
    }
    retry_volatile(persist); /* once more, for the next agent */
    loop_timer_free(steal_ptr(&persist->retry));
    if (persist->has_thread && !end_thread(persist)) {
        left_behind = persist;
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
    map_free_all(persist->left);
    map_free_all(persist->unwritten);
    fd_close(&persist->pending_fd);
    free(persist->pending_path);
    free(persist);
}

bool persist_has_volatile_trouble(const struct persist *persist, struct err *ret)
{
    if (persist->volatile_failed) {
        *ret = persist->volatile_failure;
    }
    return persist->volatile_failed;
}

bool persist_has_trouble(struct persist *persist, struct err *ret)
{
    (void) pthread_mutex_lock(&persist->lock);
    bool is_failing = persist->is_failing;
    if (is_failing) {
        *ret = persist->failure;
    }
    (void) pthread_mutex_unlock(&persist->lock);
    return is_failing;
}
