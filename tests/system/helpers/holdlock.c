/*
 * holdlock FUSE FOLDER PIDFILE [output]: leaves a daemon that holds the lock of its own memory for
 * ever, so that nobody can read its environment, and lives on beside it. The lock waits for a page
 * of a file on a file system that never answers a read: FUSE is a node of /dev/fuse, FOLDER is
 * where it is mounted, for the daemon alone. Writes the daemon's pid to PIDFILE once it holds the
 * lock. Exits with 77 where it may not mount. With `output` it is the lock of its standard output,
 * a pipe, that it holds: nobody can read from it, open or close it.
 */
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096

static _Atomic int is_held;

static void *map_page(int fd, int flags)
{
    return mmap(NULL, PAGE, PROT_READ, flags, fd, 0);
}

static void answer(int fd, const struct fuse_in_header *to, const void *data, size_t len, int error)
{
    char out[512];
    struct fuse_out_header head = {
        .len = (uint32_t) (sizeof(head) + len), .error = -error, .unique = to->unique};
    memcpy(out, &head, sizeof(head));
    memcpy(out + sizeof(head), data, len);
    (void) !write(fd, out, head.len);
}

static struct fuse_attr attributes_of(uint64_t node)
{
    return (struct fuse_attr){.ino = node,
                              .mode = node == 1 ? S_IFDIR | 0755 : S_IFREG | 0666,
                              .nlink = 1,
                              .size = node == 1 ? 0 : PAGE,
                              .blksize = PAGE};
}

/* Answers what an open and an mmap ask for. A read is never answered. */
static void answer_request(int fd, const struct fuse_in_header *head)
{
    const struct fuse_init_out init = {
        .major = 7, .minor = 31, .max_write = PAGE, .max_readahead = PAGE};
    const struct fuse_entry_out entry = {
        .nodeid = 2, .attr_valid = 1000, .entry_valid = 1000, .attr = attributes_of(2)};
    const struct fuse_attr_out attr = {.attr_valid = 1000, .attr = attributes_of(head->nodeid)};
    const struct fuse_open_out opened = {0};
    switch (head->opcode) {
    case FUSE_INIT:
        answer(fd, head, &init, sizeof(init), 0);
        break;
    case FUSE_LOOKUP:
        answer(fd, head, &entry, sizeof(entry), 0);
        break;
    case FUSE_GETATTR:
        answer(fd, head, &attr, sizeof(attr), 0);
        break;
    case FUSE_OPEN:
    case FUSE_OPENDIR:
        answer(fd, head, &opened, sizeof(opened), 0);
        break;
    case FUSE_READ:
    case FUSE_FORGET:
    case FUSE_INTERRUPT:
        break;
    default:
        answer(fd, head, "", 0, 38 /* ENOSYS */);
        break;
    }
}

/* A process of its own: with its end all that waits for the file system is let go. */
static _Noreturn void serve(int fd)
{
    static union {
        struct fuse_in_header head;
        char bytes[FUSE_MIN_READ_BUFFER * 2];
    } in;
    while (read(fd, in.bytes, sizeof(in.bytes)) > 0) {
        answer_request(fd, &in.head);
    }
    _exit(1);
}

/* Reads its own memory where the page should be. */
static void *hold(void *page)
{
    char byte = 0;
    int fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    atomic_store(&is_held, 1);
    (void) !pread(fd, &byte, 1, (off_t) (uintptr_t) page);
    return NULL;
}

/* A write that begins, and never has its data. */
static void *hold_output(void *page)
{
    atomic_store(&is_held, 1);
    (void) !write(STDOUT_FILENO, page, PAGE);
    return NULL;
}

/* Readers wait behind who wants to change what is mapped. */
static void *change(void *unused)
{
    while (atomic_load(&is_held) == 0) {
        (void) usleep(1000);
    }
    (void) usleep(200000); /* from there until the read waits */
    for (;;) {
        void *page = map_page(-1, MAP_PRIVATE | MAP_ANONYMOUS);
        (void) munmap(page, PAGE);
    }
    return unused;
}

static int write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    ssize_t n = write(fd, text, strlen(text));
    return close(fd) == 0 && n == (ssize_t) strlen(text) ? 0 : -1;
}

static int become_root_of_a_namespace(void)
{
    char users[64];
    char groups[64];
    (void) snprintf(users, sizeof(users), "0 %u 1", getuid());
    (void) snprintf(groups, sizeof(groups), "0 %u 1", getgid());
    return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 &&
                   write_text("/proc/self/setgroups", "deny") == 0 &&
                   write_text("/proc/self/uid_map", users) == 0 &&
                   write_text("/proc/self/gid_map", groups) == 0
               ? 0
               : -1;
}

/* Mounts it, and maps the page of a file there; NULL where that is not possible. */
static void *map_hanging_page(const char *node, const char *folder)
{
    char options[96];
    char path[512];
    int fd = open(node, O_RDWR | O_CLOEXEC);
    (void) snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
    if (fd < 0 || mount("hanging", folder, "fuse", 0, options) < 0) {
        return NULL;
    }
    if (fork() == 0) {
        serve(fd);
    }
    (void) close(fd);
    (void) snprintf(path, sizeof(path), "%s/file", folder);
    fd = open(path, O_RDWR | O_CLOEXEC);
    void *page = fd >= 0 ? map_page(fd, MAP_SHARED) : MAP_FAILED;
    return page != MAP_FAILED ? page : NULL;
}

static _Noreturn void be_the_daemon(char **argv)
{
    char pid[32];
    pthread_t holder;
    pthread_t changer;
    (void) setsid();
    (void) snprintf(pid, sizeof(pid), "%d\n", (int) getpid());
    void *page = become_root_of_a_namespace() == 0 ? map_hanging_page(argv[1], argv[2]) : NULL;
    bool is_output = argv[4] != NULL;
    if (page == NULL || (!is_output && pthread_create(&changer, NULL, change, NULL) != 0) ||
        pthread_create(&holder, NULL, is_output ? hold_output : hold, page) != 0) {
        (void) write_text(argv[3], "0\n");
        _exit(77);
    }
    while (atomic_load(&is_held) == 0) {
        (void) usleep(1000);
    }
    (void) usleep(400000);
    (void) write_text(argv[3], pid);
    for (;;) {
        (void) pause();
    }
}

int main(int argc, char **argv)
{
    if (argc != 4 && argc != 5) {
        return 2;
    }
    pid_t middle = fork();
    if (middle == 0) {
        if (fork() == 0) {
            be_the_daemon(argv);
        }
        _exit(0);
    }
    (void) waitpid(middle, NULL, 0);
    for (;;) {
        (void) pause();
    }
}
