/* The server's socket: made so that nobody else can connect at any moment, and asked who does. */
#include "edgible/buf.h"
#include "edgible/fd.h"
#include "server_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* The kernel bounds it by net.core.somaxconn. A small one is filled by a few processes. */
#define BACKLOG 4096

/* The folder of the path, and the name in it. */
static int open_folder(const char *path, const char **ret_name, struct err *err)
{
    const char *slash = strrchr(path, '/');
    CLEANUP(free) char *folder = slash != NULL ? xstrndup(path, (size_t) (slash - path) + 1) : NULL;
    int fd = open(folder != NULL ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return err_set(err, errno, "open the folder of '%s'", path);
    }
    *ret_name = slash != NULL ? slash + 1 : path;
    return fd;
}

/* What is in the way is only ever replaced where it is a socket. */
static int check_place(int folder, const char *path, const char *name, struct err *err)
{
    struct stat st;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISSOCK(st.st_mode)) {
        return err_set(err, ERR_SPEC,
                       "'%s' is there already and is no socket; remove it, or set api.socket to "
                       "another path",
                       path);
    }
    return 0;
}

/* Bound, but refusing connections until it listens: mode and group are set in between. */
static int bind_in(int folder, const char *name, gid_t group, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int len =
        snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", folder, name);
    CLEANUP(close_fd)
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || len < 0 || (size_t) len >= sizeof(address.sun_path)) {
        return err_set(err, fd < 0 ? errno : ENAMETOOLONG, "make a socket");
    }
    (void) unlinkat(folder, name, 0);
    if (bind(fd, (const struct sockaddr *) &address, sizeof(address)) < 0) {
        return err_set(err, errno, "bind");
    }
    bool has_group = group != (gid_t) -1;
    if ((has_group && fchownat(folder, name, (uid_t) -1, group, AT_SYMLINK_NOFOLLOW) < 0) ||
        fchmodat(folder, name, has_group ? 0660 : 0600, 0) < 0) {
        return err_set(err, errno, "give it to its group");
    }
    if (listen(fd, BACKLOG) < 0) {
        return err_set(err, errno, "listen");
    }
    return steal_fd(&fd);
}

int server_socket_open(const char *path, gid_t group, struct err *err)
{
    const char *name = path;
    CLEANUP(close_fd) int folder = open_folder(path, &name, err);
    if (folder < 0 || check_place(folder, path, name, err) < 0) {
        return -1;
    }
    char fresh[32];
    (void) snprintf(fresh, sizeof(fresh), ".socket.%d", (int) getpid());
    CLEANUP(close_fd) int fd = bind_in(folder, fresh, group, err);
    if (fd < 0 || renameat(folder, fresh, folder, name) < 0) {
        int error = errno;
        (void) unlinkat(folder, fresh, 0);
        return fd < 0 ? err_prefix(err, "'%s'", path) : err_set(err, error, "rename to '%s'", path);
    }
    return steal_fd(&fd);
}

int server_socket_read_peer(int fd, struct server_peer *ret)
{
    struct ucred cred = {0};
    socklen_t len = sizeof(cred);
    *ret = (struct server_peer){0};
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0) {
        return -1;
    }
    ret->pid = cred.pid;
    ret->uid = cred.uid;
    ret->gid = cred.gid;
    socklen_t size = sizeof(ret->groups);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, ret->groups, &size) == 0) {
        ret->group_count = size / sizeof(gid_t);
    }
    return 0;
}

const char *server_refusal_title(unsigned status)
{
    return status == 403 ? "Forbidden" : "Service Unavailable";
}

const char *server_refusal_detail(unsigned status)
{
    return status == 403 ? "this user may not use the agent's API: root, the agent's own user and "
                           "the members of api.group may, but no workload in a sandbox, "
                           "and nobody whose process has ended"
                         : "there are as many connections as the agent serves at a time; close "
                           "some, or try again";
}

char *server_problem_text(unsigned status, const char *title, const char *detail)
{
    CLEANUP(buf) struct buf text = {0};
    buf_printf(&text, "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%u,\"detail\":\"",
               title, status);
    buf_add_json_escaped(&text, detail);
    buf_add_str(&text, "\"}\n");
    return buf_steal(&text);
}

void server_socket_refuse(int fd, unsigned status, const char *title, const char *detail)
{
    CLEANUP(free) char *body = server_problem_text(status, title, detail);
    CLEANUP(free)
    char *text = xasprintf("HTTP/1.1 %u %s\r\nContent-Type: application/problem+json\r\n"
                           "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
                           status, title, strlen(body), body);
    (void) !send(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
}

int server_socket_begin(struct server *server, struct err *err)
{
    struct stat st;
    if (server->listen_fd < 0) {
        server->listen_fd = server_socket_open(server->socket, server->params.group, err);
    } else if (fd_set_nonblocking(server->listen_fd, err) < 0) {
        return -1;
    }
    if (server->listen_fd < 0) {
        return -1;
    }
    server->inode = lstat(server->socket, &st) == 0 ? st.st_ino : 0;
    return 0;
}

void server_socket_end(struct server *server)
{
    struct stat st;
    bool is_ours = server->inode != 0 && lstat(server->socket, &st) == 0 &&
                   st.st_ino == server->inode && S_ISSOCK(st.st_mode);
    if (is_ours && !server->keeps_socket) {
        (void) unlink(server->socket);
    }
    fd_close(&server->listen_fd);
}

int server_listen_fd(const struct server *server)
{
    return server->listen_fd;
}

void server_keep_socket(struct server *server, bool keep)
{
    server->keeps_socket = keep;
    (void) fcntl(server->listen_fd, F_SETFD, keep ? 0 : FD_CLOEXEC);
}
