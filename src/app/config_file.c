#include "config_file.h"

#include "edgible/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_CONFIG_BYTES (1024UL * 1024)

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
    if (config == NULL) {
        (void) err_set(err, ERR_SPEC, "the configuration '%s' is invalid", path);
    }
    return config;
}
