/* logfile: reading back the last lines of a run. */
#include "edgible/fd.h"
#include "edgible/pump.h"
#include "logfile_private.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Reads the last len bytes of fd's first size; returns how many it got. */
static size_t read_end(int fd, uint64_t size, size_t len, char *to)
{
    ssize_t n = pread(fd, to, len, (off_t) (size - len));
    return n == (ssize_t) len ? len : 0;
}

/* The last `want` bytes of the file rotated last. */
static size_t read_rotated_entered(const struct logfile *lf, uint64_t want, char *to)
{
    CLEANUP(close_fd) int dir = -1;
    if (logfile_open_dir(lf, false, &dir, NULL) < 0) {
        return 0;
    }
    CLEANUP(free) char *name = logfile_rotated_name(lf, 1);
    CLEANUP(close_fd)
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_ino != lf->rotated_ino ||
        (uint64_t) st.st_size < want) {
        return 0;
    }
    return read_end(fd, (uint64_t) st.st_size, (size_t) want, to);
}

static size_t read_rotated(const struct logfile *lf, size_t max, char *to)
{
    uint64_t want = lf->rotated_run_bytes < max ? lf->rotated_run_bytes : max;
    struct log_owner_before before;
    if (want == 0 || log_owner_enter(&lf->owner, &before, NULL) < 0) {
        return 0;
    }
    size_t len = read_rotated_entered(lf, want, to);
    log_owner_leave(&before);
    return len;
}

/* The lines of text, at most PUMP_TAIL_LINES of the last ones. */
static void add_lines(const char *text, size_t len, struct strv *lines)
{
    const char *end = text + len;
    const char *begin = end;
    for (int count = 0; count < PUMP_TAIL_LINES && begin > text; count++) {
        const char *line_end = memrchr(text, '\n', (size_t) (begin - 1 - text));
        begin = line_end != NULL ? line_end + 1 : text;
    }
    while (begin < end) {
        const char *line_end = memchr(begin, '\n', (size_t) (end - begin));
        size_t line_len = (size_t) ((line_end != NULL ? line_end : end) - begin);
        char *line = xmalloc(line_len + 1);
        memcpy(line, begin, line_len);
        for (char *nul = line;
             (nul = memchr(nul, '\0', (size_t) (line + line_len - nul))) != NULL;) {
            *nul = '?';
        }
        line[line_len] = '\0';
        strv_add_take(lines, line);
        begin += line_len + 1;
    }
}

void logfile_tail(const struct logfile *lf, struct strv *lines)
{
    char text[PUMP_TAIL_BYTES];
    if (lf->fd < 0) {
        return;
    }
    uint64_t in_file = lf->run_bytes < lf->size ? lf->run_bytes : lf->size;
    size_t here = in_file < sizeof(text) ? (size_t) in_file : sizeof(text);
    size_t there = 0;
    if (here < sizeof(text)) {
        there = read_rotated(lf, sizeof(text) - here, text);
    }
    size_t len = there + read_end(lf->fd, lf->size, here, text + there);
    const char *begin = text;
    /* Where it is cut off, the first line is not whole. */
    if (len == sizeof(text) && lf->run_bytes + lf->rotated_run_bytes > len) {
        const char *line_end = memchr(text, '\n', len - 1);
        begin = line_end != NULL ? line_end + 1 : text;
    }
    add_lines(begin, (size_t) (text + len - begin), lines);
}
