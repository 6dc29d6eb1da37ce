#include "edgible/admission.h"

#include "edgible/buf.h"
#include "edgible/creds.h"
#include "edgible/doc_path.h"
#include "edgible/fd.h"
#include "edgible/logfile.h"
#include "edgible/policy.h"
#include "edgible/sandbox.h"
#include "edgible/spawn.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define CHECK_MIN_INTERVAL_MS 100

/* --- for whom it is ------------------------------------------------------------------------------
 */

char *admission_not_for_device(const struct config *config, const struct app_spec *app)
{
    if (app->organization != NULL && config->organization != NULL &&
        strcmp(app->organization, config->organization) != 0) {
        return xasprintf("it is of organization '%s', this device of '%s'", app->organization,
                         config->organization);
    }
    if (app->device_name != NULL && strcmp(app->device_name, config->device_name) != 0) {
        return xasprintf("it is for the device '%s', this one is '%s'", app->device_name,
                         config->device_name);
    }
    const char *id = config->device_id != NULL ? config->device_id : "";
    if (app->device_id != NULL && strcmp(app->device_id, id) != 0) {
        return xasprintf("it is for the device with id '%s', this one's is '%s'", app->device_id,
                         id);
    }
    return NULL;
}

/* Times that a document may ask for, as far as the policy lets it. They are changed and not
 * refused: a workload works with another one as well. */
static void hold_times(const struct policy_config *policy, struct workload_spec *workload)
{
    struct restart_policy *restart = &workload->restart;
    if (policy->max_grace_ms != UNSET && workload->stop.grace_ms > policy->max_grace_ms) {
        workload->stop.grace_ms = policy->max_grace_ms;
    }
    if (policy->min_restart_delay_ms == UNSET) {
        return;
    }
    if (restart->initial_delay_ms < policy->min_restart_delay_ms) {
        restart->initial_delay_ms = policy->min_restart_delay_ms;
    }
    if (restart->max_delay_ms < restart->initial_delay_ms) {
        restart->max_delay_ms = restart->initial_delay_ms;
    }
    if (restart->retry_failed_after_ms > 0 &&
        restart->retry_failed_after_ms < policy->min_restart_delay_ms) {
        restart->retry_failed_after_ms = policy->min_restart_delay_ms;
    }
}

/* A check costs about what a start does, where it runs a program; and some in any case. */
static void hold_check(const struct policy_config *policy, struct health_check *health)
{
    mono_ms least = CHECK_MIN_INTERVAL_MS;
    if (health->kind == HEALTH_EXEC && policy->min_restart_delay_ms > least) {
        least = policy->min_restart_delay_ms;
    }
    if (health->kind != HEALTH_NONE && health->interval_ms < least) {
        health->interval_ms = least;
    }
}

struct app_spec *admission_complete(const struct config *config, const struct app_spec *app)
{
    struct app_spec *complete = app_spec_copy(app);
    for (size_t i = 0; i < complete->workload_count; i++) {
        workload_spec_apply_defaults(&complete->workloads[i], &config->defaults);
        hold_check(&config->policy, &complete->workloads[i].health);
        if (config->policy.present) {
            hold_times(&config->policy, &complete->workloads[i]);
        }
    }
    return complete;
}

/* --- words ---------------------------------------------------------------------------------------
 */

/* Of one document, as of its errors (diag.h). */
#define VIOLATIONS_MAX 20

struct violations {
    struct strv told;
    size_t more;
};

/* Where the rule stands that somebody may want to change. */
static const char *file_of(const struct policy_config *policy)
{
    return policy->file != NULL ? policy->file : "the agent's configuration";
}

static void add_violation(struct violations *violations, char *take_sentence)
{
    if (violations->told.count < VIOLATIONS_MAX) {
        strv_add_take(&violations->told, take_sentence);
    } else {
        violations->more++;
        free(take_sentence);
    }
}

/* All of them in one sentence, which the caller frees; NULL: there is none. */
static char *join_violations(struct violations *violations)
{
    CLEANUP(buf) struct buf text = {0};
    for (size_t i = 0; i < violations->told.count; i++) {
        buf_printf(&text, "%s%s", i > 0 ? "; " : "", violations->told.items[i]);
    }
    if (violations->more > 0) {
        buf_printf(&text, "; and %zu more violations of the policy", violations->more);
    }
    strv_fini(&violations->told);
    return text.len > 0 ? buf_steal(&text) : NULL;
}

