#include "edgible/work.h"

#include "edgible/thread.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define STACK_BYTES (1024UL * 1024)

struct work {
    pthread_mutex_t lock;
    pthread_cond_t over;
    struct loop_async *async; /* NULL: nobody is told of the end */
    bool is_over, is_left_behind;
    struct work_params params;
};

static void destroy(struct work *work)
{
    (void) pthread_cond_destroy(&work->over);
    (void) pthread_mutex_destroy(&work->lock);
    work->params.free_arg(work->params.arg);
    free(work);
}

static void run_work(struct work *work)
{
    work->params.run(work->params.arg);
    (void) pthread_mutex_lock(&work->lock);
    work->is_over = true;
    bool is_left_behind = work->is_left_behind;
    if (work->async != NULL) {
        loop_async_send(work->async);
    }
    (void) pthread_cond_signal(&work->over);
    (void) pthread_mutex_unlock(&work->lock);
    if (is_left_behind) {
        destroy(work);
    }
}

/* One thread is kept, without waking up, for the next work: to make one takes as long as most works
 * do. */
struct worker {
    pthread_cond_t wake;
    struct work *next;
};
static pthread_mutex_t parking = PTHREAD_MUTEX_INITIALIZER;
static struct worker *parked;

/* NULL: another one is kept already. */
static struct work *park(struct worker *self)
{
    (void) pthread_mutex_lock(&parking);
    self->next = NULL;
    if (parked == NULL) {
        parked = self;
        while (self->next == NULL) {
            (void) pthread_cond_wait(&self->wake, &parking);
        }
    }
    (void) pthread_mutex_unlock(&parking);
    return self->next;
}

static bool give_to_parked(struct work *work)
{
    (void) pthread_mutex_lock(&parking);
    bool is_given = parked != NULL;
    if (is_given) {
        parked->next = work;
        (void) pthread_cond_signal(&parked->wake);
        parked = NULL;
    }
    (void) pthread_mutex_unlock(&parking);
    return is_given;
}

static void *work_main(void *arg)
{
    struct worker self = {.wake = PTHREAD_COND_INITIALIZER, .next = arg};
    for (struct work *work = arg; work != NULL; work = park(&self)) {
        run_work(work);
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
    pthread_condattr_t attr;
    (void) pthread_condattr_init(&attr);
    (void) pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void) pthread_cond_init(&work->over, &attr);
    (void) pthread_condattr_destroy(&attr);
    (void) pthread_mutex_init(&work->lock, NULL);
    work->params = *params;
    work->async = params->loop != NULL ? loop_async_new(params->loop, on_over, work) : NULL;
    if (give_to_parked(work) || thread_start_detached(STACK_BYTES, work_main, work, err) == 0) {
        return work;
    }
    loop_async_free(work->async);
    (void) pthread_cond_destroy(&work->over);
    (void) pthread_mutex_destroy(&work->lock);
    free(work);
    return NULL;
}

bool work_wait(struct work *work, mono_ms longest)
{
    mono_ms until = loop_now() + longest;
    const struct timespec end = {.tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000};
    (void) pthread_mutex_lock(&work->lock);
    while (!work->is_over && pthread_cond_timedwait(&work->over, &work->lock, &end) == 0) {
    }
    bool is_over = work->is_over;
    if (is_over) {
        loop_async_free(steal_ptr(&work->async));
    }
    (void) pthread_mutex_unlock(&work->lock);
    return is_over;
}

void work_free(struct work *work)
{
    if (work == NULL) {
        return;
    }
    (void) pthread_mutex_lock(&work->lock);
    loop_async_free(steal_ptr(&work->async));
    work->is_left_behind = true;
    bool is_over = work->is_over;
    (void) pthread_mutex_unlock(&work->lock);
    if (is_over) {
        destroy(work);
    }
}
