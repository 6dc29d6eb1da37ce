#include "edgible/thread.h"

#include <signal.h>

static int start(pthread_t *ret, size_t stack_bytes, int how, void *(*fn)(void *), void *arg)
{
    pthread_attr_t attr;
    sigset_t all;
    sigset_t before;
    (void) sigfillset(&all);
    (void) pthread_attr_init(&attr);
    (void) pthread_attr_setstacksize(&attr, stack_bytes);
    (void) pthread_attr_setdetachstate(&attr, how);
    (void) pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(ret, &attr, fn, arg);
    (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void) pthread_attr_destroy(&attr);
    return rc;
}

int thread_start(pthread_t *ret, const char *name, void *(*fn)(void *), void *arg, struct err *err)
{
    int rc = start(ret, THREAD_STACK_BYTES, PTHREAD_CREATE_JOINABLE, fn, arg);
    if (rc != 0) {
        return err_set(err, rc, "start the thread '%s'", name);
    }
    (void) pthread_setname_np(*ret, name);
    return 0;
}

int thread_start_detached(size_t stack_bytes, void *(*fn)(void *), void *arg, struct err *err)
{
    pthread_t thread;
    int rc = start(&thread, stack_bytes, PTHREAD_CREATE_DETACHED, fn, arg);
    return rc == 0 ? 0 : err_set(err, rc, "start a thread");
}
