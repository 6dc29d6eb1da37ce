#include "device_name.h"

#include "edgible/fd.h"
#include "edgible/log.h"
#include "edgible/statedir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECORD "device-name"

/* The name in the record; NULL where there is none that can be used. The caller frees. */
static char *read_record(const char *state_dir)
{
    CLEANUP(free) char *path = xasprintf("%s/" RECORD, state_dir);
    CLEANUP(free) char *text = NULL;
    size_t len = 0;
    struct stat st;
    CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
        (st.st_uid != 0 && st.st_uid != geteuid()) ||
        fd_read_all(fd, HOST_NAME_MAX + 1, &text, &len, NULL) < 0) {
        return NULL;
    }
    text[strcspn(text, "\n")] = '\0';
    for (const char *c = text; *c != '\0'; c++) {
        if (*c <= ' ' || *c == '/' || *c == '\x7f') {
            return NULL;
        }
    }
    return text[0] != '\0' ? steal_ptr(&text) : NULL;
}

/* What a host is called that has no name yet. */
static bool is_placeholder(const char *name)
{
    return strcmp(name, "localhost") == 0 || strcmp(name, "localhost.localdomain") == 0 ||
           strcmp(name, "(none)") == 0 || name[0] == '\0';
}

void device_name_restore(struct config *config)
{
    char *kept = config->is_device_named ? NULL : read_record(config->state_dir);
    if (kept != NULL) {
        free(config->device_name);
        config->device_name = kept;
    }
}

static int write_record(const struct config *config, struct err *err)
{
    CLEANUP(close_fd) int dir = open(config->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        return err_set(err, errno, "open '%s'", config->state_dir);
    }
    CLEANUP(free) char *text = xasprintf("%s\n", config->device_name);
    return statedir_write_file(dir, RECORD, text, strlen(text), 0600, true, err);
}

void device_name_keep(const struct config *config)
{
    struct err err = {0};
    char text[ERR_MSG_MAX];
    char host[HOST_NAME_MAX + 1] = "";
    if (config->is_device_named) {
        return;
    }
    (void) gethostname(host, sizeof(host) - 1);
    CLEANUP(free) char *kept = read_record(config->state_dir);
    if (kept != NULL && strcmp(kept, host) != 0) {
        log_warn("agent",
                 "this device keeps the name '%s' of its first start, and the host name is '%s': "
                 "set device.name, or remove '%s/" RECORD "' and restart, to change it",
                 kept, host, config->state_dir);
    } else if (kept == NULL && !is_placeholder(config->device_name) &&
               write_record(config, &err) < 0) {
        log_warn("agent", "the device's name is not kept, and changes with the host name: %s",
                 err_text(&err, text, sizeof(text)));
    }
}
