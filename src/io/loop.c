#include "edgible/loop.h"

#include "edgible/fd.h"
#include "edgible/list.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

/* libev's macros for its watchers cast away const and alias on purpose. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wstrict-aliasing"
#include <ev.h>

#define STUCK_CALLS 1000
#define STUCK_PAUSE_S 1.0

/* A turn: from when the loop wakes up until it sleeps again. */
struct turn {
    bool is_open;
    int64_t began_ns, cpu_ns;
};

struct loop {
    struct ev_loop *ev;
    ev_check wakes;
    ev_prepare sleeps;
    struct turn turn;
    struct loop_turns turns;
    int signal_fd;
    ev_io signal_io; /* active while there are signals */
    sigset_t signal_set;
    struct list signals;
};

struct loop_io {
    struct loop *loop;
    ev_io watcher;
    ev_timer pause;
    unsigned idle_calls;
    loop_io_fn fn;
    void *arg;
    bool *freed; /* set while the callback runs, so that it may free the watcher */
};

struct loop_timer {
    struct loop *loop;
    ev_timer watcher;
    loop_fn fn;
    void *arg;
};

struct loop_signal {
    struct list link;
    struct loop *loop;
    int number;
    loop_fn fn;
    void *arg;
};

struct loop_async {
    struct loop *loop;
    ev_async watcher;
    loop_fn fn;
    void *arg;
};

