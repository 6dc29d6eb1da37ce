#include "edgible/proc_usage.h"

#include "edgible/fd.h"
#include "edgible/mem.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define STAT_MAX_BYTES 4096

static bool read_file(pid_t pid, const char *name, char *data, size_t size)
{
    char path[64];
    (void) snprintf(path, sizeof(path), "/proc/%d/%s", (int) pid, name);
    CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, data, size - 1) : -1;
    data[n > 0 ? n : 0] = '\0';
    return n > 0;
}

/* The sum of fields 14 to 17 of /proc/PID/stat: utime, stime, and those of children waited for. The
 * name before them may hold anything, so they are counted from the last parenthesis. */
static uint64_t parse_ticks(const char *stat)
{
    const char *at = strrchr(stat, ')');
    uint64_t sum = 0;
    for (int field = 3; at != NULL && field <= 17; field++) {
        at = strchr(at, ' ');
        at = at != NULL ? at + 1 : NULL;
        if (at != NULL && field >= 14) {
            sum += strtoull(at, NULL, 10);
        }
    }
    return sum;
}

static uint64_t ticks_to_ms(uint64_t ticks)
{
    long hertz = sysconf(_SC_CLK_TCK);
    return ticks * 1000 / (uint64_t) (hertz > 0 ? hertz : 100);
}

/* The second number of /proc/PID/statm, in pages. */
static uint64_t read_resident(pid_t pid)
{
    char text[128];
    if (!read_file(pid, "statm", text, sizeof(text))) {
        return 0;
    }
    const char *space = strchr(text, ' ');
    long page = sysconf(_SC_PAGESIZE);
    return space != NULL ? strtoull(space, NULL, 10) * (uint64_t) page : 0;
}

struct proc_usage proc_usage_read(const pid_t *pids, size_t count)
{
    struct proc_usage usage = {0};
    uint64_t ticks = 0;
    for (size_t i = 0; i < count; i++) {
        char stat[STAT_MAX_BYTES];
        if (read_file(pids[i], "stat", stat, sizeof(stat))) {
            usage.processes++;
            ticks += parse_ticks(stat);
            usage.memory_bytes += read_resident(pids[i]);
        }
    }
    usage.cpu_ms = ticks_to_ms(ticks);
    return usage;
}

static uint64_t read_pss(void)
{
    CLEANUP(free) char *data = NULL;
    size_t len = 0;
    if (fd_read_file(AT_FDCWD, "/proc/self/smaps_rollup", 64UL * 1024, &data, &len, NULL) < 0) {
        return 0;
    }
    const char *line = strstr(data, "\nPss:");
    return line != NULL ? strtoull(line + strlen("\nPss:"), NULL, 10) * 1024 : 0;
}

static size_t count_open_files(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t count = 0;
    for (struct dirent *entry = dir != NULL ? readdir(dir) : NULL; entry != NULL;
         entry = readdir(dir)) {
        count += entry->d_name[0] != '.' ? 1 : 0;
    }
    if (dir != NULL) {
        (void) closedir(dir);
    }
    return count > 0 ? count - 1 : 0; /* the folder's own */
}

struct proc_self_usage proc_usage_read_self(void)
{
    struct rusage usage = {0};
    (void) getrusage(RUSAGE_SELF, &usage);
    uint64_t pss = read_pss();
    return (struct proc_self_usage){
        .memory_bytes = pss > 0 ? pss : read_resident(getpid()),
        .cpu_ms = (uint64_t) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 +
                  (uint64_t) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000,
        .open_files = count_open_files(),
    };
}
