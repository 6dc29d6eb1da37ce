#include "edgible/net_ports.h"

#include "edgible/fd.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

/* Linux 5.9; the headers of the build may be older. The attribute comes unasked. */
#define DIAG_CGROUP_ID 21
#define STATE_LISTEN 10 /* TCP_LISTEN of the kernel's net/tcp_states.h */
#define SOCKETS_MAX 1000000
#define FDS_MAX 4096
#define DUMP_TRIES 4
#define BUFFER_BYTES (32UL * 1024)

struct port_socket {
    enum net_protocol protocol;
    uint16_t port;
    uint64_t inode;
    uint64_t cgroup_id; /* 0: not told */
};

struct net_ports {
    struct port_socket *sockets; /* sorted by protocol and port */
    size_t count, cap;
    ino_t own_namespace;
};

static void add_socket(struct net_ports *ports, const struct port_socket *socket)
{
    if (ports->count == ports->cap && ports->cap < SOCKETS_MAX) {
        ports->cap = ports->cap == 0 ? 64 : 2 * ports->cap;
        ports->sockets = xrealloc(ports->sockets, ports->cap, sizeof(*ports->sockets));
    }
    if (ports->count < ports->cap) {
        ports->sockets[ports->count++] = *socket;
    }
}

/* --- the dump ------------------------------------------------------------------------------------
 */

static int send_request(int fd, int family, int protocol, struct err *err)
{
    struct {
        struct nlmsghdr header;
        struct inet_diag_req_v2 request;
    } message = {
        .header = {.nlmsg_len = sizeof(message),
                   .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP                                 },
        .request = {.sdiag_family = (uint8_t) family,
                   .sdiag_protocol = (uint8_t) protocol,
                   /* UDP sockets that are bound and not connected are in state "closed". */
                    .idiag_states = protocol == IPPROTO_TCP ? 1U << STATE_LISTEN : UINT32_MAX},
    };
    if (send(fd, &message, sizeof(message), 0) < 0) {
        return err_set(err, errno, "ask for the sockets");
    }
    return 0;
}

static uint64_t find_cgroup_id(struct nlmsghdr *header)
{
    const char *at = (const char *) NLMSG_DATA(header) + NLMSG_ALIGN(sizeof(struct inet_diag_msg));
    const char *end = (const char *) header + header->nlmsg_len;
    while (end - at >= (ptrdiff_t) sizeof(struct nlattr)) {
        struct nlattr attribute;
        uint64_t id = 0;
        memcpy(&attribute, at, sizeof(attribute));
        if (attribute.nla_len < sizeof(attribute) || attribute.nla_len > end - at) {
            break;
        }
        if (attribute.nla_type == DIAG_CGROUP_ID &&
            attribute.nla_len >= sizeof(attribute) + sizeof(id)) {
            memcpy(&id, at + sizeof(attribute), sizeof(id));
            return id;
        }
        at += NLA_ALIGN(attribute.nla_len);
    }
    return 0;
}

static void take_message(struct net_ports *ports, struct nlmsghdr *header, int protocol)
{
    struct inet_diag_msg message;
    if (header->nlmsg_len < NLMSG_LENGTH(sizeof(message))) {
        return;
    }
    memcpy(&message, NLMSG_DATA(header), sizeof(message));
    struct port_socket socket = {
        .protocol = protocol == IPPROTO_TCP ? NET_TCP : NET_UDP,
        .port = ntohs(message.id.idiag_sport),
        .inode = message.idiag_inode,
        .cgroup_id = find_cgroup_id(header),
    };
    if (socket.port != 0) {
        add_socket(ports, &socket);
    }
}

/* 1 at the end of the dump, 0 where more is to come, -1 on error. */
static int take_messages(struct net_ports *ports, char *data, size_t len, int protocol,
                         struct err *err)
{
    while (len >= sizeof(struct nlmsghdr)) {
        struct nlmsghdr *header = (void *) data; /* the buffer is aligned, and so is each */
        if (!NLMSG_OK(header, len)) {
            break;
        }
        if (header->nlmsg_type == NLMSG_DONE) {
            return 1;
        }
        if (header->nlmsg_type == NLMSG_ERROR) {
            const struct nlmsgerr *error = NLMSG_DATA(header);
            return err_set(err, -error->error, "list the sockets");
        }
        if ((header->nlmsg_flags & NLM_F_DUMP_INTR) != 0) {
            return err_set(err, EINTR, "list the sockets");
        }
        take_message(ports, header, protocol);
        size_t step = NLMSG_ALIGN(header->nlmsg_len);
        data += step < len ? step : len;
        len -= step < len ? step : len;
    }
    return 0;
}

