#include "edgible/host.h"

#include "edgible/fd.h"
#include "edgible/mem.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#define MAX_PROC_FILE_BYTES (64UL * 1024)

/* The number of KiB behind "Name:" in /proc/meminfo, as bytes. */
static int64_t take_bytes(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at != NULL ? strtoll(at + strlen(name), NULL, 10) * 1024 : -1;
}

struct host_load host_read_load(const char *path)
{
    struct host_load load = {.load1_thousandths = -1,
                             .memory_bytes = -1,
                             .memory_available_bytes = -1,
                             .disk_free_bytes = -1};
    CLEANUP(free) char *memory = NULL;
    CLEANUP(free) char *average = NULL;
    struct statvfs disk;
    size_t len = 0;
    if (fd_read_file(AT_FDCWD, "/proc/meminfo", MAX_PROC_FILE_BYTES, &memory, &len, NULL) == 0) {
        load.memory_bytes = take_bytes(memory, "MemTotal:");
        load.memory_available_bytes = take_bytes(memory, "MemAvailable:");
    }
    if (fd_read_file(AT_FDCWD, "/proc/loadavg", MAX_PROC_FILE_BYTES, &average, &len, NULL) == 0) {
        load.load1_thousandths = (int64_t) (strtod(average, NULL) * 1000);
    }
    if (statvfs(path, &disk) == 0) {
        load.disk_free_bytes = (int64_t) (disk.f_bavail * disk.f_frsize);
    }
    return load;
}
