#include "orphan.h"

#include "killtree_priv.h"

#include <string.h>

/* How much a target's evidence says, weakest first. */
enum evidence { NO_EVIDENCE, BY_COOKIE, BY_LOG_PIPE, BY_CGROUP };

struct trial {
    const struct census *census;
    size_t position;
    const struct proc_stat *stat;
    bool by_user; /* some target that is older can run as its user */
    uid_t uid;
    const struct census_cookie *cookie; /* NULL where it cannot be read */
    uint64_t log_pipe;
};

static bool is_older(const struct trial *trial, const struct killtree_target *item)
{
    return item->leader > 0 && killtree_can_make(item, trial->stat);
}

static bool is_possible_maker(const struct trial *trial, const struct killtree_target *item)
{
    return is_older(trial, item) && (!trial->by_user || killtree_can_run_as(item, trial->uid));
}

static bool is_in_cgroup(const struct trial *trial, const struct killtree_target *item)
{
    if (item->leader <= 0 || item->cgroups == NULL || item->cgroup == NULL) {
        return false;
    }
    const char *name = census_cgroup(trial->census, trial->position, item->cgroups);
    return name != NULL && strcmp(name, item->cgroup) == 0;
}

static enum evidence find_evidence(const struct trial *trial, const struct killtree_target *item)
{
    if (is_in_cgroup(trial, item)) {
        return BY_CGROUP;
    }
    /* Whoever has the pipe got it from the target, as any user. */
    if (trial->log_pipe != 0 && trial->log_pipe == item->log_pipe && is_older(trial, item)) {
        return BY_LOG_PIPE;
    }
    bool is_named = trial->cookie != NULL && is_possible_maker(trial, item) &&
                    killtree_is_named(item, trial->cookie);
    return is_named ? BY_COOKIE : NO_EVIDENCE;
}

/* Where the target alone is old enough nothing has to be read: so a fork bomb is caught up with. */
static bool has_older(const struct trial *trial, const struct killtree_target *target,
                      const struct killtree_target *others, size_t other_count)
{
    for (size_t i = 0; i < other_count; i++) {
        if (!killtree_is_same(&others[i], target) && is_older(trial, &others[i])) {
            return true;
        }
    }
    return false;
}

static bool is_by_user(const struct trial *trial, const struct killtree_target *target,
                       const struct killtree_target *others, size_t other_count)
{
    if (is_older(trial, target) && killtree_can_run_as(target, trial->uid)) {
        return true;
    }
    for (size_t i = 0; i < other_count; i++) {
        if (is_older(trial, &others[i]) && killtree_can_run_as(&others[i], trial->uid)) {
            return true;
        }
    }
    return false;
}

enum orphan_owner orphan_find_owner(const struct census *census, size_t position,
                                    const struct killtree_target *target,
                                    const struct killtree_target *others, size_t other_count)
{
    struct trial trial = {.census = census, .position = position, .stat = &census->procs[position]};
    if (is_older(&trial, target) && !has_older(&trial, target, others, other_count)) {
        return ORPHAN_OF_TARGET;
    }
    trial.cookie = census_cookie(census, position);
    trial.log_pipe = census_log_pipe(census, position);
    trial.by_user = census_read_uid(census, position, &trial.uid) &&
                    is_by_user(&trial, target, others, other_count);
    enum evidence for_target = find_evidence(&trial, target);
    enum evidence for_others = NO_EVIDENCE;
    bool has_other_maker = false;
    for (size_t i = 0; i < other_count; i++) {
        if (!killtree_is_same(&others[i], target)) {
            enum evidence found = find_evidence(&trial, &others[i]);
            for_others = found > for_others ? found : for_others;
            has_other_maker = has_other_maker || is_possible_maker(&trial, &others[i]);
        }
    }
    if (for_target != for_others) {
        return for_target > for_others ? ORPHAN_OF_TARGET : ORPHAN_OF_OTHERS;
    }
    if (!is_possible_maker(&trial, target)) {
        return ORPHAN_OF_OTHERS;
    }
    return has_other_maker ? ORPHAN_UNCLEAR : ORPHAN_OF_TARGET;
}
