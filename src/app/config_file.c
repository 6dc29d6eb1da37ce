#include "config_file.h"

#include "config_warn.h"
#include "device_name.h"
#include "edgible/fd.h"
#include "edgible/policy.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_CONFIG_BYTES (1024UL * 1024)
#define LINKS_MAX 40

static void fini_env(struct config_env *env)
{
    free(env->host_name);
    free(env->state_home);
    free(env->runtime_home);
}

static void init_env(struct config_env *env)
{
    char host[HOST_NAME_MAX + 1] = "localhost";
    (void) gethostname(host, sizeof(host) - 1);
    const char *home = getenv("HOME");
    const char *state = getenv("XDG_STATE_HOME");
    *env = (struct config_env){
        .host_name = xstrdup(host),
        .is_root = geteuid() == 0,
        .state_home = state != NULL && state[0] == '/'
                          ? xstrdup(state)
                          : xasprintf("%s/.local/state", home != NULL ? home : ""),
        .runtime_home = xstrdup_or_null(getenv("XDG_RUNTIME_DIR")),
        .uid = geteuid(),
    };
}

/* Only root and the agent can have put the entry there: the folder is theirs and closed to others,
 * or sticky, and the entry a folder of theirs, which nobody else can move there; a link anybody can
 * who has it in a folder of his. */
static bool is_settled_entry(const char *folder, const struct stat *entry)
{
    struct stat st;
    if (lstat(folder, &st) < 0 || !S_ISDIR(st.st_mode) ||
        (st.st_uid != 0 && st.st_uid != geteuid())) {
        return false;
    }
    bool is_own = S_ISDIR(entry->st_mode) && (entry->st_uid == 0 || entry->st_uid == geteuid());
    return (st.st_mode & (S_IWGRP | S_IWOTH)) == 0 || ((st.st_mode & S_ISVTX) != 0 && is_own);
}

/* Where the link in the folder leads, without looking at what is there; NULL where its text cannot
 * be told from a pattern. With a `.` or `..` behind a name it matches nothing. */
static char *read_target(const char *link, const char *folder)
{
    char target[PATH_MAX];
    ssize_t len = readlink(link, target, sizeof(target) - 1);
    if (len <= 0) {
        return NULL;
    }
    target[len] = '\0';
    const char *rest = target;
    CLEANUP(free) char *from = xstrdup(target[0] == '/' || folder[1] == '\0' ? "" : folder);
    while (strncmp(rest, "../", 3) == 0) {
        rest += 3;
        char *slash = strrchr(from, '/');
        if (slash != NULL) {
            *slash = '\0';
        }
    }
    rest += strspn(rest, "/");
    if (strpbrk(rest, "*?") != NULL) {
        return NULL;
    }
    return xasprintf("%s/%s", from, rest);
}

/* The pattern with its links followed, one at a time, as long as nobody else can change where they
 * lead; literal from there on. */
static char *resolve_pattern(const char *pattern, int links)
{
    size_t plain = policy_plain_length(pattern);
    for (size_t end = 1; end <= plain && links < LINKS_MAX; end++) {
        if (end < plain && pattern[end] != '/') {
            continue;
        }
        struct stat st;
        CLEANUP(free) char *front = xstrndup(pattern, end);
        CLEANUP(free) char *folder = xstrdup(front);
        char *slash = strrchr(folder, '/');
        slash[slash == folder ? 1 : 0] = '\0';
        if (lstat(front, &st) < 0 || !is_settled_entry(folder, &st)) {
            break;
        }
        if (S_ISLNK(st.st_mode)) {
            CLEANUP(free) char *target = read_target(front, folder);
            if (target == NULL) {
                break;
            }
            CLEANUP(free) char *next = xasprintf("%s%s", target, pattern + end);
            return resolve_pattern(next, links + 1);
        }
    }
    return xstrdup(pattern);
}

static void resolve_patterns(struct strv *patterns)
{
    struct strv resolved = {0};
    for (size_t i = 0; i < patterns->count; i++) {
        strv_add_take(&resolved, resolve_pattern(patterns->items[i], 0));
    }
    strv_fini(patterns);
    *patterns = resolved;
}

struct config *config_file_load(const char *path, struct diag *diag, struct err *err)
{
    CLEANUP(free) char *data = NULL;
    size_t len = 0;
    if (fd_read_file(AT_FDCWD, path, MAX_CONFIG_BYTES, &data, &len, err) < 0) {
        (void) err_prefix(err, "cannot read the configuration");
        return NULL;
    }
    CLEANUP(free) char *absolute = realpath(path, NULL);
    struct config_env env;
    init_env(&env);
    struct config *config = config_parse(absolute != NULL ? absolute : path, data, len, &env, diag);
    fini_env(&env);
    if (config != NULL) {
        resolve_patterns(&config->policy.commands);
        resolve_patterns(&config->policy.write_paths);
        resolve_patterns(&config->policy.read_paths);
        device_name_restore(config);
        config_warn(config, diag);
    }
    if (config == NULL) {
        (void) err_set(err, ERR_SPEC, "the configuration '%s' is invalid", path);
    }
    return config;
}
