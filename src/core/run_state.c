#include "edgible/run_state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TIME INT64_C(9007199254740991) /* 2^53 - 1, up to which JSON's numbers are exact */

void run_end_fini(struct run_end *end)
{
    free(steal_ptr(&end->start_error));
    free(steal_ptr(&end->start_stage));
    free(steal_ptr(&end->unhealthy));
    strv_fini(&end->tail);
}

void run_state_fini(struct run_state *state)
{
    free(steal_ptr(&state->boot_id));
    free(steal_ptr(&state->pidfd_inode));
    free(steal_ptr(&state->pipe_inode));
    run_end_fini(&state->end);
    run_end_fini(&state->before);
}

void cleanup_run_state(struct run_state *state)
{
    run_state_fini(state);
}

static const char *const end_names[] = {
    [WL_END_CLEAN] = "clean",
    [WL_END_ERROR] = "error",
    [WL_END_FAULT] = "fault",
    [WL_END_HOST_FAULT] = "host-fault",
};

static struct json *fsm_to_json(const struct wl_fsm *fsm)
{
    struct json *json = json_object();
    json_set_string(json, "state", wl_state_name(fsm->state));
    json_set_bool(json, "wanted", fsm->wanted);
    json_set_bool(json, "leaderExited", fsm->leader_exited);
    json_set_bool(json, "judged", fsm->judged);
    json_set_bool(json, "termLeftSent", fsm->term_left_sent);
    json_set_string(json, "end", end_names[fsm->end]);
    json_set_int(json, "startedAtMs", fsm->started_at);
    json_set_int(json, "endedAtMs", fsm->ended_at);
    json_set_int(json, "deadlineMs", fsm->deadline);
    json_set_int(json, "graceEndMs", fsm->grace_end);
    json_set_int(json, "killingSinceMs", fsm->killing_since);
    json_set_int(json, "doublings", fsm->delay_n);
    json_set_int(json, "rapidFailures", fsm->rapid_failures);
    json_set_int(json, "hostTries", fsm->host_tries);
    json_set_int(json, "restarts", fsm->restarts);
    return json;
}

static struct json *process_to_json(const struct run_state *state)
{
    struct json *json = json_object();
    json_set_int(json, "pid", state->pid);
    json_set_int(json, "pgid", state->pid);
    json_set_int(json, "startTicks", state->start_ticks);
    json_set_string(json, "pidfdInode", state->pidfd_inode);
    json_set_int(json, "uid", state->uid);
    json_set_string(json, "logPipeInode", state->pipe_inode);
    if (state->log_fd >= 0) {
        json_set_int(json, "logFd", state->log_fd);
    }
    json_set_bool(json, "inCgroup", state->in_cgroup);
    json_set_bool(json, "healthy", state->is_healthy);
    return json;
}

static struct json *end_to_json(const struct run_end *end)
{
    struct json *json = json_object();
    json_set_int(json, "atUnixMs", end->at_unix_ms);
    json_set_int(json, "uptimeMs", end->uptime_ms);
    json_set_bool(json, "known", end->is_known);
    json_set_bool(json, "signaled", end->is_signal);
    json_set_bool(json, "coreDumped", end->core_dumped);
    json_set_bool(json, "oomKilled", end->oom_killed);
    json_set_int(json, "code", end->code);
    if (end->fault_stage >= 0) {
        json_set_int(json, "faultStage", end->fault_stage);
        json_set_int(json, "faultErrno", end->fault_errno);
    }
    json_set_string(json, "startError", end->start_error);
    json_set_string(json, "startStage", end->start_stage);
    json_set_int(json, "startErrno", end->start_errno);
    json_set_string(json, "unhealthy", end->unhealthy);
    if (end->tail.count > 0) {
        json_set_strings(json, "output", &end->tail);
    }
    return json;
}