/* --- paths -------------------------------------------------------------------------------------
 */

char *admission_program_refusal(const struct policy_config *policy, const char *path)
{
    if (!policy->has_commands || policy_matches_any(&policy->commands, path)) {
        return NULL;
    }
    return xasprintf("'%s' is not among the policy.commands in %s", path, file_of(policy));
}

char *admission_write_refusal(const struct policy_config *policy, const char *path)
{
    if (!policy->has_write_paths || policy_matches_any(&policy->write_paths, path)) {
        return NULL;
    }
    return xasprintf("'%s' is not among the policy.writePaths in %s", path, file_of(policy));
}

/* --- one workload --------------------------------------------------------------------------------
 */

/* Of all workloads in a document: some 20 ms. */
#define STEPS_MAX_ALL 4096
/* Likewise, of the paths of sandboxes: each takes up to 0.1 ms, however few steps it has. */
#define READS_MAX_ALL 512

struct asked {
    const struct policy_config *policy;
    const struct workload_spec *workload;
    const char *own_user;
    const char
        *place; /* of the workload, before the name of a field: "spec.workloads[0]."; or "" */
    struct violations *found;
    unsigned steps_left;
    unsigned *reads_left; /* paths of sandboxes; NULL: all are judged */
};

static void __attribute__((format(printf, 2, 3))) violate(struct asked *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    CLEANUP(free) char *sentence = xvasprintf(fmt, ap);
    va_end(ap);
    add_violation(a->found, xasprintf("%s%s", a->place, sentence));
}

/* "workingDir leads to …". */
static void refuse_path(struct asked *a, const char *field, const char *given, const char *path,
                        const char *sentence)
{
    if (given != NULL && strcmp(given, path) != 0) {
        violate(a, "%s '%s': %s", field, given, sentence);
    } else {
        violate(a, "%s: %s", field, sentence);
    }
}

const char *admission_search_path(const struct workload_spec *w)
{
    for (size_t i = 0; i < w->env.count; i++) {
        if (strncmp(w->env.items[i], "PATH=", 5) == 0) {
            return w->env.items[i] + 5;
        }
    }
    return SPAWN_DEFAULT_PATH;
}

/* Where a path leads just now. It is judged again when it is opened, which knows whose links are
 * followed. ret_exists: NULL: that is not asked. NULL with err. */
static char *find_path(struct asked *a, const char *path, bool *ret_exists, struct err *err)
{
    const struct doc_path_rules rules = {.any_owner = true, .steps_left = &a->steps_left};
    struct doc_path found = {.fd = -1};
    if (doc_path_find(path, &rules, &found, err) < 0) {
        return NULL;
    }
    if (ret_exists != NULL) {
        *ret_exists = found.fd >= 0;
    }
    fd_close(&found.fd);
    return found.path;
}

static void check_program(struct asked *a, const char *field, const char *program)
{
    const char *folder = a->workload->working_dir != NULL ? a->workload->working_dir : "/";
    CLEANUP(strv) struct strv candidates = {0};
    spawn_find_paths(program, admission_search_path(a->workload), &candidates);
    for (size_t i = 0; i < candidates.count; i++) {
        const char *item = candidates.items[i];
        struct err err = {0};
        CLEANUP(free)
        char *absolute = item[0] == '/' ? xstrdup(item) : xasprintf("%s/%s", folder, item);
        bool exists = false;
        CLEANUP(free) char *path = find_path(a, absolute, &exists, &err);
        bool is_bare = strchr(program, '/') == NULL;
        if (is_bare && !exists) {
            continue; /* another folder of PATH has it, or none: a launch judges that */
        }
        CLEANUP(free)
        char *refusal = path != NULL ? admission_program_refusal(a->policy, path)
                                     : xasprintf("policy.commands: %s", err.msg);
        if (refusal != NULL) {
            refuse_path(a, field, program, path != NULL ? path : "", refusal);
        }
        if (is_bare || refusal != NULL) {
            break; /* the one that would be run */
        }
    }
}

/* No command has such a name, and no pattern is as long: one that matches it allows the folder. */
#define NO_COMMAND "\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01"