mono_ms loop_now(void)
{
    struct timespec ts = {0};
    (void) clock_gettime(CLOCK_MONOTONIC, &ts);
    return (mono_ms) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

const int64_t loop_bucket_ns[LOOP_BUCKETS] = {1000000,   5000000,   10000000,  50000000,
                                              100000000, 500000000, 1000000000};

static int64_t read_ns(clockid_t clock)
{
    struct timespec ts = {0};
    (void) clock_gettime(clock, &ts);
    return (int64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void begin_turn(struct loop *loop)
{
    loop->turn = (struct turn){
        .is_open = true,
        .began_ns = read_ns(CLOCK_MONOTONIC),
        .cpu_ns = read_ns(CLOCK_THREAD_CPUTIME_ID),
    };
}

static void end_turn(struct loop *loop)
{
    if (!loop->turn.is_open) {
        return;
    }
    loop->turn.is_open = false;
    struct loop_turns *turns = &loop->turns;
    int64_t took = read_ns(CLOCK_MONOTONIC) - loop->turn.began_ns;
    int64_t cpu = read_ns(CLOCK_THREAD_CPUTIME_ID) - loop->turn.cpu_ns;
    size_t i = 0;
    while (i < LOOP_BUCKETS && took > loop_bucket_ns[i]) {
        i++;
    }
    if (i < LOOP_BUCKETS) {
        turns->buckets[i]++;
    }
    turns->count++;
    turns->sum_ns += took;
    turns->longest_ns = took > turns->longest_ns ? took : turns->longest_ns;
    turns->longest_cpu_ns = cpu > turns->longest_cpu_ns ? cpu : turns->longest_cpu_ns;
}

static void on_wake(struct ev_loop *ev, ev_check *watcher, int events)
{
    (void) ev;
    (void) events;
    begin_turn(watcher->data);
}

static void on_sleep(struct ev_loop *ev, ev_prepare *watcher, int events)
{
    (void) ev;
    (void) events;
    end_turn(watcher->data);
}

/* The first to be called after the sleep and the last before it. They do not keep the loop
 * running. */
static void watch_turns(struct loop *loop)
{
    ev_check_init(&loop->wakes, on_wake);
    ev_set_priority(&loop->wakes, EV_MAXPRI);
    loop->wakes.data = loop;
    ev_check_start(loop->ev, &loop->wakes);
    ev_unref(loop->ev);
    ev_prepare_init(&loop->sleeps, on_sleep);
    ev_set_priority(&loop->sleeps, EV_MINPRI);
    loop->sleeps.data = loop;
    ev_prepare_start(loop->ev, &loop->sleeps);
    ev_unref(loop->ev);
}

/* One at a time: what was taken from the kernel is told of at once, and whatever comes meanwhile
 * stays pending there, also over an exec. */
static void on_signal(struct ev_loop *ev, ev_io *watcher, int events)
{
    (void) ev;
    (void) events;
    const struct loop *loop = watcher->data;
    struct signalfd_siginfo info;
    if (read(loop->signal_fd, &info, sizeof(info)) != (ssize_t) sizeof(info)) {
        return;
    }
    list_each (it, &loop->signals) {
        const struct loop_signal *sig = list_entry(it, struct loop_signal, link);
        if (sig->number == (int) info.ssi_signo) {
            sig->fn(sig->arg);
            return;
        }
    }
}

struct loop *loop_new(struct err *err)
{
    CLEANUP(loop) struct loop *loop = xcalloc(1, sizeof(*loop));
    list_init(&loop->signals);
    (void) sigemptyset(&loop->signal_set);
    loop->signal_fd = signalfd(-1, &loop->signal_set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (loop->signal_fd < 0) {
        (void) err_set(err, errno, "make a signalfd");
        return NULL;
    }
    /* Never the default loop: that one reaps every child with waitpid(-1). poll() and not epoll,
     * whose watches any process of the user can use up (fs.epoll.max_user_watches). */
    loop->ev = ev_loop_new(EVBACKEND_POLL | EVFLAG_NOENV);
    if (loop->ev == NULL) {
        (void) err_set(err, ERR_HOST, "the event loop cannot be made");
        return NULL;
    }
    watch_turns(loop);
    ev_io_init(&loop->signal_io, on_signal, loop->signal_fd, EV_READ);
    loop->signal_io.data = loop;
    return steal_ptr(&loop);
}

void loop_free(struct loop *loop)
{
    if (loop == NULL) {
        return;
    }
    if (loop->ev != NULL) {
        ev_loop_destroy(loop->ev);
    }
    fd_close(&loop->signal_fd);
    free(loop);
}

bool loop_lacks_epoll(void)
{
    CLEANUP(close_fd) int set = epoll_create1(EPOLL_CLOEXEC);
    CLEANUP(close_fd) int member = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = 0};
    return epoll_ctl(set, EPOLL_CTL_ADD, member, &event) < 0 && errno == ENOSPC;
}

const struct loop_turns *loop_turns(const struct loop *loop)
{
    return &loop->turns;
}

bool loop_share_lasts(const struct loop *loop, struct loop_share *share)
{
    uint64_t turn = loop->turns.count + 1;
    if (share->turn != turn) {
        *share = (struct loop_share){.turn = turn, .until = loop_now() + LOOP_SHARE_MS};
    }
    return loop_now() < share->until;
}

void loop_run(struct loop *loop)
{
    (void) ev_run(loop->ev, 0);
    end_turn(loop); /* the one that stopped it */
}

void loop_stop(struct loop *loop)
{
    ev_break(loop->ev, EVBREAK_ALL);
}

static void on_pause_over(struct ev_loop *ev, ev_timer *watcher, int events)
{
    (void) events;
    struct loop_io *io = watcher->data;
    io->idle_calls = 0;
    ev_io_start(ev, &io->watcher);
}

static void on_io(struct ev_loop *ev, ev_io *watcher, int events)
{
    (void) events;
    struct loop_io *io = watcher->data;
    bool freed = false;
    io->freed = &freed;
    bool progress = io->fn(io->arg);
    if (freed) {
        return;
    }
    io->freed = NULL;
    io->idle_calls = progress ? 0 : io->idle_calls + 1;
    if (io->idle_calls >= STUCK_CALLS) {
        ev_io_stop(ev, watcher);
        ev_timer_set(&io->pause, STUCK_PAUSE_S, 0.);
        ev_timer_start(ev, &io->pause);
    }
}

static struct loop_io *new_io(struct loop *loop, int fd, int events, loop_io_fn fn, void *arg)
{
    struct loop_io *io = xcalloc(1, sizeof(*io));
    io->loop = loop;
    io->fn = fn;
    io->arg = arg;
    ev_io_init(&io->watcher, on_io, fd, events);
    io->watcher.data = io;
    ev_timer_init(&io->pause, on_pause_over, STUCK_PAUSE_S, 0.);
    io->pause.data = io;
    ev_io_start(loop->ev, &io->watcher);
    return io;
}

struct loop_io *loop_io_new(struct loop *loop, int fd, loop_io_fn fn, void *arg)
{
    return new_io(loop, fd, EV_READ, fn, arg);
}

struct loop_io *loop_io_new_for_writing(struct loop *loop, int fd, loop_io_fn fn, void *arg)
{
    return new_io(loop, fd, EV_WRITE, fn, arg);
}

void loop_io_free(struct loop_io *io)
{
    if (io == NULL) {
        return;
    }
    if (io->freed != NULL) {
        *io->freed = true;
    }
    ev_io_stop(io->loop->ev, &io->watcher);
    ev_timer_stop(io->loop->ev, &io->pause);
    free(io);
}

static void on_timer(struct ev_loop *ev, ev_timer *watcher, int events)
{
    (void) ev;
    (void) events;
    struct loop_timer *timer = watcher->data;
    timer->fn(timer->arg);
}

struct loop_timer *loop_timer_new(struct loop *loop, loop_fn fn, void *arg)
{
    struct loop_timer *timer = xcalloc(1, sizeof(*timer));
    timer->loop = loop;
    timer->fn = fn;
    timer->arg = arg;
    ev_timer_init(&timer->watcher, on_timer, 0., 0.);
    timer->watcher.data = timer;
    return timer;
}

void loop_timer_free(struct loop_timer *timer)
{
    if (timer != NULL) {
        ev_timer_stop(timer->loop->ev, &timer->watcher);
        free(timer);
    }
}

void loop_timer_arm(struct loop_timer *timer, mono_ms at)
{
    mono_ms now = loop_now();
    struct ev_loop *ev = timer->loop->ev;
    ev_timer_stop(ev, &timer->watcher);
    /* libev counts from its cached time: without the update, a timer armed after long work would
     * fire early. */
    ev_now_update(ev);
    double delay = (double) (at - now) / 1000.;
    ev_timer_set(&timer->watcher, delay > 0. ? delay : 0., 0.);
    ev_timer_start(ev, &timer->watcher);
}

void loop_timer_disarm(struct loop_timer *timer)
{
    ev_timer_stop(timer->loop->ev, &timer->watcher);
}

bool loop_timer_is_armed(const struct loop_timer *timer)
{
    return timer->watcher.active != 0; /* ev_is_active() casts const away */
}

struct loop_signal *loop_signal_new(struct loop *loop, int signal_number, loop_fn fn, void *arg)
{
    struct loop_signal *sig = xcalloc(1, sizeof(*sig));
    sig->loop = loop;
    sig->number = signal_number;
    sig->fn = fn;
    sig->arg = arg;
    list_add_tail(&loop->signals, &sig->link);
    sigset_t one;
    (void) sigemptyset(&one);
    (void) sigaddset(&one, signal_number);
    (void) pthread_sigmask(SIG_BLOCK, &one, NULL);
    (void) signal(signal_number, SIG_DFL); /* one that is ignored does not become pending */
    (void) sigaddset(&loop->signal_set, signal_number);
    (void) signalfd(loop->signal_fd, &loop->signal_set, 0);
    ev_io_start(loop->ev, &loop->signal_io);
    return sig;
}

void loop_signal_free(struct loop_signal *sig)
{
    if (sig == NULL) {
        return;
    }
    struct loop *loop = sig->loop;
    list_remove(&sig->link);
    (void) sigdelset(&loop->signal_set, sig->number);
    (void) signalfd(loop->signal_fd, &loop->signal_set, 0);
    if (list_is_empty(&loop->signals)) {
        ev_io_stop(loop->ev, &loop->signal_io);
    }
    free(sig);
}

static void on_async(struct ev_loop *ev, ev_async *watcher, int events)
{
    (void) ev;
    (void) events;
    struct loop_async *async = watcher->data;
    async->fn(async->arg);
}

struct loop_async *loop_async_new(struct loop *loop, loop_fn fn, void *arg)
{
    struct loop_async *async = xcalloc(1, sizeof(*async));
    async->loop = loop;
    async->fn = fn;
    async->arg = arg;
    ev_async_init(&async->watcher, on_async);
    async->watcher.data = async;
    ev_async_start(loop->ev, &async->watcher);
    return async;
}

void loop_async_free(struct loop_async *async)
{
    if (async != NULL) {
        ev_async_stop(async->loop->ev, &async->watcher);
        free(async);
    }
}

void loop_async_send(struct loop_async *async)
{
    ev_async_send(async->loop->ev, &async->watcher);
}
#pragma GCC diagnostic pop