static int dump(struct net_ports *ports, int fd, int family, int protocol, struct err *err)
{
    if (send_request(fd, family, protocol, err) < 0) {
        return -1;
    }
    CLEANUP(free) char *data = xcalloc(1, BUFFER_BYTES);
    for (;;) {
        ssize_t n = recv(fd, data, BUFFER_BYTES, 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return err_set(err, n < 0 ? errno : EPROTO, "read the list of sockets");
        }
        int rc = take_messages(ports, data, (size_t) n, protocol, err);
        if (rc != 0) {
            return rc < 0 ? -1 : 0;
        }
    }
}

static int dump_all(struct net_ports *ports, struct err *err)
{
    static const struct {
        int family, protocol;
    } tables[] = {
        {AF_INET,  IPPROTO_TCP},
        {AF_INET6, IPPROTO_TCP},
        {AF_INET,  IPPROTO_UDP},
        {AF_INET6, IPPROTO_UDP},
    };
    CLEANUP(close_fd)
    int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (fd < 0) {
        return err_set(err, errno, "open a netlink socket");
    }
    ports->count = 0;
    for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
        struct err cause = {0};
        if (dump(ports, fd, tables[i].family, tables[i].protocol, &cause) < 0 &&
            cause.code != ENOENT) { /* a kernel without that protocol */
            return err_set(err, cause.code, "%s", cause.msg);
        }
    }
    return 0;
}

static int compare_sockets(const void *a, const void *b)
{
    const struct port_socket *x = a;
    const struct port_socket *y = b;
    if (x->protocol != y->protocol) {
        return x->protocol < y->protocol ? -1 : 1;
    }
    return (x->port > y->port) - (x->port < y->port);
}

static ino_t namespace_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? st.st_ino : 0;
}

struct net_ports *net_ports_take(struct err *err)
{
    CLEANUP(net_ports) struct net_ports *ports = xcalloc(1, sizeof(*ports));
    struct err cause = {0};
    int rc = -1;
    /* A table that changed meanwhile is asked for again. */
    for (int i = 0; i < DUMP_TRIES && rc < 0; i++) {
        rc = dump_all(ports, &cause);
        if (rc < 0 && cause.code != EINTR) {
            break;
        }
    }
    if (rc < 0) {
        (void) err_set(err, cause.code, "%s", cause.msg);
        return NULL;
    }
    if (ports->count > 0) {
        qsort(ports->sockets, ports->count, sizeof(*ports->sockets), compare_sockets);
    }
    ports->own_namespace = namespace_of("/proc/self/ns/net");
    return steal_ptr(&ports);
}

void net_ports_free(struct net_ports *ports)
{
    if (ports != NULL) {
        free(ports->sockets);
        free(ports);
    }
}

/* --- who has it ----------------------------------------------------------------------------------
 */

/* 1: it has that socket open; 0: not; -1: it cannot be asked. */
static int has_open(pid_t pid, uint64_t inode)
{
    char path[64];
    char wanted[48];
    int len = snprintf(wanted, sizeof(wanted), "socket:[%" PRIu64 "]", inode);
    (void) snprintf(path, sizeof(path), "/proc/%d/fd", (int) pid);
    DIR *dir = opendir(path);
    int found = dir != NULL ? 0 : -1;
    int left = FDS_MAX;
    for (struct dirent *entry = dir != NULL ? readdir(dir) : NULL;
         entry != NULL && found == 0 && left > 0; entry = readdir(dir), left--) {
        char target[64];
        ssize_t n = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target));
        found = n == len && memcmp(target, wanted, (size_t) n) == 0 ? 1 : 0;
    }
    if (dir != NULL) {
        (void) closedir(dir);
    }
    return found;
}

