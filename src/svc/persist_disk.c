/* persist: the thread that waits for the disk. Jobs that have gathered are done as one batch, so
 * that a thousand records cost two syncs and not two thousand. */
#include "edgible/fault.h"
#include "edgible/fd.h"
#include "edgible/statedir.h"
#include "persist_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define RETRY_MS 1000
/* What comes together is written together. */
#define GATHER_MS 200
#define NICE 5
#define RETRY_MAX_MS 5000

void persist_job_free(struct persist_job *job)
{
    free(job->name);
    free(job->text);
    free(job);
}

static char *folder_of(const struct persist *persist, const char *name)
{
    const char *slash = strrchr(name, '/');
    return xasprintf("%s/%.*s", persist->state_dir, (int) (slash - name), name);
}

static int open_folder(const struct persist *persist, const char *name, bool make, int *ret_fd,
                       struct err *err)
{
    CLEANUP(free) char *folder = folder_of(persist, name);
    if (make && fd_make_dirs(folder, 0700, err) < 0) {
        return -1;
    }
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return err_set(err, errno, "open '%s'", folder);
    }
    *ret_fd = fd;
    return 0;
}

/* The folder of an application's units may be new: its own entry is to be durable, too. */
static int sync_parent(const struct persist *persist, const char *name, struct err *err)
{
    CLEANUP(free)
    char *parent = xasprintf("%s/%.*s", persist->state_dir, (int) strcspn(name, "/"), name);
    CLEANUP(close_fd) int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? err_set(err, errno, "open '%s'", parent) : statedir_sync(fd, err);
}

static const char *base_of(const char *name)
{
    return strrchr(name, '/') + 1;
}

/* Every record's temporary file, not synced where all are together. */
static int prepare(const struct persist *persist, const struct persist_job *job, bool sync,
                   struct err *err)
{
    CLEANUP(close_fd) int folder = -1;
    if (job->text == NULL) {
        return 0;
    }
    if (open_folder(persist, job->name, true, &folder, err) < 0) {
        return -1;
    }
    return statedir_prepare_file(folder, base_of(job->name), job->text, strlen(job->text), 0600,
                                 sync, err);
}

static int finish(const struct persist *persist, const struct persist_job *job, bool sync,
                  struct err *err)
{
    CLEANUP(close_fd) int folder = -1;
    if (job->text != NULL) {
        if (open_folder(persist, job->name, false, &folder, err) < 0) {
            return -1;
        }
        if (statedir_finish_file(folder, base_of(job->name), sync, err) < 0) {
            return -1;
        }
        return sync ? sync_parent(persist, job->name, err) : 0;
    }
    struct err local = {0};
    if (open_folder(persist, job->name, false, &folder, &local) < 0) {
        return local.code == ENOENT ? 0 : err_set(err, local.code, "%s", local.msg);
    }
    return statedir_remove_file(folder, base_of(job->name), sync, err);
}

/* Removes the folder of an application without units; one that is not empty stays. */
static void remove_empty_folder(const struct persist *persist, const char *name)
{
    CLEANUP(free) char *folder = folder_of(persist, name);
    if (strchr(name, '/') != strrchr(name, '/')) {
        (void) rmdir(folder);
    }
}

static int sync_all(const struct persist *persist, struct err *err)
{
    CLEANUP(close_fd) int fd = open(persist->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || syncfs(fd) < 0) {
        return err_set(err, errno, "sync the file system of '%s'", persist->state_dir);
    }
    return 0;
}

static size_t count_jobs(const struct list *jobs)
{
    size_t count = 0;
    list_each (it, jobs) {
        count++;
    }
    return count;
}

/* The first error is kept: the others are likely the same. */
static int do_batch(const struct persist *persist, const struct list *jobs, struct err *err)
{
    bool together = count_jobs(jobs) >= FD_SYNC_ALL_FROM;
    struct err *first = err;
    int failed = 0;
    list_each (it, jobs) {
        struct persist_job *job = list_entry(it, struct persist_job, link);
        job->is_done = prepare(persist, job, !together, first) == 0;
        failed += job->is_done ? 0 : 1;
        first = failed > 0 ? NULL : err;
    }
    if (together && sync_all(persist, first) < 0) {
        return -1;
    }
    FAULT_POINT("record-synced");
    list_each (it, jobs) {
        struct persist_job *job = list_entry(it, struct persist_job, link);
        if (job->is_done) {
            job->is_done = finish(persist, job, !together, first) == 0;
            failed += job->is_done ? 0 : 1;
            first = failed > 0 ? NULL : err;
        }
    }
    FAULT_POINT("record-renamed");
    if (together && sync_all(persist, first) < 0) {
        return -1;
    }
    list_each (it, jobs) {
        const struct persist_job *job = list_entry(it, struct persist_job, link);
        if (job->text == NULL && job->is_done) {
            remove_empty_folder(persist, job->name);
        }
    }
    return failed > 0 ? -1 : 0;
}

