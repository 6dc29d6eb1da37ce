#include "edgible/oom.h"

#include "edgible/fd.h"
#include "edgible/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VMSTAT_MAX_BYTES ((size_t) 64 * 1024)
#define RECORD_BYTES 8192
/* The log is a ring of the kernel's: no more records than this are looked at. */
#define RECORDS_MAX 65536
/* Its clock is not quite CLOCK_MONOTONIC. */
#define CLOCK_SLACK_MS 1000

int64_t oom_read_kills(void)
{
    CLEANUP(free) char *text = NULL;
    size_t len = 0;
    if (fd_read_file(AT_FDCWD, "/proc/vmstat", VMSTAT_MAX_BYTES, &text, &len, NULL) < 0) {
        return -1;
    }
    const char *line = strstr(text, "\noom_kill ");
    return line != NULL ? strtoll(line + strlen("\noom_kill "), NULL, 10) : -1;
}

/* "4,1234,98765432,-;Memory cgroup out of memory: Killed process 4711 (name) …". */
static bool tells_of(const char *record, pid_t pid, mono_ms since)
{
    char what[48];
    const char *text = strchr(record, ';');
    const char *sequence = strchr(record, ',');
    const char *at = sequence != NULL ? strchr(sequence + 1, ',') : NULL;
    if (text == NULL || at == NULL || at > text) {
        return false;
    }
    long long at_us = strtoll(at + 1, NULL, 10);
    (void) snprintf(what, sizeof(what), "Killed process %d (", (int) pid);
    return at_us / 1000 + CLOCK_SLACK_MS >= since && strstr(text, what) != NULL;
}

bool oom_has_killed(pid_t pid, mono_ms since)
{
    char record[RECORD_BYTES + 1];
    CLEANUP(close_fd) int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    for (int i = 0; fd >= 0 && i < RECORDS_MAX; i++) {
        ssize_t n = read(fd, record, RECORD_BYTES);
        if (n < 0 && errno == EPIPE) {
            continue; /* the ring went on meanwhile */
        }
        if (n <= 0) {
            return false;
        }
        record[n] = '\0';
        if (tells_of(record, pid, since)) {
            return true;
        }
    }
    return false;
}
