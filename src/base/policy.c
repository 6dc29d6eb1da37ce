#include "edgible/policy.h"

#include <stddef.h>
#include <string.h>

struct place {
    const char *pattern, *path; /* NULL: nowhere */
};

/* Goes back to the last star that can still take a character more, the innermost first; never
 * before it, so that the cost is the product of both lengths at most. */
bool policy_pattern_matches(const char *pattern, const char *path)
{
    struct place star = {0};
    struct place double_star = {0};
    while (*path != '\0' || *pattern != '\0') {
        if (pattern[0] == '*' && pattern[1] == '*') {
            pattern += strspn(pattern, "*");
            double_star = (struct place){pattern, path};
            star = (struct place){0};
        } else if (*pattern == '*') {
            pattern++;
            star = (struct place){pattern, path};
        } else if (*path != '\0' && (*pattern == *path || (*pattern == '?' && *path != '/'))) {
            pattern++;
            path++;
        } else if (star.path != NULL && *star.path != '\0' && *star.path != '/') {
            path = ++star.path;
            pattern = star.pattern;
        } else if (double_star.path != NULL && *double_star.path != '\0') {
            path = ++double_star.path;
            pattern = double_star.pattern;
            star = (struct place){0};
        } else {
            return false;
        }
    }
    return true;
}

bool policy_matches_any(const struct strv *patterns, const char *path)
{
    for (size_t i = 0; i < patterns->count; i++) {
        if (policy_pattern_matches(patterns->items[i], path)) {
            return true;
        }
    }
    return false;
}

size_t policy_plain_length(const char *pattern)
{
    size_t len = strcspn(pattern, "*?");
    if (pattern[len] == '\0') {
        while (len > 1 && pattern[len - 1] == '/') {
            len--;
        }
        return len;
    }
    while (len > 0 && pattern[len] != '/') {
        len--;
    }
    return len;
}

/* Of loaders and the C library first, then of shells, interpreters, libraries and tools. */
static const char *const loading[] = {"LD_*",
                                      "GCONV_PATH",
                                      "GLIBC_TUNABLES",
                                      "MALLOC_*",
                                      "NLSPATH",
                                      "LOCPATH",
                                      "HOSTALIASES",
                                      "RESOLV_*",
                                      "RES_OPTIONS",
                                      "BASH_ENV",
                                      "ENV",
                                      "SHELLOPTS",
                                      "BASHOPTS",
                                      "PS4",
                                      "PROMPT_COMMAND",
                                      "BASH_FUNC_*",
                                      "IFS",
                                      "ZDOTDIR",
                                      "PERL5*",
                                      "PERLLIB",
                                      "PERL_*",
                                      "PYTHON*",
                                      "RUBY*",
                                      "GEM_*",
                                      "BUNDLE_*",
                                      "NODE_OPTIONS",
                                      "NODE_PATH",
                                      "JAVA_TOOL_OPTIONS",
                                      "_JAVA_OPTIONS",
                                      "JDK_*",
                                      "CLASSPATH",
                                      "OPENSSL_*",
                                      "GIO_*",
                                      "GTK_*",
                                      "QT_*",
                                      "QML*",
                                      "LUA_*",
                                      "PHPRC",
                                      "PHP_INI_SCAN_DIR",
                                      "TCL*",
                                      "GIT_*",
                                      "DOTNET_*",
                                      "CORECLR_*",
                                      "COMPlus_*",
                                      "MONO_*",
                                      "R_PROFILE*",
                                      "R_ENVIRON*",
                                      "ERL_*",
                                      "AWKPATH",
                                      "AWKLIBPATH",
                                      "BROWSER",
                                      "PAGER",
                                      "EDITOR",
                                      "VISUAL",
                                      "MANPAGER",
                                      "LESSOPEN",
                                      "LESSCLOSE",
                                      "TERMINFO*",
                                      NULL};
/* Among these, those that change how a program writes or behaves, and nothing that it runs. */
static const char *const harmless[] = {
    "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONUTF8",         "PYTHONIOENCODING",
    "PYTHONHASHSEED",   "PYTHONFAULTHANDLER",      "DOTNET_ENVIRONMENT", NULL};

static bool is_among(const char *const *patterns, const char *name)
{
    for (; *patterns != NULL; patterns++) {
        if (policy_pattern_matches(*patterns, name)) {
            return true;
        }
    }
    return false;
}

bool policy_is_loading_variable(const char *name)
{
    return is_among(loading, name) && !is_among(harmless, name);
}

/* Shells, languages (with a version, "python3.11"), and tools that run what their arguments say. */
static const char *const interpreters[] = {"sh",         "bash",
                                           "rbash",      "dash",
                                           "ash",        "ksh",
                                           "ksh93",      "mksh",
                                           "zsh",        "zsh?",
                                           "fish",       "csh",
                                           "tcsh",       "busybox",
                                           "toybox",     "python",
                                           "python?",    "python?.*",
                                           "pypy",       "pypy?",
                                           "perl",       "perl5*",
                                           "node",       "nodejs",
                                           "deno",       "bun",
                                           "ruby",       "ruby?.*",
                                           "lua",        "lua?.*",
                                           "luajit",     "php",
                                           "php?.*",     "awk",
                                           "gawk",       "mawk",
                                           "nawk",       "tclsh",
                                           "tclsh?.*",   "expect",
                                           "guile",      "java",
                                           "jshell",     "dotnet",
                                           "mono",       "Rscript",
                                           "gdb",        "lldb",
                                           "make",       "gmake",
                                           "vi",         "vim",
                                           "vim.*",      "nvim",
                                           "emacs",      "ed",
                                           "sed",        "env",
                                           "find",       "xargs",
                                           "parallel",   "nohup",
                                           "nice",       "ionice",
                                           "timeout",    "setsid",
                                           "stdbuf",     "setarch",
                                           "taskset",    "chrt",
                                           "time",       "watch",
                                           "script",     "flock",
                                           "setpriv",    "unshare",
                                           "nsenter",    "chroot",
                                           "capsh",      "bwrap",
                                           "firejail",   "start-stop-daemon",
                                           "run-parts",  "ssh",
                                           "scp",        "sftp",
                                           "rsync",      "socat",
                                           "ncat",       "nc.traditional",
                                           "screen",     "tmux",
                                           "tar",        "git",
                                           "at",         "batch",
                                           "crontab",    "systemd-run",
                                           "run0",       "systemctl",
                                           "machinectl", "pkexec",
                                           "sudo",       "su",
                                           "runuser",    "doas",
                                           "docker",     "podman",
                                           "nerdctl",    "runc",
                                           "crun",       "lxc",
                                           "lxc-*",      "kubectl",
                                           "strace",     "ltrace",
                                           "ld.so",      "ld-linux*",
                                           "ld-musl*",   NULL};

bool policy_is_interpreter(const char *name)
{
    return is_among(interpreters, name);
}
