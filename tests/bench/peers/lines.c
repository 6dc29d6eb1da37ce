/* lines COUNT PER-MS BLOCK RESULT: writes COUNT numbered lines of 100 bytes to stdout, PER-MS of
 * them a millisecond (0: as fast as it can), in writes of BLOCK bytes: 100 is a line a write, 4096
 * what stdio does with a pipe. Then it sleeps for ever.
 *
 * RESULT.PID says at any time how far it is, also after a SIGKILL: four 64-bit numbers, the times
 * of start and end (CLOCK_MONOTONIC, ns; 0 until then), the lines whose write returned, and the
 * errno of the write that failed. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES 100
#define NUMBER_AT 11
#define DIGITS 10
#define MAX_BLOCK 65536
#define NS_PER_MS 1000000LL

struct progress {
    int64_t start_ns;
    int64_t end_ns;
    int64_t written;
    int64_t error;
};

struct writer {
    char line[LINE_BYTES + 1];
    char held[MAX_BLOCK + LINE_BYTES];
    size_t len;
    size_t block;
    int64_t bytes;
};

static int64_t now_ns(void)
{
    struct timespec ts;
    (void) clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static volatile struct progress *map_progress(const char *result)
{
    char name[4096];
    (void) snprintf(name, sizeof(name), "%s.%d", result, (int) getpid());
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || ftruncate(fd, sizeof(struct progress)) < 0) {
        return NULL;
    }
    void *map = mmap(NULL, sizeof(struct progress), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return map != MAP_FAILED ? map : NULL;
}

/* The next number in the ten digits. */
static void count_up(char *digits)
{
    for (int i = DIGITS - 1; i >= 0 && digits[i]++ == '9'; i--) {
        digits[i] = '0';
    }
}

static int write_all(const char *bytes, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = write(STDOUT_FILENO, bytes + done, len - done);
        if (n < 0 && errno != EINTR) {
            return -1;
        }
        done += n > 0 ? (size_t) n : 0;
    }
    return 0;
}

/* Adds a line to what is held, and writes each whole block; the last one of all in any case. */
static int put_line(struct writer *writer, bool last)
{
    (void) memcpy(writer->held + writer->len, writer->line, LINE_BYTES);
    writer->len += LINE_BYTES;
    count_up(writer->line + NUMBER_AT);
    size_t len = last || writer->len < writer->block ? writer->len : writer->block;
    if (!last && writer->len < writer->block) {
        return 0;
    }
    if (write_all(writer->held, len) < 0) {
        return -1;
    }
    writer->len -= len;
    (void) memmove(writer->held, writer->held + len, writer->len);
    writer->bytes += (int64_t) len;
    return 0;
}

static int write_lines(struct writer *writer, int64_t count, int64_t per_ms,
                       volatile struct progress *progress)
{
    const struct timespec pause_1ms = {.tv_nsec = NS_PER_MS};
    for (int64_t i = 0; i < count; i++) {
        while (per_ms > 0 && i / per_ms > (now_ns() - progress->start_ns) / NS_PER_MS) {
            (void) nanosleep(&pause_1ms, NULL);
        }
        if (put_line(writer, i == count - 1) < 0) {
            return -1;
        }
        progress->written = writer->bytes / LINE_BYTES;
    }
    return 0;
}

int main(int argc, char **argv)
{
    static struct writer writer;
    int64_t count = argc == 5 ? strtoll(argv[1], NULL, 10) : 0;
    int64_t per_ms = argc == 5 ? strtoll(argv[2], NULL, 10) : 0;
    writer.block = argc == 5 ? strtoul(argv[3], NULL, 10) : 0;
    bool valid = count > 0 && writer.block >= LINE_BYTES && writer.block <= MAX_BLOCK;
    volatile struct progress *progress = valid ? map_progress(argv[4]) : NULL;
    if (progress == NULL) {
        (void) fprintf(stderr, "usage: lines COUNT PER-MS BLOCK RESULT\n");
        return 2;
    }
    (void) memset(writer.line, 'x', LINE_BYTES);
    (void) snprintf(writer.line, sizeof(writer.line), "%10d %010d", (int) getpid(), 0);
    writer.line[NUMBER_AT + DIGITS] = ' ';
    writer.line[LINE_BYTES - 1] = '\n';
    progress->start_ns = now_ns();
    if (write_lines(&writer, count, per_ms, progress) < 0) {
        progress->error = errno;
        return 1;
    }
    progress->end_ns = now_ns();
    for (;;) {
        (void) pause();
    }
}
