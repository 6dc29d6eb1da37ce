/*
 * workload run FOLDER SLOT [KEY=VALUE]…: what tests/bench/soak deploys. It prints numbered lines
 * "SLOT RUN NUMBER xxx." of one length, each with one write, and keeps count of them in the mapped
 * file FOLDER/SLOT@RUN, which tells after any end how many lines there have to be in its log.
 *
 *   every=MS  a line so often       burst=N    lines at the start     bytes=N  length of a line
 *   mute=N    closes its output after N lines  stubborn=1  ignores SIGTERM
 *   daemons=N forks that leave its session     children=N  forks that stay in its group
 *   exit=CODE or signal=NUMBER, after=MS       how and when it ends
 *   port=N    answers HTTP on 127.0.0.1        sick=FILE   with 500 while FILE exists
 *
 * workload probe FILE: fails while FILE exists; an exec health check.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KIDS_MAX 32
#define LINE_MAX_BYTES 4096 /* PIPE_BUF: one write is one piece */

/* Read by soaklib/runs.py. */
struct record {
    uint64_t begun; /* lines that a write was begun for */
    uint64_t written;
    int64_t first_ns, last_ns, ended_ns; /* CLOCK_MONOTONIC; ended: it ended by itself */
    int32_t pid, kid_count, line_bytes;
    int32_t kids[KIDS_MAX];
};

struct options {
    long every, burst, bytes, mute, stubborn, daemons, children, exit, signal, after, port;
    const char *sick;
};

static struct record *record;
static char run_name[64];
static const char *slot;

static int64_t now_ns(void)
{
    struct timespec ts;
    (void) clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int open_record(const char *folder, long line_bytes)
{
    char temporary[512];
    char path[512];
    int64_t now = now_ns();
    (void) snprintf(run_name, sizeof(run_name), "%d-%lld", (int) getpid(), (long long) now);
    (void) snprintf(temporary, sizeof(temporary), "%s/.%s", folder, run_name);
    (void) snprintf(path, sizeof(path), "%s/%s@%s", folder, slot, run_name);
    int fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0 || ftruncate(fd, sizeof(*record)) < 0) {
        return -1;
    }
    record = mmap(NULL, sizeof(*record), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void) close(fd);
    if (record == MAP_FAILED) {
        return -1;
    }
    record->pid = (int32_t) getpid();
    record->line_bytes = (int32_t) line_bytes;
    record->first_ns = now;
    record->last_ns = now;
    return rename(temporary, path);
}

static bool parse_option(struct options *o, const char *word)
{
    const struct {
        const char *key;
        long *value;
    } numbers[] = {
        {"every=",    &o->every   },
        {"burst=",    &o->burst   },
        {"bytes=",    &o->bytes   },
        {"mute=",     &o->mute    },
        {"stubborn=", &o->stubborn},
        {"daemons=",  &o->daemons },
        {"children=", &o->children},
        {"exit=",     &o->exit    },
        {"signal=",   &o->signal  },
        {"after=",    &o->after   },
        {"port=",     &o->port    },
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        size_t len = strlen(numbers[i].key);
        if (strncmp(word, numbers[i].key, len) == 0) {
            *numbers[i].value = strtol(word + len, NULL, 10);
            return true;
        }
    }
    if (strncmp(word, "sick=", 5) == 0) {
        o->sick = word + 5;
        return true;
    }
    return false;
}

/* --- what it forks ----------------------------------------------------------------------- */

static _Noreturn void live_as_kid(void)
{
    int32_t number = __atomic_fetch_add(&record->kid_count, 1, __ATOMIC_SEQ_CST);
    if (number < KIDS_MAX) {
        record->kids[number] = (int32_t) getpid();
    }
    for (;;) {
        (void) pause();
    }
}

static void start_daemon(void)
{
    pid_t middle = fork();
    if (middle == 0) {
        (void) setsid();
        if (fork() == 0) {
            live_as_kid();
        }
        _exit(0);
    }
    (void) waitpid(middle, NULL, 0);
}

