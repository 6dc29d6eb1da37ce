#include "config_warn.h"

#include "edgible/buf.h"
#include "edgible/policy.h"
#include "edgible/trusted.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

/* --- patterns that match nothing -----------------------------------------------------------------
 */

static void warn_of_literal(const struct config *config, const char *key, size_t index,
                            const char *pattern, struct diag *diag)
{
    CLEANUP(free) char *plain = xstrndup(pattern, policy_plain_length(pattern));
    CLEANUP(free) char *real = plain[0] != '\0' ? realpath(plain, NULL) : NULL;
    if (real == NULL || strcmp(real, plain) == 0) {
        return;
    }
    CLEANUP(free) char *path = xasprintf("policy.%s[%zu]", key, index);
    diag_add(diag, DIAG_WARNING, config->file, 0, 0, path,
             "'%.200s' matches nothing: it leads to '%.200s' by a link that others can change, or "
             "by '..', and is compared as it is written",
             pattern, real);
}

static void warn_of_literals(const struct config *config, const char *key,
                             const struct strv *patterns, struct diag *diag)
{
    for (size_t i = 0; i < patterns->count; i++) {
        warn_of_literal(config, key, i, patterns->items[i], diag);
    }
}

/* --- interpreters --------------------------------------------------------------------------------
 */

static void add_once(struct strv *names, const char *name)
{
    if (!strv_has(names, name)) {
        strv_add(names, name);
    }
}

static int is_interpreter(const struct dirent *entry)
{
    return policy_is_interpreter(entry->d_name) ? 1 : 0;
}

static bool is_allowed(const struct strv *commands, const char *folder, const char *name)
{
    CLEANUP(free) char *path = xasprintf("%s/%s", folder, name);
    CLEANUP(free) char *real = realpath(path, NULL);
    return real != NULL && policy_matches_any(commands, real);
}

static void find_in_folder(const struct strv *commands, const char *folder, struct strv *names)
{
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, is_interpreter, alphasort);
    for (int i = 0; i < count; i++) {
        if (is_allowed(commands, folder, entries[i]->d_name)) {
            add_once(names, entries[i]->d_name);
        }
        free(entries[i]);
    }
    free(entries);
}

/* One that a pattern names is found without being there; those of a glob, in its own folder. */
static void find_by_pattern(const struct strv *commands, const char *pattern, struct strv *names)
{
    size_t len = policy_plain_length(pattern);
    CLEANUP(free) char *plain = xstrndup(pattern, len);
    const char *slash = strrchr(plain, '/');
    if (pattern[len] != '\0') {
        find_in_folder(commands, plain[0] != '\0' ? plain : "/", names);
    } else if (slash != NULL && policy_is_interpreter(slash + 1)) {
        add_once(names, slash + 1);
    }
}

static void warn_of_interpreters(const struct config *config, struct diag *diag)
{
    static const char *const folders[] = {"/usr/bin", "/usr/sbin",      "/bin",
                                          "/sbin",    "/usr/local/bin", "/usr/local/sbin"};
    const struct strv *commands = &config->policy.commands;
    CLEANUP(strv) struct strv names = {0};
    CLEANUP(buf) struct buf list = {0};
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        find_in_folder(commands, folders[i], &names);
    }
    for (size_t i = 0; i < commands->count; i++) {
        find_by_pattern(commands, commands->items[i], &names);
    }
    for (size_t i = 0; i < names.count; i++) {
        buf_printf(&list, "%s%s", i > 0 ? ", " : "", names.items[i]);
    }
    if (names.count > 0) {
        diag_add(diag, DIAG_WARNING, config->file, 0, 0, "policy.commands",
                 "documents can run anything as the workload's user, as it allows programs that "
                 "run what their arguments say: %s",
                 buf_str(&list));
    }
}

/* Whoever can put another folder in its place says what runs here. */
static void warn_of_way(const struct config *config, struct diag *diag)
{
    struct err err = {0};
    if (config->source == SOURCE_DIRECTORY && strstr(config->directory, "/..") == NULL &&
        trusted_check_way(config->directory, &err) < 0 && err.code == ERR_SPEC) {
        diag_add(diag, DIAG_WARNING, config->file, 0, 0, "controlPlane.directory",
                 "others decide which documents are read: %s", err.msg);
    }
}

void config_warn(const struct config *config, struct diag *diag)
{
    const struct policy_config *policy = &config->policy;
    warn_of_way(config, diag);
    warn_of_literals(config, "commands", &policy->commands, diag);
    warn_of_literals(config, "writePaths", &policy->write_paths, diag);
    warn_of_literals(config, "readPaths", &policy->read_paths, diag);
    if (policy->has_commands) {
        warn_of_interpreters(config, diag);
    }
}
