#include "edgible/sdnotify.h"

#include "edgible/fd.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET_VARIABLE "NOTIFY_SOCKET"
#define WATCHDOG_VARIABLE "WATCHDOG_USEC"
#define WATCHDOG_PID_VARIABLE "WATCHDOG_PID"

struct sdnotify {
    int fd;
    char *path; /* as it stood in the environment: "@" begins an abstract name */
    struct sockaddr_un address;
    socklen_t address_len;
    int64_t watchdog_us;
};

/* 0 where the variable is not there or holds no number above 0. */
static int64_t read_number(const char *name)
{
    const char *text = getenv(name);
    char *end = NULL;
    errno = 0;
    long long value = text != NULL ? strtoll(text, &end, 10) : 0;
    return value > 0 && errno == 0 && end != text && *end == '\0' ? value : 0;
}

static int64_t read_watchdog_us(void)
{
    int64_t pid = read_number(WATCHDOG_PID_VARIABLE);
    bool is_ours = getenv(WATCHDOG_PID_VARIABLE) == NULL || pid == (int64_t) getpid();
    return is_ours ? read_number(WATCHDOG_VARIABLE) : 0;
}

static int fill_address(struct sdnotify *notify, struct err *err)
{
    size_t len = strlen(notify->path);
    if ((notify->path[0] != '/' && notify->path[0] != '@') || len < 2) {
        return err_set(err, EAFNOSUPPORT, SOCKET_VARIABLE "='%s' is no path", notify->path);
    }
    if (len >= sizeof(notify->address.sun_path)) {
        return err_set(err, ENAMETOOLONG, SOCKET_VARIABLE "='%s'", notify->path);
    }
    notify->address.sun_family = AF_UNIX;
    memcpy(notify->address.sun_path, notify->path, len);
    notify->address_len = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + len);
    if (notify->path[0] == '@') {
        notify->address.sun_path[0] = '\0'; /* and its name ends with the address */
    } else {
        notify->address_len++;
    }
    return 0;
}

struct sdnotify *sdnotify_take(struct err *err)
{
    const char *path = getenv(SOCKET_VARIABLE);
    CLEANUP(sdnotify) struct sdnotify *notify = NULL;
    if (path != NULL && path[0] != '\0') {
        notify = xcalloc(1, sizeof(*notify));
        notify->fd = -1;
        notify->path = xstrdup(path);
        notify->watchdog_us = read_watchdog_us();
    }
    sdnotify_hide();
    if (notify == NULL || fill_address(notify, err) < 0) {
        return NULL;
    }
    notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (notify->fd < 0) {
        (void) err_set(err, errno, "make a socket");
        return NULL;
    }
    return steal_ptr(&notify);
}

void sdnotify_free(struct sdnotify *notify)
{
    if (notify == NULL) {
        return;
    }
    fd_close(&notify->fd);
    free(notify->path);
    free(notify);
}

/* Not connected: the manager makes its socket anew where it executes itself (daemon-reexec). */
int sdnotify_send(const struct sdnotify *notify, const char *lines, struct err *err)
{
    ssize_t n = -1;
    do {
        n = sendto(notify->fd, lines, strlen(lines), MSG_NOSIGNAL,
                   (const struct sockaddr *) &notify->address, notify->address_len);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? err_set(err, errno, "send to '%s'", notify->path) : 0;
}

mono_ms sdnotify_watchdog_ms(const struct sdnotify *notify)
{
    return notify->watchdog_us / 1000;
}

void sdnotify_show(const struct sdnotify *notify)
{
    char number[32];
    (void) setenv(SOCKET_VARIABLE, notify->path, 1);
    if (notify->watchdog_us > 0) {
        (void) snprintf(number, sizeof(number), "%" PRId64, notify->watchdog_us);
        (void) setenv(WATCHDOG_VARIABLE, number, 1);
        (void) snprintf(number, sizeof(number), "%d", (int) getpid());
        (void) setenv(WATCHDOG_PID_VARIABLE, number, 1);
    }
}

void sdnotify_hide(void)
{
    (void) unsetenv(SOCKET_VARIABLE);
    (void) unsetenv(WATCHDOG_VARIABLE);
    (void) unsetenv(WATCHDOG_PID_VARIABLE);
}