char *run_state_text(const struct run_state *state)
{
    CLEANUP(json) struct json *json = state_doc_new();
    json_set_string(json, "bootId", state->boot_id);
    json_set(json, "machine", fsm_to_json(&state->fsm));
    if (state->pid != 0) {
        json_set(json, "process", process_to_json(state));
    }
    json_set_int(json, "run", state->run);
    json_set_int(json, "startedUnixMs", state->started_unix_ms);
    if (state->started_boot_ms != 0) {
        json_set_int(json, "startedBootMs", state->started_boot_ms);
    }
    if (state->end.at_unix_ms != 0) {
        json_set(json, "lastExit", end_to_json(&state->end));
    }
    if (state->before.at_unix_ms != 0) {
        json_set(json, "exitBefore", end_to_json(&state->before));
    }
    return json_text(json);
}

/* --- reading -----------------------------------------------------------------------------------
 */

/* The index of a scalar among names. */
static int read_word(struct doc_reader *reader, const struct doc_spot *spot,
                     const char *const *names, size_t count)
{
    const char *text = docread_text(reader, spot);
    for (size_t i = 0; text != NULL && i < count; i++) {
        if (strcmp(names[i], text) == 0) {
            return (int) i;
        }
    }
    if (text != NULL) {
        docread_error(reader, spot, "'%.40s' is not known", text);
    }
    return -1;
}

static void read_state(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    const char *names[WL_STATE_COUNT];
    for (int i = 0; i < WL_STATE_COUNT; i++) {
        names[i] = wl_state_name((enum wl_state) i);
    }
    int found = read_word(reader, spot, names, WL_STATE_COUNT);
    enum wl_state *ret = target;
    *ret = found >= 0 ? (enum wl_state) found : *ret;
}

static void read_end_kind(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    int found = read_word(reader, spot, end_names, ARRAY_LEN(end_names));
    enum wl_end *ret = target;
    *ret = found >= 0 ? (enum wl_end) found : *ret;
}

static void read_count(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    int64_t value = 0;
    unsigned *ret = target;
    docread_int(reader, spot, &value);
    *ret = (unsigned) value;
}

static void read_decimal(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    const char *text = docread_text(reader, spot);
    char **ret = target;
    if (text != NULL && (strlen(text) > 20 || text[strspn(text, "0123456789")] != '\0')) {
        docread_error(reader, spot, "'%.40s' is not a number", text);
    } else if (text != NULL) {
        free(*ret);
        *ret = xstrdup(text);
    }
}

/* Lines may be empty, which docread_strings() does not take. */
static void read_lines(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    if (!docread_is_list(reader, spot, 100)) {
        return;
    }
    for (size_t i = 0; i < spot->node->count; i++) {
        const struct doc_node *item = spot->node->items[i];
        strv_add(target, item->kind == DOC_SCALAR ? item->value : "");
    }
}

#define TIME_FIELD(type, member, key) DOC_FIELD(type, member, key, docread_int, .max = MAX_TIME)
#define COUNT_FIELD(member, key)                                                                   \
    DOC_FIELD(struct wl_fsm, member, key, read_count, .max = UINT32_MAX)

static void read_machine(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct wl_fsm, state, "state", read_state, .is_required = true),
        DOC_FIELD(struct wl_fsm, wanted, "wanted", docread_bool, .is_required = true),
        DOC_FIELD(struct wl_fsm, leader_exited, "leaderExited", docread_bool),
        DOC_FIELD(struct wl_fsm, judged, "judged", docread_bool),
        DOC_FIELD(struct wl_fsm, term_left_sent, "termLeftSent", docread_bool),
        DOC_FIELD(struct wl_fsm, end, "end", read_end_kind),
        TIME_FIELD(struct wl_fsm, started_at, "startedAtMs"),
        TIME_FIELD(struct wl_fsm, ended_at, "endedAtMs"),
        TIME_FIELD(struct wl_fsm, deadline, "deadlineMs"),
        TIME_FIELD(struct wl_fsm, grace_end, "graceEndMs"),
        TIME_FIELD(struct wl_fsm, killing_since, "killingSinceMs"),
        COUNT_FIELD(delay_n, "doublings"),
        COUNT_FIELD(rapid_failures, "rapidFailures"),
        COUNT_FIELD(host_tries, "hostTries"),
        COUNT_FIELD(restarts, "restarts"),
        DOC_FIELDS_END,
    };
    docread_mapping(reader, spot, fields, target);
}

