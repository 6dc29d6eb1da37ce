#include "edgible/mem.h"
#include "edgible/thread.h"
#include "proc_priv.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* More than ARG_MAX is usual for an environment; what is looked for stands near its start. */
#define ENVIRON_MAX ((size_t) 256 * 1024)
/* So many threads at the most stay behind in a read. */
#define LEFT_MAX 16

/* Of one environment, on a thread of its own. */
struct reading {
    struct reading *next;
    pid_t pid;
    char *data; /* owned; NULL: it cannot be read */
    size_t len;
    bool is_over;
    bool is_left; /* nobody waits any more: the thread frees it */
};

/* For what follows, and what a reading holds. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t some_over = PTHREAD_COND_INITIALIZER;
static struct reading *under_way;

static int64_t now_ms(void)
{
    struct timespec now;
    (void) clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void free_reading(struct reading *reading)
{
    struct reading **at = &under_way;
    while (*at != reading) {
        at = &(*at)->next;
    }
    *at = reading->next;
    free(reading->data);
    free(reading);
}

/* Neither this process, in which a thread is left behind, nor one more where there are many. */
static bool is_hopeless(pid_t pid)
{
    size_t left = 0;
    for (const struct reading *at = under_way; at != NULL; at = at->next) {
        left += at->is_left ? 1 : 0;
        if (at->is_left && at->pid == pid) {
            return true;
        }
    }
    return left >= LEFT_MAX;
}

static char *read_environ(pid_t pid, size_t *ret_len)
{
    char path[32];
    (void) snprintf(path, sizeof(path), "/proc/%d/environ", (int) pid);
    return proc_read_head(AT_FDCWD, path, ENVIRON_MAX, ret_len);
}

static void *read_main(void *arg)
{
    struct reading *reading = arg;
    size_t len = 0;
    char *data = read_environ(reading->pid, &len);
    (void) pthread_mutex_lock(&lock);
    reading->data = data;
    reading->len = len;
    reading->is_over = true;
    if (reading->is_left) {
        free_reading(reading);
    }
    (void) pthread_cond_broadcast(&some_over);
    (void) pthread_mutex_unlock(&lock);
    return NULL;
}

/* With the lock; NULL where it is not read by then. */
static char *wait_for(struct reading *reading, int64_t until, size_t *ret_len)
{
    const struct timespec end = {.tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000};
    int rc = 0;
    while (!reading->is_over && rc == 0) {
        rc = pthread_cond_clockwait(&some_over, &lock, CLOCK_MONOTONIC, &end);
    }
    if (!reading->is_over) {
        reading->is_left = true;
        return NULL;
    }
    char *data = steal_ptr(&reading->data);
    *ret_len = reading->len;
    free_reading(reading);
    return data;
}

char *proc_read_environ(pid_t pid, int64_t *wait_ms, size_t *ret_len)
{
    char *data = NULL;
    int64_t began = now_ms();
    (void) pthread_mutex_lock(&lock);
    if (*wait_ms > 0 && !is_hopeless(pid)) {
        struct reading *reading = xcalloc(1, sizeof(*reading));
        reading->pid = pid;
        reading->next = under_way;
        under_way = reading;
        if (thread_start_detached(THREAD_STACK_BYTES, read_main, reading, NULL) == 0) {
            data = wait_for(reading, began + *wait_ms, ret_len);
        } else { /* the caller's own thread may be the loop's: it must not hang here */
            free_reading(reading);
        }
    }
    (void) pthread_mutex_unlock(&lock);
    *wait_ms -= now_ms() - began;
    return data;
}
