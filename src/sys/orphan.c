#include "orphan.h"

#include "killtree_priv.h"

#include <string.h>
#include <unistd.h>

/* Kinds of evidence that a process is a target's, weakest first. */
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
    return item->leader > 0 && !item->is_foreign && killtree_can_make(item, trial->stat);
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
    /* Only the target's processes inherit the pipe, whatever user they run as later. */
    if (trial->log_pipe != 0 && trial->log_pipe == item->log_pipe && is_older(trial, item)) {
        return BY_LOG_PIPE;
    }
    bool is_named = trial->cookie != NULL && is_possible_maker(trial, item) &&
                    killtree_is_named(item, trial->cookie);
    return is_named ? BY_COOKIE : NO_EVIDENCE;
}

/* True where is_it() holds for one of the others. */
static bool has_other(const struct trial *trial, const struct killtree_target *target,
                      const struct killtree_target *others, size_t other_count,
                      bool (*is_it)(const struct trial *, const struct killtree_target *))
{
    for (size_t i = 0; i < other_count; i++) {
        if (is_it(trial, &others[i]) && !killtree_is_same(&others[i], target)) {
            return true;
        }
    }
    return false;
}

static bool is_older_and_of_user(const struct trial *trial, const struct killtree_target *item)
{
    return is_older(trial, item) && killtree_can_run_as(item, trial->uid);
}

/* Who may write to the groups, which are the agent's user's, can move its processes to others'. */
static bool can_have_moved(const struct killtree_target *target, enum evidence for_target)
{
    return for_target == BY_LOG_PIPE && killtree_can_run_as(target, geteuid());
}

/* Searches once for all targets, and again only where the target that was found has gone. */
static const struct census_witness *
find_witness(const struct trial *trial, const struct killtree_target *others, size_t other_count)
{
    struct census_witness *witness = census_witness(trial->census, trial->position);
    bool is_known = witness->among == others && witness->among_count == other_count;
    if (is_known &&
        (witness->strength == NO_EVIDENCE || others[witness->index].leader == witness->leader)) {
        return witness;
    }
    *witness = (struct census_witness){.among = others, .among_count = other_count};
    for (size_t i = 0; i < other_count; i++) {
        int found = (int) find_evidence(trial, &others[i]);
        if (found > witness->strength) {
            witness->strength = found;
            witness->index = i;
            witness->leader = others[i].leader;
        }
    }
    return witness;
}

enum orphan_owner orphan_find_owner(const struct census *census, size_t position,
                                    const struct killtree_target *target,
                                    const struct killtree_target *others, size_t other_count)
{
    struct trial trial = {.census = census, .position = position, .stat = &census->procs[position]};
    /* Where only the target is old enough, nothing is read: this keeps pace with a fork bomb. */
    if (is_older(&trial, target) && !has_other(&trial, target, others, other_count, is_older)) {
        return ORPHAN_OF_TARGET;
    }
    trial.cookie = census_cookie(census, position);
    trial.log_pipe = census_log_pipe(census, position);
    trial.by_user = census_read_uid(census, position, &trial.uid) &&
                    (is_older_and_of_user(&trial, target) ||
                     has_other(&trial, target, others, other_count, is_older_and_of_user));
    enum evidence for_target = find_evidence(&trial, target);
    const struct census_witness *best = find_witness(&trial, others, other_count);
    bool is_for_others =
        best->strength != NO_EVIDENCE && !killtree_is_same(&others[best->index], target);
    if (is_for_others && best->strength >= (int) for_target &&
        !can_have_moved(target, for_target)) {
        return ORPHAN_OF_OTHERS;
    }
    if (for_target != NO_EVIDENCE) {
        return ORPHAN_OF_TARGET;
    }
    if (!is_possible_maker(&trial, target)) {
        return ORPHAN_OF_OTHERS;
    }
    return has_other(&trial, target, others, other_count, is_possible_maker) ? ORPHAN_UNCLEAR
                                                                             : ORPHAN_OF_TARGET;
}