/* With if_unknown where none of them can be asked. */
static bool any_has_open(const pid_t *pids, size_t count, uint64_t inode, bool if_unknown)
{
    bool any_asked = false;
    for (size_t i = 0; i < count; i++) {
        int found = has_open(pids[i], inode);
        if (found > 0) {
            return true;
        }
        any_asked = any_asked || found == 0;
    }
    return !any_asked && count > 0 && if_unknown;
}

/* The n-th word of a line, from 0; NULL where there are fewer. */
static const char *word_at(const char *line, int n)
{
    line += strspn(line, " ");
    for (; n > 0 && *line != '\0'; n--) {
        line += strcspn(line, " ");
        line += strspn(line, " ");
    }
    return *line != '\0' ? line : NULL;
}

/* One line of /proc/PID/net/tcp, "0: 0100007F:1F90 00000000:0000 0A …": the port listened on, and
 * the socket's inode. */
static bool parse_line(const char *line, enum net_protocol protocol, uint16_t *ret_port,
                       uint64_t *ret_inode)
{
    const char *local = word_at(line, 1);
    const char *state = word_at(line, 3);
    const char *inode = word_at(line, 9);
    const char *colon = local != NULL ? strchr(local, ':') : NULL;
    if (colon == NULL || inode == NULL ||
        (protocol == NET_TCP && strtoul(state, NULL, 16) != STATE_LISTEN)) {
        return false;
    }
    *ret_port = (uint16_t) strtoul(colon + 1, NULL, 16);
    *ret_inode = strtoull(inode, NULL, 10);
    return true;
}

static bool listens_in(const char *path, enum net_protocol protocol, uint16_t port,
                       const pid_t *pids, size_t count)
{
    FILE *file = fopen(path, "re");
    char line[512];
    bool found = false;
    for (size_t i = 0;
         file != NULL && !found && i < SOCKETS_MAX && fgets(line, sizeof(line), file) != NULL;
         i++) {
        uint16_t at = 0;
        uint64_t inode = 0;
        found = parse_line(line, protocol, &at, &inode) && at == port &&
                any_has_open(pids, count, inode, true);
    }
    if (file != NULL) {
        (void) fclose(file);
    }
    return found;
}

static bool listens_elsewhere(enum net_protocol protocol, uint16_t port, const pid_t *pids,
                              size_t count)
{
    static const char *const tables[][2] = {
        [NET_TCP] = {"tcp", "tcp6"},
        [NET_UDP] = {"udp", "udp6"},
    };
    for (int i = 0; i < 2; i++) {
        char path[64];
        (void) snprintf(path, sizeof(path), "/proc/%d/net/%s", (int) pids[0], tables[protocol][i]);
        if (listens_in(path, protocol, port, pids, count)) {
            return true;
        }
    }
    return false;
}

static bool is_elsewhere(const struct net_ports *ports, const pid_t *pids, size_t count)
{
    char path[64];
    ino_t found = 0;
    if (count > 0) {
        (void) snprintf(path, sizeof(path), "/proc/%d/ns/net", (int) pids[0]);
        found = namespace_of(path);
    }
    return found != 0 && ports->own_namespace != 0 && found != ports->own_namespace;
}

bool net_ports_has(struct net_ports *ports, enum net_protocol protocol, uint16_t port,
                   uint64_t cgroup_id, const pid_t *pids, size_t pid_count)
{
    if (is_elsewhere(ports, pids, pid_count)) {
        return listens_elsewhere(protocol, port, pids, pid_count);
    }
    struct port_socket wanted = {.protocol = protocol, .port = port};
    const struct port_socket *end = ports->sockets + ports->count;
    const struct port_socket *first =
        ports->count > 0
            ? bsearch(&wanted, ports->sockets, ports->count, sizeof(wanted), compare_sockets)
            : NULL;
    if (first == NULL) {
        return false;
    }
    while (first > ports->sockets && compare_sockets(first - 1, &wanted) == 0) {
        first--;
    }
    for (const struct port_socket *s = first; s < end && compare_sockets(s, &wanted) == 0; s++) {
        if (cgroup_id != 0 && s->cgroup_id == cgroup_id) {
            return true;
        }
    }
    for (const struct port_socket *s = first; s < end && compare_sockets(s, &wanted) == 0; s++) {
        if (any_has_open(pids, pid_count, s->inode, false)) {
            return true;
        }
    }
    return false;
}