static void start_kids(const struct options *o)
{
    for (long i = 0; i < o->daemons; i++) {
        start_daemon();
    }
    for (long i = 0; i < o->children; i++) {
        if (fork() == 0) {
            live_as_kid();
        }
    }
}

/* --- its lines ------------------------------------------------------------------------------ */

static void write_line(const struct options *o)
{
    char line[LINE_MAX_BYTES];
    if (o->mute > 0 && record->written >= (uint64_t) o->mute) {
        (void) close(STDOUT_FILENO);
        (void) close(STDERR_FILENO);
        return;
    }
    size_t len = (size_t) o->bytes;
    int head = snprintf(line, sizeof(line), "%s %s %llu ", slot, run_name,
                        (unsigned long long) record->begun + 1);
    memset(line + head, 'x', len - (size_t) head);
    line[len - 2] = '.';
    line[len - 1] = '\n';
    record->last_ns = now_ns();
    record->begun++;
    if (write(STDOUT_FILENO, line, len) == (ssize_t) len) {
        record->written++;
    }
    record->last_ns = now_ns();
}

/* --- its port --------------------------------------------------------------------------------- */

static int listen_at(long port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t) port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *) &address, sizeof(address)) < 0 || listen(fd, 16) < 0) {
        perror("cannot listen");
        _exit(9);
    }
    return fd;
}

static void answer(int listener, const char *sick)
{
    char request[2048];
    bool is_sick = sick != NULL && access(sick, F_OK) == 0;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    struct timeval patience = {.tv_sec = 1};
    (void) setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (read(fd, request, sizeof(request)) > 0) {
        (void) dprintf(fd, "HTTP/1.0 %s\r\nContent-Length: 0\r\n\r\n",
                       is_sick ? "500 Sick" : "200 OK");
    }
    (void) close(fd);
}

/* --- its life ---------------------------------------------------------------------------- */

static void end_if_due(const struct options *o)
{
    if (o->after == 0 || now_ns() - record->first_ns < o->after * 1000000) {
        return;
    }
    record->ended_ns = now_ns();
    if (o->signal != 0) {
        (void) signal((int) o->signal, SIG_DFL);
        (void) raise((int) o->signal);
    }
    _exit((int) o->exit);
}

static _Noreturn void live(const struct options *o)
{
    start_kids(o);
    struct pollfd listener = {.fd = -1, .events = POLLIN};
    if (o->port > 0) {
        listener.fd = listen_at(o->port);
    }
    for (long i = 0; i < o->burst; i++) {
        write_line(o);
    }
    int64_t next_line = now_ns();
    for (;;) {
        if (now_ns() >= next_line) {
            write_line(o);
            next_line = now_ns() + o->every * 1000000;
        }
        int64_t wait_ms = (next_line - now_ns()) / 1000000 + 1;
        if (o->after > 0 && wait_ms > 10) {
            wait_ms = 10;
        }
        if (poll(&listener, 1, (int) wait_ms) > 0) {
            answer(listener.fd, o->sick);
        }
        end_if_due(o);
    }
}

int main(int argc, char **argv)
{
    struct options o = {.every = 100, .bytes = 100};
    if (argc == 3 && strcmp(argv[1], "probe") == 0) {
        return access(argv[2], F_OK) == 0 ? 1 : 0;
    }
    if (argc < 4 || strcmp(argv[1], "run") != 0) {
        return 2;
    }
    slot = argv[3];
    for (int i = 4; i < argc; i++) {
        if (!parse_option(&o, argv[i])) {
            return 2;
        }
    }
    if (o.bytes < 100 || o.bytes > LINE_MAX_BYTES) {
        return 2;
    }
    if (o.stubborn != 0) {
        (void) signal(SIGTERM, SIG_IGN);
    }
    if (open_record(argv[2], o.bytes) < 0) {
        perror("cannot keep count");
        return 8;
    }
    live(&o);
}
