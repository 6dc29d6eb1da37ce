#include "edgible/check_mark.h"

#include "census.h"
#include "edgible/mem.h"
#include "proc_priv.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The loop waits for it. */
#define ENVIRON_WAIT_MS 50
/* What is killed can have forked a moment before. */
#define ROUNDS 4
#define OLD_MAX 256

void check_mark_format(int64_t number, char buf[CHECK_MARK_BYTES])
{
    (void) snprintf(buf, CHECK_MARK_BYTES, "%d-%" PRId64, (int) getpid(), number);
}

int64_t check_mark_of(pid_t child)
{
    static const char name[] = CHECK_MARK_NAME "=";
    int64_t wait_ms = ENVIRON_WAIT_MS;
    size_t len = 0;
    CLEANUP(free) char *data = proc_read_environ(child, &wait_ms, &len);
    for (const char *at = data; data != NULL && at < data + len; at += strlen(at) + 1) {
        if (strncmp(at, name, sizeof(name) - 1) == 0) {
            char *end = NULL;
            long agent = strtol(at + sizeof(name) - 1, &end, 10);
            return agent == getpid() && *end == '-' ? strtoll(end + 1, NULL, 10) : -1;
        }
    }
    return -1;
}

/* Another agent of this device's name may be alive, with checks of its own. */
static bool is_old(const struct census *census, size_t position, const char *device)
{
    const struct census_cookie *cookie = census_cookie(census, position);
    if (cookie == NULL || cookie->check[0] == '\0' || strcmp(cookie->device, device) != 0) {
        return false;
    }
    pid_t agent = (pid_t) strtol(cookie->check, NULL, 10);
    size_t its = census_find_pid(census, agent);
    return agent != getpid() && (its >= census->count || !census_is_agent(census, its));
}

void check_mark_kill_old(const char *device)
{
    pid_t old[OLD_MAX];
    for (int round = 0; round < ROUNDS; round++) {
        CLEANUP(census) struct census *census = census_take(NULL);
        size_t count = 0;
        for (size_t i = 0; census != NULL && i < census->count && count < OLD_MAX; i++) {
            if (!proc_stat_is_dead(&census->procs[i]) && is_old(census, i, device)) {
                old[count++] = census->procs[i].pid;
            }
        }
        if (count == 0) {
            return;
        }
        killtree_signal_pids(census, old, count, SIGKILL, 0);
    }
}