/* Every program of that folder is one that the policy allows. */
static bool is_allowed_folder(struct asked *a, const char *folder)
{
    CLEANUP(free) char *real = find_path(a, folder, NULL, NULL);
    CLEANUP(free) char *any = real != NULL ? xasprintf("%s/%s", real, NO_COMMAND) : NULL;
    return any != NULL && policy_matches_any(&a->policy->commands, any);
}

static bool is_allowed_search_path(struct asked *a, const char *text)
{
    for (;; text++) {
        size_t len = strcspn(text, ":");
        CLEANUP(free) char *folder = xstrndup(text, len);
        if (!is_allowed_folder(a, folder)) {
            return false;
        }
        text += len;
        if (*text == '\0') {
            return true;
        }
    }
}

/* Programs look there for settings, and some for code: it is the user's own, or one that could be
 * filled with what the document wants. */
static bool is_own_home(const struct asked *a, const char *folder)
{
    const char *user = a->workload->user != NULL ? a->workload->user : a->own_user;
    CLEANUP(creds) struct creds *creds = creds_lookup(user, NULL, NULL);
    return creds != NULL && strcmp(creds->home, folder) == 0;
}

static void check_variable(struct asked *a, const char *variable)
{
    size_t len = strcspn(variable, "=");
    CLEANUP(free) char *name = xstrndup(variable, len);
    if (policy_matches_any(&a->policy->env, name)) {
        return;
    }
    if (policy_is_loading_variable(name)) {
        violate(a,
                "env.%s: it could load code that policy.commands does not allow, and policy.env in "
                "%s does not list it",
                name, file_of(a->policy));
    } else if (strcmp(name, "PATH") == 0 && variable[len] == '=' &&
               !is_allowed_search_path(a, variable + len + 1)) {
        violate(a,
                "env.PATH: it names a folder whose programs policy.commands does not allow, and "
                "policy.env in %s does not list PATH",
                file_of(a->policy));
    } else if (strcmp(name, "HOME") == 0 && variable[len] == '=' &&
               !is_own_home(a, variable + len + 1)) {
        violate(a,
                "env.HOME: it is not the home folder of the workload's user, and policy.env in %s "
                "does not list HOME",
                file_of(a->policy));
    }
}

static void check_env(struct asked *a)
{
    const struct strv *env = &a->workload->env;
    for (size_t i = 0; i < env->count && a->policy->has_commands; i++) {
        check_variable(a, env->items[i]);
    }
}

static void check_path(struct asked *a, const char *field, const char *given)
{
    if (given == NULL || !a->policy->has_write_paths) {
        return;
    }
    struct err err = {0};
    CLEANUP(free) char *path = find_path(a, given, NULL, &err);
    CLEANUP(free)
    char *refusal = path != NULL ? admission_write_refusal(a->policy, path)
                                 : xasprintf("policy.writePaths: %s", err.msg);
    if (refusal != NULL) {
        refuse_path(a, field, given, path != NULL ? path : "", refusal);
    }
}

/* field is "sandbox.read[0]", or as it may be. */
static void check_read_path(struct asked *a, const char *field, const char *given)
{
    struct err err = {0};
    CLEANUP(free) char *path = find_path(a, given, NULL, &err);
    if (path == NULL) {
        violate(a, "%s '%s': policy.readPaths: %s", field, given, err.msg);
    } else if (!policy_matches_any(&a->policy->read_paths, path)) {
        violate(a, "%s '%s': '%s' is not among the policy.readPaths in %s", field, given, path,
                file_of(a->policy));
    }
}

static void check_read_list(struct asked *a, const char *member, const struct strv *paths)
{
    for (size_t i = 0; i < paths->count; i++) {
        if (a->reads_left != NULL && *a->reads_left == 0) {
            return;
        }
        if (a->reads_left != NULL) {
            --*a->reads_left;
        }
        CLEANUP(free) char *field = xasprintf("sandbox.%s[%zu]", member, i);
        check_read_path(a, field, paths->items[i]);
    }
}

