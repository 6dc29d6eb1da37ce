#include "raw_child.h"

#include "spawn_block.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* How many descriptors are closed one by one where close_range is missing. */
#define CLOSE_LOOP_MAX 1048576U

pid_t raw_child_make(pid_t (*create)(void *arg), void *arg, struct err *err)
{
    sigset_t all;
    sigset_t before;
    (void) sigfillset(&all);
    int rc = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (rc != 0) {
        errno = rc;
        return (pid_t) err_set(err, ERR_HOST, "block signals: %m");
    }
    spawn_hide_heap();
    pid_t pid = create(arg);
    int error = errno;
    spawn_show_heap();
    (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return pid;
}

unsigned raw_child_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur > CLOSE_LOOP_MAX) {
        return CLOSE_LOOP_MAX;
    }
    return (unsigned) limit.rlim_cur;
}

void raw_child_close(unsigned first, unsigned last, unsigned upto)
{
    if (first > last || syscall(SYS_close_range, first, last, 0U) == 0) {
        return;
    }
    for (unsigned fd = first; fd <= last && fd < upto; fd++) {
        (void) close((int) fd);
    }
}
