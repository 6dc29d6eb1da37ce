#include "edgible/work.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#define STACK_BYTES (1024UL * 1024)

struct work {
    pthread_mutex_t lock;
    struct loop_async *async; /* NULL: nobody waits for the end any more */
    bool is_over;
    struct work_params params;
};

static void destroy(struct work *work)
{
    (void) pthread_mutex_destroy(&work->lock);
    work->params.free_arg(work->params.arg);
    free(work);
}

static void *work_main(void *arg)
{
    struct work *work = arg;
    work->params.run(work->params.arg);
    (void) pthread_mutex_lock(&work->lock);
    work->is_over = true;
    bool is_left_behind = work->async == NULL;
    if (!is_left_behind) {
        loop_async_send(work->async);
    }
    (void) pthread_mutex_unlock(&work->lock);
    if (is_left_behind) {
        destroy(work);
    }
    return NULL;
}

static void on_over(void *arg)
{
    struct work *work = arg;
    work->params.done(work->params.arg);
}

/* With every signal blocked: they are the loop's. */
static int start_thread(struct work *work)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all;
    sigset_t before;
    (void) sigfillset(&all);
    (void) pthread_attr_init(&attr);
    (void) pthread_attr_setstacksize(&attr, STACK_BYTES);
    (void) pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    (void) pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&thread, &attr, work_main, work);
    (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void) pthread_attr_destroy(&attr);
    return rc;
}

struct work *work_start(const struct work_params *params, struct err *err)
{
    struct work *work = xcalloc(1, sizeof(*work));
    (void) pthread_mutex_init(&work->lock, NULL);
    work->params = *params;
    work->async = loop_async_new(params->loop, on_over, work);
    int rc = start_thread(work);
    if (rc == 0) {
        return work;
    }
    loop_async_free(work->async);
    (void) pthread_mutex_destroy(&work->lock);
    free(work);
    (void) err_set(err, rc, "start a thread");
    return NULL;
}

void work_free(struct work *work)
{
    if (work == NULL) {
        return;
    }
    (void) pthread_mutex_lock(&work->lock);
    loop_async_free(steal_ptr(&work->async));
    bool is_over = work->is_over;
    (void) pthread_mutex_unlock(&work->lock);
    if (is_over) {
        destroy(work);
    }
}
