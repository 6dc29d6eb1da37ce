#include "check_output.h"

#include "edgible/fd.h"
#include "edgible/mem.h"
#include "edgible/work.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Of all checks, and of those of one workload: one whose checks hang takes none of the others'. */
#define READERS_MAX 1024
#define READERS_OF_ONE 8
/* The agent spends little on output that it does not look at: so much at a time. */
#define REST_BYTES ((size_t) 64 * 1024)
#define REST_NS 20000000L

/* The thread's, until it is over; the loop's side looks under the lock. */
struct reading {
    struct check_output *output; /* for the loop's thread */
    char *owner;                 /* whose check it is */
    struct reading *next;        /* in `all` */
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

/* Those that are not over. */
static struct reading *all;
static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;

static int enter(struct reading *reading, struct err *err)
{
    size_t count = 0, own = 0;
    (void) pthread_mutex_lock(&all_lock);
    for (const struct reading *other = all; other != NULL; other = other->next) {
        count++;
        own += strcmp(other->owner, reading->owner) == 0 ? 1 : 0;
    }
    bool is_full = count >= READERS_MAX || own >= READERS_OF_ONE;
    if (!is_full) {
        reading->next = all;
        all = reading;
    }
    (void) pthread_mutex_unlock(&all_lock);
    return is_full ? err_set(err, ERR_HOST,
                             "the output of %zu of its checks and %zu of others has not ended: "
                             "processes that these left behind have it open",
                             own, count - own)
                   : 0;
}

static void leave(const struct reading *reading)
{
    (void) pthread_mutex_lock(&all_lock);
    struct reading **at = &all;
    while (*at != reading) {
        at = &(*at)->next;
    }
    *at = reading->next;
    (void) pthread_mutex_unlock(&all_lock);
}

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
    leave(reading);
    (void) pthread_mutex_lock(&reading->lock);
    reading->is_over = true;
    (void) pthread_mutex_unlock(&reading->lock);
}

static void free_reading(void *arg)
{
    struct reading *reading = arg;
    fd_close(&reading->fd);
    (void) pthread_mutex_destroy(&reading->lock);
    free(reading->owner);
    free(reading);
}

static void done(void *arg)
{
    const struct check_output *output = ((struct reading *) arg)->output;
    output->over(output->arg);
}

static struct reading *new_reading(const char *owner, int fd)
{
    struct reading *reading = xcalloc(1, sizeof(*reading));
    reading->owner = xstrdup(owner);
    reading->fd = fd;
    (void) pthread_mutex_init(&reading->lock, NULL);
    return reading;
}

/* NULL: no thread reads it. */
static struct work *start(struct loop *loop, struct reading *reading, struct err *err)
{
    const struct work_params params = {
        .loop = loop, .run = run, .done = done, .free_arg = free_reading, .arg = reading};
    if (enter(reading, err) < 0) {
        return NULL;
    }
    struct work *work = work_start(&params, err);
    if (work == NULL) {
        leave(reading);
    }
    return work;
}

struct check_output *check_output_new(struct loop *loop, const char *owner, loop_fn over, void *arg,
                                      int *ret_end, struct err *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) {
        (void) err_set(err, ERR_HOST, "make a pipe: %m");
        return NULL;
    }
    struct check_output *output = xcalloc(1, sizeof(*output));
    struct reading *reading = new_reading(owner, ends[0]);
    reading->output = output;
    *output = (struct check_output){.reading = reading, .over = over, .arg = arg};
    output->work = start(loop, reading, err);
    if (output->work == NULL) {
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