static void move_all(struct list *from, struct list *to)
{
    while (!list_is_empty(from)) {
        struct list *link = from->next;
        list_remove(link);
        list_add_tail(to, link);
    }
}

/* Two jobs of one name are never in one batch: their temporary files would be the same. */
static void take_batch(struct persist *persist, struct list *batch)
{
    CLEANUP(map) struct map *names = map_new();
    list_each (it, &persist->jobs) {
        struct persist_job *job = list_entry(it, struct persist_job, link);
        if (!map_has(names, job->name)) {
            map_put(names, job->name, job);
            list_remove(&job->link);
            list_add_tail(batch, &job->link);
        }
    }
}

/* A failed job comes before what was put meanwhile; a newer one of its name replaces it. */
static void put_back(struct persist *persist, struct list *batch)
{
    struct list rest;
    list_init(&rest);
    move_all(&persist->jobs, &rest);
    list_each (it, batch) {
        struct persist_job *job = list_entry(it, struct persist_job, link);
        bool is_old = false;
        list_each (other, &rest) {
            is_old =
                is_old || strcmp(list_entry(other, struct persist_job, link)->name, job->name) == 0;
        }
        list_remove(it);
        if (is_old) {
            persist_job_free(job);
        } else {
            list_add_tail(&persist->jobs, it);
        }
    }
    move_all(&rest, &persist->jobs);
}

static void wait_for_ms(struct persist *persist, int delay_ms, bool is_patient)
{
    struct timespec until;
    (void) clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += delay_ms / 1000;
    until.tv_nsec += (long) (delay_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    int rc = 0;
    while (!persist->quitting && (is_patient || persist->flushes == 0) && rc != ETIMEDOUT) {
        rc = pthread_cond_timedwait(&persist->wake, &persist->lock, &until);
    }
}

static void wait_to_retry(struct persist *persist, int *delay_ms)
{
    wait_for_ms(persist, *delay_ms, true);
    *delay_ms = *delay_ms * 2 < RETRY_MAX_MS ? *delay_ms * 2 : RETRY_MAX_MS;
}

static void run_batch(struct persist *persist)
{
    struct list batch;
    struct err err = {0};
    list_init(&batch);
    take_batch(persist, &batch);
    persist->is_busy = true;
    pthread_mutex_unlock(&persist->lock);
    int rc = do_batch(persist, &batch, &err);
    pthread_mutex_lock(&persist->lock);
    persist->is_busy = false;
    persist->is_failing = rc < 0;
    persist->failure = err;
    list_each (it, &batch) {
        struct persist_job *job = list_entry(it, struct persist_job, link);
        if (rc == 0 || job->is_done) {
            list_remove(it);
            list_add_tail(&persist->done, it);
        }
    }
    put_back(persist, &batch);
    if (!persist->orphaned) {
        loop_async_send(persist->progress);
    }
}

void *persist_disk_main(void *arg)
{
    struct persist *persist = arg;
    int delay_ms = RETRY_MS;
    /* On Linux of this thread alone: the workloads come first. */
    (void) setpriority(PRIO_PROCESS, (id_t) gettid(), NICE);
    pthread_mutex_lock(&persist->lock);
    for (;;) {
        while (list_is_empty(&persist->jobs) && !persist->quitting) {
            pthread_cond_broadcast(&persist->rests);
            pthread_cond_wait(&persist->wake, &persist->lock);
        }
        if (list_is_empty(&persist->jobs)) {
            break;
        }
        wait_for_ms(persist, GATHER_MS, false); /* unless somebody waits for us */
        run_batch(persist);
        if (!persist->is_failing) {
            delay_ms = RETRY_MS;
        } else if (persist->quitting) {
            break; /* it is in pending still */
        } else {
            wait_to_retry(persist, &delay_ms);
        }
    }
    pthread_cond_broadcast(&persist->rests);
    pthread_mutex_unlock(&persist->lock);
    return NULL;
}
