#include "edgible/net_ports.h"

#include "edgible/fd.h"

#include <dirent.h>
#include <errno.h>
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
/* So many descriptors, and lines of socket tables, are looked at for one owner: some 0.1 s. */
#define LOOKS_MAX 65536
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

static void sort(struct net_ports *ports)
{
    if (ports->count > 0) {
        qsort(ports->sockets, ports->count, sizeof(*ports->sockets), compare_sockets);
    }
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
    sort(ports);
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

struct net_owner {
    uint64_t cgroup_id;
    const pid_t *pids;
    size_t pid_count;
    int left; /* looks */
    bool has_begun, has_walked;
    bool any_asked;              /* some process told of its descriptors */
    struct net_ports *elsewhere; /* of its own network namespace; NULL: it has none */
    uint64_t *inodes;            /* of the sockets that are open; sorted */
    size_t count, cap;
};

struct net_owner *net_owner_new(uint64_t cgroup_id, const pid_t *pids, size_t pid_count)
{
    struct net_owner *owner = xcalloc(1, sizeof(*owner));
    owner->cgroup_id = cgroup_id;
    owner->pids = pids;
    owner->pid_count = pid_count;
    owner->left = LOOKS_MAX;
    return owner;
}

void net_owner_free(struct net_owner *owner)
{
    if (owner != NULL) {
        net_ports_free(owner->elsewhere);
        free(owner->inodes);
        free(owner);
    }
}

static int compare_inodes(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *) a;
    uint64_t y = *(const uint64_t *) b;
    return (x > y) - (x < y);
}

static void add_inode(struct net_owner *owner, uint64_t inode)
{
    if (owner->count == owner->cap) {
        owner->cap = owner->cap == 0 ? 16 : 2 * owner->cap;
        owner->inodes = xrealloc(owner->inodes, owner->cap, sizeof(*owner->inodes));
    }
    owner->inodes[owner->count++] = inode;
}

static void walk_descriptors(struct net_owner *owner, pid_t pid)
{
    static const char start[] = "socket:[";
    char path[64];
    (void) snprintf(path, sizeof(path), "/proc/%d/fd", (int) pid);
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return;
    }
    owner->any_asked = true;
    const struct dirent *entry = NULL;
    while (owner->left > 0 && (entry = readdir(dir)) != NULL) {
        char target[64];
        ssize_t n = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);
        target[n > 0 ? n : 0] = '\0';
        if (strncmp(target, start, sizeof(start) - 1) == 0) {
            add_inode(owner, strtoull(target + sizeof(start) - 1, NULL, 10));
        }
        owner->left--;
    }
    (void) closedir(dir);
}

static void walk(struct net_owner *owner)
{
    owner->has_walked = true;
    for (size_t i = 0; i < owner->pid_count && owner->left > 0; i++) {
        owner->left--;
        walk_descriptors(owner, owner->pids[i]);
    }
    if (owner->count > 0) {
        qsort(owner->inodes, owner->count, sizeof(*owner->inodes), compare_inodes);
    }
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
static bool parse_line(const char *line, enum net_protocol protocol, struct port_socket *ret)
{
    const char *local = word_at(line, 1);
    const char *state = word_at(line, 3);
    const char *inode = word_at(line, 9);
    const char *colon = local != NULL ? strchr(local, ':') : NULL;
    if (colon == NULL || inode == NULL ||
        (protocol == NET_TCP && strtoul(state, NULL, 16) != STATE_LISTEN)) {
        return false;
    }
    *ret = (struct port_socket){.protocol = protocol,
                                .port = (uint16_t) strtoul(colon + 1, NULL, 16),
                                .inode = strtoull(inode, NULL, 10)};
    return true;
}

static void read_table(struct net_owner *owner, const char *name, enum net_protocol protocol)
{
    char path[64];
    char line[512];
    (void) snprintf(path, sizeof(path), "/proc/%d/net/%s", (int) owner->pids[0], name);
    FILE *file = fopen(path, "re");
    while (file != NULL && owner->left > 0 && fgets(line, sizeof(line), file) != NULL) {
        struct port_socket socket;
        if (parse_line(line, protocol, &socket)) {
            add_socket(owner->elsewhere, &socket);
        }
        owner->left--;
    }
    if (file != NULL) {
        (void) fclose(file);
    }
}

static bool is_elsewhere(const struct net_ports *ports, const struct net_owner *owner)
{
    char path[64];
    ino_t found = 0;
    if (owner->pid_count > 0) {
        (void) snprintf(path, sizeof(path), "/proc/%d/ns/net", (int) owner->pids[0]);
        found = namespace_of(path);
    }
    return found != 0 && ports->own_namespace != 0 && found != ports->own_namespace;
}

/* Once for all its ports. */
static void begin(const struct net_ports *ports, struct net_owner *owner)
{
    owner->has_begun = true;
    if (is_elsewhere(ports, owner)) {
        owner->elsewhere = xcalloc(1, sizeof(*owner->elsewhere));
        read_table(owner, "tcp", NET_TCP);
        read_table(owner, "tcp6", NET_TCP);
        read_table(owner, "udp", NET_UDP);
        read_table(owner, "udp6", NET_UDP);
        sort(owner->elsewhere);
    }
}

/* The first of those on that port; *ret_count: how many there are. */
static const struct port_socket *find_run(const struct net_ports *ports,
                                          const struct port_socket *wanted, size_t *ret_count)
{
    const struct port_socket *end = ports->sockets + ports->count;
    const struct port_socket *first = NULL;
    if (ports->count > 0) {
        first = bsearch(wanted, ports->sockets, ports->count, sizeof(*wanted), compare_sockets);
    }
    while (first != NULL && first > ports->sockets && compare_sockets(first - 1, wanted) == 0) {
        first--;
    }
    *ret_count = 0;
    while (first != NULL && first + *ret_count < end &&
           compare_sockets(first + *ret_count, wanted) == 0) {
        ++*ret_count;
    }
    return first;
}

static bool is_open(const struct net_owner *owner, uint64_t inode)
{
    return owner->count > 0 &&
           bsearch(&inode, owner->inodes, owner->count, sizeof(inode), compare_inodes) != NULL;
}

int net_ports_has(const struct net_ports *ports, enum net_protocol protocol, uint16_t port,
                  struct net_owner *owner)
{
    if (!owner->has_begun) {
        begin(ports, owner);
    }
    const struct port_socket wanted = {.protocol = protocol, .port = port};
    size_t count = 0;
    const struct port_socket *run =
        find_run(owner->elsewhere != NULL ? owner->elsewhere : ports, &wanted, &count);
    for (size_t i = 0; i < count; i++) {
        if (owner->cgroup_id != 0 && run[i].cgroup_id == owner->cgroup_id) {
            return 1;
        }
    }
    if (count > 0 && !owner->has_walked) {
        walk(owner);
    }
    for (size_t i = 0; i < count; i++) {
        if (is_open(owner, run[i].inode)) {
            return 1;
        }
    }
    if (count > 0 && owner->elsewhere != NULL && !owner->any_asked) {
        return 1; /* who listens in a namespace of its own, and cannot be asked */
    }
    return owner->left > 0 ? 0 : -1;
}
