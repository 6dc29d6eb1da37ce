#include "check_exists.h"

#include "edgible/creds.h"
#include "edgible/mem.h"
#include "edgible/policy.h"
#include "edgible/spawn.h"

#include <errno.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- the device ----------------------------------------------------------------------------------
 */

/* What may not be looked at may be there. */
static bool is_missing(const char *path)
{
    struct stat st;
    return stat(path, &st) < 0 && (errno == ENOENT || errno == ENOTDIR);
}

/* A name service that does not answer says nothing of a name. */
static bool has_user(const char *name)
{
    errno = 0;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): --check has one thread
    return getpwnam(name) != NULL || (errno != 0 && errno != ENOENT && errno != ESRCH);
}

static bool has_group(const char *name)
{
    errno = 0;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): --check has one thread
    return getgrnam(name) != NULL || (errno != 0 && errno != ENOENT && errno != ESRCH);
}

/* --- the configuration ---------------------------------------------------------------------------
 */

static void warn_of_names(const struct config *config, const char *key, const struct strv *names,
                          bool (*has)(const char *name), const char *what, struct diag *diag)
{
    for (size_t i = 0; i < names->count; i++) {
        if (!has(names->items[i])) {
            CLEANUP(free) char *path = xasprintf("policy.%s[%zu]", key, i);
            diag_add(diag, DIAG_WARNING, config->file, 0, 0, path, "there is no %s '%.200s' here",
                     what, names->items[i]);
        }
    }
}

/* False where nothing of the file system matches. A `**` is not followed: what is before it counts.
 * In a policy only `*` and `?` are special. */
static bool matches_anything(const char *pattern)
{
    size_t len = policy_plain_length(pattern);
    CLEANUP(free) char *plain = xstrndup(pattern, len);
    if (plain[0] != '\0' && is_missing(plain)) {
        return false;
    }
    if (pattern[len] == '\0' || strstr(pattern, "**") != NULL) {
        return true;
    }
    CLEANUP(buf) struct buf escaped = {0};
    for (const char *c = pattern; *c != '\0'; c++) {
        if (*c == '[' || *c == ']' || *c == '\\') {
            buf_add_char(&escaped, '\\');
        }
        buf_add_char(&escaped, *c);
    }
    glob_t found = {0};
    int rc = glob(escaped.data, GLOB_NOSORT, NULL, &found);
    globfree(&found);
    return rc != GLOB_NOMATCH;
}

/* Files that are written need not be there, but the folder that they are in. */
static bool can_match(const char *pattern, bool is_written)
{
    const char *slash = strrchr(pattern, '/');
    bool is_pattern = pattern[policy_plain_length(pattern)] != '\0';
    if (!is_written) {
        return matches_anything(pattern);
    }
    CLEANUP(free)
    char *folder = xstrndup(pattern, is_pattern      ? policy_plain_length(pattern)
                                     : slash != NULL ? (size_t) (slash - pattern)
                                                     : 0);
    return folder[0] == '\0' || !is_missing(folder);
}

static void warn_of_patterns(const struct config *config, const char *key,
                             const struct strv *patterns, bool is_written, struct diag *diag)
{
    for (size_t i = 0; i < patterns->count; i++) {
        const char *pattern = patterns->items[i];
        bool is_pattern = pattern[policy_plain_length(pattern)] != '\0';
        if (!can_match(pattern, is_written)) {
            CLEANUP(free) char *path = xasprintf("policy.%s[%zu]", key, i);
            diag_add(diag, DIAG_WARNING, config->file, 0, 0, path,
                     is_pattern || is_written ? "'%.200s' matches nothing that is here"
                                              : "'%.200s' does not exist",
                     pattern);
        }
    }
}

/* Who a workload runs as that names no user. */
static void warn_of_default_user(const struct config *config, struct diag *diag)
{
    const struct policy_config *policy = &config->policy;
    const char *user = config->defaults.user;
    if (user != NULL && !has_user(user)) {
        diag_add(diag, DIAG_WARNING, config->file, 0, 0, "defaults.user",
                 "there is no user '%.200s' here", user);
    }
    CLEANUP(creds) struct creds *own = user == NULL ? creds_lookup(NULL, NULL, NULL) : NULL;
    const char *runs_as = own != NULL ? own->user : user;
    if (policy->has_users && runs_as != NULL && !strv_has(&policy->users, runs_as)) {
        diag_add(diag, DIAG_WARNING, config->file, 0, 0, "defaults.user",
                 "policy.users does not list '%.200s'%s: each workload without `user` is refused",
                 runs_as, user == NULL ? ", who the agent runs as" : "");
    }
}

void check_exists_config(const struct config *config, struct diag *diag)
{
    const struct policy_config *policy = &config->policy;
    warn_of_default_user(config, diag);
    warn_of_names(config, "users", &policy->users, has_user, "user", diag);
    warn_of_names(config, "groups", &policy->groups, has_group, "group", diag);
    warn_of_patterns(config, "commands", &policy->commands, false, diag);
    warn_of_patterns(config, "writePaths", &policy->write_paths, true, diag);
    warn_of_patterns(config, "readPaths", &policy->read_paths, false, diag);
    if (config->api_group != NULL && !has_group(config->api_group)) {
        diag_add(diag, DIAG_WARNING, config->file, 0, 0, "api.group",
                 "there is no group '%.200s' here", config->api_group);
    }
}

/* --- documents -----------------------------------------------------------------------------------
 */

static const char *path_of(const struct workload_spec *w)
{
    for (size_t i = 0; i < w->env.count; i++) {
        if (strncmp(w->env.items[i], "PATH=", 5) == 0) {
            return w->env.items[i] + 5;
        }
    }
    return SPAWN_DEFAULT_PATH;
}

/* A relative one is looked for from workingDir. */
static bool has_program(const struct workload_spec *w)
{
    CLEANUP(strv) struct strv paths = {0};
    spawn_find_paths(w->command.items[0], path_of(w), &paths);
    for (size_t i = 0; i < paths.count; i++) {
        const char *path = paths.items[i];
        CLEANUP(free)
        char *full = path[0] == '/' || w->working_dir == NULL
                         ? xstrdup(path)
                         : xasprintf("%s/%s", w->working_dir, path);
        if (!is_missing(full)) {
            return true;
        }
    }
    return false;
}

static void check_workload(const struct app_spec *app, size_t index, struct diag *diag)
{
    const struct workload_spec *w = &app->workloads[index];
    CLEANUP(free) char *at = xasprintf("spec.workloads[%zu]", index);
    if (w->user != NULL && !has_user(w->user)) {
        diag_add(diag, DIAG_WARNING, app->file, app->line, 1, at, "there is no user '%.200s' here",
                 w->user);
    }
    if (w->group != NULL && !has_group(w->group)) {
        diag_add(diag, DIAG_WARNING, app->file, app->line, 1, at, "there is no group '%.200s' here",
                 w->group);
    }
    if (w->working_dir != NULL && is_missing(w->working_dir)) {
        diag_add(diag, DIAG_WARNING, app->file, app->line, 1, at,
                 "workingDir '%.200s' does not exist", w->working_dir);
    } else if (!has_program(w)) {
        diag_add(diag, DIAG_WARNING, app->file, app->line, 1, at,
                 "there is no program '%.200s' here", w->command.items[0]);
    }
}

void check_exists_app(const struct app_spec *app, struct diag *diag)
{
    for (size_t i = 0; i < app->workload_count; i++) {
        if (app->workloads[i].supported) {
            check_workload(app, i, diag);
        }
    }
}
