#include "edgible/lost.h"

#include "census.h"
#include "edgible/proc.h"
#include "proc_priv.h"

#include <stdlib.h>
#include <string.h>

/* An agent that lives has records of its own workloads. */
static bool is_child_of_an_agent(const struct census *census, size_t position)
{
    size_t parent = census_find_pid(census, census->procs[position].ppid);
    return parent < census->count && census->procs[position].ppid != census->self &&
           census_is_agent(census, parent);
}

/* The cookie of a workload's first process; NULL where it is none. */
static const struct census_cookie *find_cookie(const struct census *census, size_t position,
                                               const char *device)
{
    const struct proc_stat *stat = &census->procs[position];
    if (stat->pid <= 1 || stat->pid == census->self || stat->pid != stat->sid ||
        proc_stat_is_dead(stat) || is_child_of_an_agent(census, position)) {
        return NULL;
    }
    const struct census_cookie *cookie = census_cookie(census, position);
    bool is_named = cookie != NULL && strcmp(cookie->device, device) == 0 &&
                    cookie->check[0] == '\0' && cookie->application[0] != '\0' &&
                    cookie->workload[0] != '\0';
    return is_named ? cookie : NULL;
}

struct lost *lost_find(const char *device)
{
    struct lost *list = xcalloc(1, sizeof(*list));
    CLEANUP(census) struct census *census = census_take(NULL);
    for (size_t i = 0; census != NULL && i < census->count; i++) {
        const struct census_cookie *cookie = find_cookie(census, i, device);
        uid_t uid = 0;
        if (cookie == NULL || !census_read_uid(census, i, &uid)) {
            continue;
        }
        list->items = xrealloc(list->items, list->count + 1, sizeof(*list->items));
        list->items[list->count++] = (struct lost_process){
            .application = xstrdup(cookie->application),
            .workload = xstrdup(cookie->workload),
            .pid = census->procs[i].pid,
            .start_ticks = census->procs[i].start_ticks,
            .uid = uid,
            .log_pipe = census_log_pipe(census, i),
        };
    }
    return list;
}

const struct lost_process *lost_of(const struct lost *list, const char *application,
                                   const char *workload, uid_t uid)
{
    const struct lost_process *oldest = NULL;
    for (size_t i = 0; list != NULL && i < list->count; i++) {
        const struct lost_process *process = &list->items[i];
        if (process->uid == uid && strcmp(process->application, application) == 0 &&
            strcmp(process->workload, workload) == 0 &&
            proc_read_start_ticks(process->pid) == process->start_ticks &&
            (oldest == NULL || process->start_ticks < oldest->start_ticks)) {
            oldest = process;
        }
    }
    return oldest;
}

void lost_free(struct lost *list)
{
    for (size_t i = 0; list != NULL && i < list->count; i++) {
        free(list->items[i].application);
        free(list->items[i].workload);
    }
    if (list != NULL) {
        free(list->items);
    }
    free(list);
}
