#include "check_output.h"

#include "edgible/fd.h"
#include "edgible/mem.h"
#include "edgible/work.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Of all checks: those that hang are among them. */
#define READERS_MAX 64
/* The agent spends little on output that it does not look at: so much at a time. */
#define REST_BYTES ((size_t) 64 * 1024)
#define REST_NS 20000000L

static atomic_int readers;

/* The thread's, until it is over; the loop's side looks under the lock. */
struct reading {
    struct check_output *output; /* for the loop's thread */
    int fd;
    pthread_mutex_t lock;
    bool is_over;
    size_t len;
    char text[CHECK_OUTPUT_BYTES];
};

struct check_output {
    struct work *work;
    struct reading *reading; /* the work's */
    loop_fn over;
    void *arg;
};

static void keep(struct reading *reading, const char *data, size_t len)
{
    (void) pthread_mutex_lock(&reading->lock);
    size_t room = sizeof(reading->text) - reading->len;
    len = len < room ? len : room;
    memcpy(reading->text + reading->len, data, len);
    reading->len += len;
    (void) pthread_mutex_unlock(&reading->lock);
}

static void run(void *arg)
{
    struct reading *reading = arg;
    char data[CHECK_OUTPUT_BYTES];
    size_t taken = 0;
    for (;;) {
        ssize_t n = read(reading->fd, data, sizeof(data));
        if (n <= 0) {
            break;
        }
        keep(reading, data, (size_t) n);
        taken += (size_t) n;
        if (taken >= REST_BYTES) {
            const struct timespec rest = {.tv_nsec = REST_NS};
            (void) nanosleep(&rest, NULL);
            taken = 0;
        }
    }
    fd_close(&reading->fd);
    (void) pthread_mutex_lock(&reading->lock);
    reading->is_over = true;
    (void) pthread_mutex_unlock(&reading->lock);
    atomic_fetch_sub(&readers, 1);
}

static void free_reading(void *arg)
{
    struct reading *reading = arg;
    fd_close(&reading->fd);
    (void) pthread_mutex_destroy(&reading->lock);
    free(reading);
}

static void done(void *arg)
{
    const struct check_output *output = ((struct reading *) arg)->output;
    output->over(output->arg);
}

struct check_output *check_output_new(struct loop *loop, loop_fn over, void *arg, int *ret_end,
                                      struct err *err)
{
    int ends[2];
    if (atomic_load(&readers) >= READERS_MAX) {
        (void) err_set(err, ERR_HOST, "the output of %d checks has not ended", READERS_MAX);
        return NULL;
    }
    if (pipe2(ends, O_CLOEXEC) < 0) {
        (void) err_set(err, ERR_HOST, "make a pipe: %m");
        return NULL;
    }
    struct check_output *output = xcalloc(1, sizeof(*output));
    struct reading *reading = xcalloc(1, sizeof(*reading));
    reading->output = output;
    reading->fd = ends[0];
    (void) pthread_mutex_init(&reading->lock, NULL);
    *output = (struct check_output){.reading = reading, .over = over, .arg = arg};
    const struct work_params params = {
        .loop = loop, .run = run, .done = done, .free_arg = free_reading, .arg = reading};
    atomic_fetch_add(&readers, 1);
    output->work = work_start(&params, err);
    if (output->work == NULL) {
        atomic_fetch_sub(&readers, 1);
        free_reading(reading);
        free(output);
        (void) close(ends[1]);
        return NULL;
    }
    *ret_end = ends[1];
    return output;
}

bool check_output_is_over(const struct check_output *output)
{
    (void) pthread_mutex_lock(&output->reading->lock);
    bool is_over = output->reading->is_over;
    (void) pthread_mutex_unlock(&output->reading->lock);
    return is_over;
}

size_t check_output_copy(const struct check_output *output, char text[CHECK_OUTPUT_BYTES])
{
    (void) pthread_mutex_lock(&output->reading->lock);
    size_t len = output->reading->len;
    memcpy(text, output->reading->text, len);
    (void) pthread_mutex_unlock(&output->reading->lock);
    return len;
}

void check_output_free(struct check_output *output)
{
    if (output != NULL) {
        work_free(output->work);
        free(output);
    }
}