/* Without a sandbox a workload reads whatever its user can: nothing would hold the list. */
static void check_reads(struct asked *a)
{
    const struct workload_spec *w = a->workload;
    if (!a->policy->has_read_paths) {
        return;
    }
    if (!w->sandbox.present) {
        violate(a, "sandbox: is required, as nothing else holds policy.readPaths in %s",
                file_of(a->policy));
        return;
    }
    if (sandbox_version() == 0) {
        violate(
            a,
            "sandbox: this kernel has no Landlock, and nothing else holds policy.readPaths in %s",
            file_of(a->policy));
        return;
    }
    check_read_list(a, "read", &w->sandbox.read);
    check_read_list(a, "write", &w->sandbox.write);
    if (w->working_dir != NULL) {
        check_read_path(a, "workingDir", w->working_dir);
    }
}

/* Of another group than the user's own, its members' rights would come with it. */
static void check_group(struct asked *a, const char *user)
{
    const char *group = a->workload->group;
    if (group == NULL || (a->policy->has_groups && strv_has(&a->policy->groups, group))) {
        return;
    }
    CLEANUP(creds) struct creds *own = creds_lookup(user, NULL, NULL);
    CLEANUP(creds) struct creds *asked = creds_lookup(user, group, NULL);
    for (size_t i = 0; own != NULL && asked != NULL && i < own->group_count; i++) {
        if (own->groups[i] == asked->gid) {
            return;
        }
    }
    violate(a, "group: user '%s' is not in group '%s', and policy.groups in %s does not list it",
            user, group, file_of(a->policy));
}

static void check_user(struct asked *a)
{
    const char *user = a->workload->user != NULL ? a->workload->user : a->own_user;
    if (a->policy->has_users && !strv_has(&a->policy->users, user)) {
        violate(a, "user: it would run as user '%s', which policy.users in %s does not list", user,
                file_of(a->policy));
    } else if (a->policy->has_users || a->policy->has_groups) {
        check_group(a, user);
    }
}

static void check_limit(struct asked *a, const char *name, int64_t asked, int64_t ceiling,
                        const char *unit)
{
    if (ceiling != UNSET && asked > ceiling) {
        violate(a,
                "limits.%s: %" PRId64 "%s is more than the %" PRId64 "%s of policy.limits.%s in %s",
                name, asked, unit, ceiling, unit, name, file_of(a->policy));
    }
}

static void check_limits(struct asked *a)
{
    const struct limits_spec *asked = &a->workload->limits;
    const struct limits_spec *ceilings = &a->policy->limits;
    check_limit(a, "memory", asked->memory_bytes, ceilings->memory_bytes, " bytes");
    check_limit(a, "cpu", asked->cpu_millis, ceilings->cpu_millis, " thousandths of a CPU");
    check_limit(a, "processes", asked->processes, ceilings->processes, "");
    check_limit(a, "openFiles", asked->open_files, ceilings->open_files, "");
}

static void check_privileges(struct asked *a)
{
    if (a->workload->allow_new_privileges && !a->policy->allow_new_privileges) {
        violate(a, "allowNewPrivileges: policy.allowNewPrivileges in %s is not set",
                file_of(a->policy));
    }
}

/* judges_paths: else a launch does. */
static void check_workload(struct asked *a, bool judges_paths)
{
    const struct workload_spec *w = a->workload;
    check_user(a);
    check_limits(a);
    check_privileges(a);
    if (!judges_paths) {
        return;
    }
    if (a->policy->has_commands) {
        check_program(a, "command[0]", w->command.items[0]);
        check_env(a);
        if (w->health.kind == HEALTH_EXEC) {
            check_program(a, "healthCheck.exec.command[0]", w->health.command.items[0]);
        }
    }
    check_path(a, "workingDir", w->working_dir);
    check_path(a, "logFile", workload_spec_has_no_log(w) ? NULL : w->log_file);
    check_reads(a);
}

char *admission_start_refusal(const struct policy_config *policy,
                              const struct workload_spec *workload, const char *own_user)
{
    struct violations found = {0};
    struct asked a = {.policy = policy,
                      .workload = workload,
                      .own_user = own_user,
                      .place = "",
                      .found = &found,
                      .steps_left = ADMISSION_STEPS_MAX};
    if (!policy->present) {
        return NULL;
    }
    check_user(&a);
    check_env(&a);
    check_privileges(&a);
    check_reads(&a);
    return join_violations(&found);
}

static void hold_limit(int64_t *limit, int64_t ceiling)
{
    if (ceiling != UNSET && (*limit == UNSET || *limit > ceiling)) {
        *limit = ceiling;
    }
}

