/* pump: the pipe between a workload and its log. */
#include "edgible/fd.h"
#include "edgible/pump.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int pump_make_pipe(int *ret_read, int *ret_write, struct err *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
        return err_set(err, errno, "make a pipe");
    }
    CLEANUP(close_fd) int read_end = ends[0];
    (void) close(ends[1]);
    /* Opened anew, it is a file description of its own: blocking, and for both directions. */
    char path[64];
    (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", read_end);
    CLEANUP(close_fd) int write_end = open(path, O_RDWR | O_CLOEXEC);
    if (write_end < 0) {
        return err_set(err, errno, "open the pipe for the workload");
    }
    /* A user's pipes may together hold only so much; the default size is always there. */
    for (int size = PUMP_PIPE_BYTES; size > 65536; size /= 2) {
        if (fcntl(read_end, F_SETPIPE_SZ, size) >= 0) {
            break;
        }
    }
    *ret_read = steal_fd(&read_end);
    *ret_write = steal_fd(&write_end);
    return 0;
}