static void read_process(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct run_state, pid, "pid", docread_int, .is_required = true, .min = 2,
                  .max = INT32_MAX),
        DOC_FIELD_OF_ALL("pgid", docread_any),
        DOC_FIELD(struct run_state, start_ticks, "startTicks", docread_int, .is_required = true,
                  .max = MAX_TIME),
        DOC_FIELD(struct run_state, pidfd_inode, "pidfdInode", read_decimal),
        DOC_FIELD(struct run_state, uid, "uid", docread_int, .is_required = true,
                  .max = UINT32_MAX),
        DOC_FIELD(struct run_state, pipe_inode, "logPipeInode", read_decimal),
        DOC_FIELD(struct run_state, log_fd, "logFd", docread_int, .max = INT32_MAX),
        DOC_FIELD(struct run_state, in_cgroup, "inCgroup", docread_bool),
        DOC_FIELD(struct run_state, is_healthy, "healthy", docread_bool),
        DOC_FIELDS_END,
    };
    docread_mapping(reader, spot, fields, target);
}

static void read_last_exit(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        TIME_FIELD(struct run_end, at_unix_ms, "atUnixMs"),
        TIME_FIELD(struct run_end, uptime_ms, "uptimeMs"),
        DOC_FIELD(struct run_end, is_known, "known", docread_bool),
        DOC_FIELD(struct run_end, is_signal, "signaled", docread_bool),
        DOC_FIELD(struct run_end, core_dumped, "coreDumped", docread_bool),
        DOC_FIELD(struct run_end, oom_killed, "oomKilled", docread_bool),
        DOC_FIELD(struct run_end, code, "code", docread_int, .max = 255),
        DOC_FIELD(struct run_end, fault_stage, "faultStage", docread_int, .max = 100),
        DOC_FIELD(struct run_end, fault_errno, "faultErrno", docread_int, .max = 4095),
        DOC_FIELD(struct run_end, start_error, "startError", docread_string),
        DOC_FIELD(struct run_end, start_stage, "startStage", docread_string),
        DOC_FIELD(struct run_end, unhealthy, "unhealthy", docread_string),
        DOC_FIELD(struct run_end, start_errno, "startErrno", docread_int, .max = 4095),
        DOC_FIELD(struct run_end, tail, "output", read_lines),
        DOC_FIELDS_END,
    };
    docread_mapping(reader, spot, fields, target);
}

enum state_doc_result run_state_read(const char *name, const char *text, size_t len,
                                     struct run_state *state, struct err *err)
{
    static const struct doc_field fields[] = {
        DOC_FIELD_OF_ALL("version", docread_any),
        DOC_FIELD(struct run_state, boot_id, "bootId", docread_string, .is_required = true),
        DOC_FIELD(struct run_state, fsm, "machine", read_machine, .is_required = true),
        DOC_FIELD_OF_ALL("process", read_process),
        DOC_FIELD(struct run_state, run, "run", docread_int, .max = MAX_TIME),
        TIME_FIELD(struct run_state, started_unix_ms, "startedUnixMs"),
        TIME_FIELD(struct run_state, started_boot_ms, "startedBootMs"),
        DOC_FIELD(struct run_state, end, "lastExit", read_last_exit),
        DOC_FIELD(struct run_state, before, "exitBefore", read_last_exit),
        DOC_FIELDS_END,
    };
    state->log_fd = -1;
    state->end.fault_stage = -1;
    state->before.fault_stage = -1;
    enum state_doc_result result = state_doc_read(name, text, len, fields, state, err);
    if (result != STATE_DOC_READ) {
        return result;
    }
    state->fsm.alive = state->pid != 0;
    if (!wl_fsm_uses_deadline(&state->fsm)) {
        state->fsm.deadline = 0; /* an earlier version could leave one there */
    }
    const char *broken = wl_fsm_broken(&state->fsm);
    if (broken != NULL) {
        (void) err_set(err, ERR_SPEC, "'%s' describes no state: %s", name, broken);
        return STATE_DOC_CORRUPT;
    }
    return STATE_DOC_READ;
}