struct limits_spec admission_start_limits(const struct policy_config *policy,
                                          const struct limits_spec *asked)
{
    struct limits_spec held = *asked;
    if (policy->present) {
        hold_limit(&held.memory_bytes, policy->limits.memory_bytes);
        hold_limit(&held.cpu_millis, policy->limits.cpu_millis);
        hold_limit(&held.processes, policy->limits.processes);
        hold_limit(&held.open_files, policy->limits.open_files);
    }
    return held;
}

/* --- one application -----------------------------------------------------------------------------
 */

static int64_t add_bytes(int64_t a, int64_t b)
{
    return a > INT64_MAX - b ? INT64_MAX : a + b;
}

/* The file that is written, and the rotated ones; each may hold one long line. */
static int64_t log_bytes(const struct log_policy *logs)
{
    int64_t size = logs->max_size_bytes, files = logs->max_files + 1;
    size = size > (int64_t) LOGFILE_LINE_BYTES ? size : (int64_t) LOGFILE_LINE_BYTES;
    return size > INT64_MAX / files ? INT64_MAX : size * files;
}

static struct admission_load own_load(const struct app_spec *app)
{
    struct admission_load load = {0};
    for (size_t i = 0; i < app->workload_count; i++) {
        if (app->workloads[i].supported) {
            load.workloads++;
            load.log_bytes = add_bytes(load.log_bytes, log_bytes(&app->workloads[i].logs));
        }
    }
    return load;
}

void admission_join_load(struct admission_load *load, const struct admission_load *more)
{
    load->workloads += more->workloads;
    load->log_bytes = add_bytes(load->log_bytes, more->log_bytes);
}

void admission_add_load(struct admission_load *load, const struct app_spec *app,
                        const struct app_spec *good)
{
    struct admission_load now = own_load(app);
    struct admission_load then = good != NULL ? own_load(good) : now;
    now.workloads = now.workloads > then.workloads ? now.workloads : then.workloads;
    now.log_bytes = now.log_bytes > then.log_bytes ? now.log_bytes : then.log_bytes;
    admission_join_load(load, &now);
}

/* Of what is limited for all applications together. */
static void check_load(const struct policy_config *policy, const struct app_spec *app,
                       const struct admission_load *others, struct violations *found)
{
    struct admission_load own = own_load(app);
    if (own.workloads > 0 && policy->max_workloads != UNSET &&
        others->workloads + own.workloads > (size_t) policy->max_workloads) {
        add_violation(found,
                      xasprintf("spec.workloads: its %zu workloads and the %zu of others are more "
                                "than the %" PRId64 " of policy.maxWorkloads in %s",
                                own.workloads, others->workloads, policy->max_workloads,
                                file_of(policy)));
    }
    if (own.workloads > 0 && policy->max_log_bytes != UNSET &&
        add_bytes(others->log_bytes, own.log_bytes) > policy->max_log_bytes) {
        add_violation(found,
                      xasprintf("spec.workloads: its logs can take %" PRId64
                                " bytes (maxSize, but 1 MiB at least, times maxFiles and one) and "
                                "those of others %" PRId64 ", together more than the %" PRId64
                                " bytes of policy.logs.maxTotal in %s",
                                own.log_bytes, others->log_bytes, policy->max_log_bytes,
                                file_of(policy)));
    }
}

char *admission_policy_refusal(const struct policy_config *policy, const struct app_spec *app,
                               const char *own_user, const struct admission_load *others,
                               bool judges_paths)
{
    if (!policy->present) {
        return NULL;
    }
    struct violations found = {0};
    unsigned left = STEPS_MAX_ALL;
    unsigned reads_left = READS_MAX_ALL;
    check_load(policy, app, others, &found);
    for (size_t i = 0; i < app->workload_count; i++) {
        const struct workload_spec *w = &app->workloads[i];
        CLEANUP(free) char *place = xasprintf("spec.workloads[%zu] ('%s').", i, w->name);
        struct asked a = {.policy = policy,
                          .workload = w,
                          .own_user = own_user,
                          .place = place,
                          .found = &found,
                          .steps_left = ADMISSION_STEPS_MAX,
                          .reads_left = &reads_left};
        if (w->supported) {
            check_workload(&a, judges_paths && left >= ADMISSION_STEPS_MAX);
            left -= ADMISSION_STEPS_MAX - a.steps_left;
        }
    }
    return join_violations(&found);
}
