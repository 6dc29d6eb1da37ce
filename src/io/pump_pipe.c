/* pump: the pipe between a workload and its log. */
#include "edgible/fd.h"
#include "edgible/pump.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int pump_open_pipe_end(int read_end, bool is_held, uid_t user, struct err *err)
{
    /* Opened anew, it is a file description of its own: blocking. O_DSYNC means nothing to a pipe;
     * it is how census_log_pipe() knows a log pipe. */
    char path[64];
    (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", read_end);
    int fd = open(path, (is_held ? O_WRONLY : O_RDWR) | O_DSYNC | O_CLOEXEC);
    if (fd < 0) {
        return err_set(err, errno, "open the pipe for the workload");
    }
    if (user != (uid_t) -1 && fchown(fd, user, getegid()) == 0) {
        /* The user only writes; an agent without CAP_DAC_OVERRIDE reads by its group. */
        (void) fchmod(fd, 0260);
    }
    return fd;
}

int pump_make_pipe(int *ret_read, struct err *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
        return err_set(err, errno, "make a pipe");
    }
    CLEANUP(close_fd) int read_end = ends[0];
    (void) close(ends[1]);
    /* A user's pipes may together hold only so much; the default size is always there. */
    for (int size = PUMP_PIPE_BYTES; size > 65536; size /= 2) {
        if (fcntl(read_end, F_SETPIPE_SZ, size) >= 0) {
            break;
        }
    }
    *ret_read = steal_fd(&read_end);
    return 0;
}
