#include "edgible/work.h"

#include "edgible/thread.h"

#include <pthread.h>
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

struct work *work_start(const struct work_params *params, struct err *err)
{
    struct work *work = xcalloc(1, sizeof(*work));
    (void) pthread_mutex_init(&work->lock, NULL);
    work->params = *params;
    work->async = loop_async_new(params->loop, on_over, work);
    if (thread_start_detached(STACK_BYTES, work_main, work, err) == 0) {
        return work;
    }
    loop_async_free(work->async);
    (void) pthread_mutex_destroy(&work->lock);
    free(work);
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
