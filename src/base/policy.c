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

/* Of loaders and the C library first, then of shells, interpreters, libraries and tools; patterns
 * in words. A list of what is known, and never all there is. */
static const char loading[] =
    "LD_* GCONV_PATH GLIBC_TUNABLES MALLOC_* NLSPATH LOCPATH HOSTALIASES RESOLV_* RES_OPTIONS "
    "ENV SHELLOPTS BASHOPTS PROMPT_COMMAND IFS CDPATH ZDOTDIR PERL5* PERLLIB PERL_* PYTHON* RUBY* "
    "GEM_* BUNDLE_* NODE_OPTIONS NODE_PATH JDK_* CLASSPATH OPENSSL_* GIO_* GTK_* QT_* QML* "
    "TCL* GIT_* DOTNET_* CORECLR_* COMPlus_* MONO_* ERL_* AWKPATH AWKLIBPATH BROWSER PAGER "
    "EDITOR VISUAL MANPAGER LESSOPEN LESSCLOSE TERMINFO* BASH_* PS0 PS1 PS2 PS4 SHELL "
    "EXECIGNORE FPATH KSH* FCEDIT XDG_* DBUS_* CURL_HOME WGETRC SSH_* SUDO_* RSYNC_RSH "
    "RSYNC_CONNECT_PROG CVS* SVN_* HG HGRCPATH HGMERGE HGEDITOR BZR_* TAR_OPTIONS TAPE RSH "
    "ZIPOPT GREP_OPTIONS LESS LESSKEY* MORE MANOPT MANPATH MANROFFSEQ SYSTEMD_PAGER* "
    "SYSTEMD_EDITOR SYSTEMD_LESS MAKEFLAGS MAKEFILES GNUMAKEFLAGS MAKESHELL COMPILER_PATH "
    "GCC_* CCACHE_* CMAKE_* PKG_CONFIG* RUSTC* RUSTDOC* RUSTUP_* CARGO* GOFLAGS GOROOT GOENV "
    "GOTOOLDIR GOTOOLCHAIN GOPATH JAVA_* *_JAVA_OPTIONS *JAVA_OPTS JVM_* OPENJ9_* GRADLE_* "
    "MAVEN_* CATALINA_* NODE_REPL_* npm_config_* NPM_CONFIG_* YARN_* TS_NODE_* PIP_* "
    "UV_PYTHON* UV_INDEX* CONDA_* GUNICORN_CMD_ARGS UWSGI_* IPYTHONDIR JUPYTER_* PERLDB_OPTS "
    "PAR_TEMP PAR_GLOBAL_* IRBRC VIM* EXINIT MYVIMRC NVIM_* EMACS* ALTERNATE_EDITOR "
    "SELECTED_EDITOR R_PROFILE* R_ENVIRON* R_LIBS* R_HOME R_DEFAULT* GUILE_* JULIA_* CAML* "
    "OCAML* GHC* LUA_* LUAJIT* PHPRC PHP_INI_SCAN_DIR ERLANG* ELIXIR_* TK_LIBRARY OCTAVE_* "
    "BC_ENV_ARGS DC_ENV_ARGS M4PATH PSModulePath MSBUILD* NUGET_* KUBECONFIG KUBE_EDITOR "
    "MAILCAPS BUN_* DENO_* AWS_CONFIG_FILE AWS_SHARED_CREDENTIALS_FILE CLOUDSDK_* "
    "GOOGLE_EXTERNAL_* DOCKER_CONFIG "
    "DOCKER_CLI_* DOCKER_HOST DOCKER_CONTEXT CONTAINERS_* GNUPGHOME KRB5* SASL_* PKCS11_* "
    "P11_* ODBC* PSQL* PGSSLKEY PGSERVICEFILE PGSYSCONFDIR MYSQL_HOME LIBMYSQL_* GST_PLUGIN* "
    "GST_REGISTRY* GST_PRESET* GDK_PIXBUF_MODULE* GI_TYPELIB_PATH LIBGL_DRIVERS_PATH GBM_* "
    "__EGL_* __GLX_* VK_ICD* VK_DRIVER* VK_ADD_* VK_LAYER* VK_INSTANCE* VK_LOADER* LIBVA_* "
    "VDPAU_* OCL_* CUDA_INJECTION* SDL*DYNAMIC_API ALSA_CONFIG_* ALSA_PLUGIN* ALSA_MIXER* "
    "PULSE_CONFIG* PULSE_CLIENTCONFIG PULSE_DLPATH* PIPEWIRE_* SPA_PLUGIN_DIR LADSPA_PATH "
    "LV2_PATH GS_LIB GS_OPTIONS GDAL_* MAGICK_* APT_CONFIG DEBCONF_* RPM_CONFIGDIR "
    "*SAN_OPTIONS *_SYMBOLIZER_PATH LTDL_* XTABLES_* IPTABLES_* TC_LIB_DIR MODPROBE_OPTIONS "
    "SNMPCONFPATH SNMPDLMODPATH SNMP_PERSISTENT* MIBS FAKEROOT* TERMCAP NIX_* QEMU_* WINE* "
    "RIPGREP_CONFIG_PATH ANSIBLE_* OMPI_* PMIX_* PERF_* TEXMF* *_PAGER SCREENRC HELM_* TF_CLI_* "
    "FZF_* CC CXX LD AR GSS_* SYSTEM_WGETRC M4 GVBINDIR OMP_TOOL_* FREI0R_PATH HWLOC_* FLASK_* "
    "BORG_* RESTIC_* RCLONE_* LFTP_* GROFF_* DPKG_* FAKECHROOT_* PARALLEL_* AUTOM4TE AUTOCONF "
    "AUTOMAKE DIFF CMP GREP";
/* Among these, those that change how a program writes or behaves, and nothing that it runs. */
static const char harmless[] =
    "PYTHONUNBUFFERED PYTHONDONTWRITEBYTECODE PYTHONUTF8 PYTHONIOENCODING PYTHONHASHSEED "
    "PYTHONFAULTHANDLER DOTNET_ENVIRONMENT";

/* One word of a table after the other. Documents have many names, so that most are told apart by
 * their first character. */
static bool is_among(const char *table, const char *name)
{
    char pattern[32];
    size_t len = 0;
    for (const char *at = table; *at != '\0'; at += len + strspn(at + len, " ")) {
        len = strcspn(at, " ");
        if ((*at == *name || *at == '*') && len < sizeof(pattern)) {
            memcpy(pattern, at, len);
            pattern[len] = '\0';
            if (policy_pattern_matches(pattern, name)) {
                return true;
            }
        }
    }
    return false;
}

bool policy_is_loading_variable(const char *name)
{
    return is_among(loading, name) && !is_among(harmless, name);
}

/* Shells, languages (with a version, "python3.11"), and tools that run what their arguments say. */
static const char interpreters[] =
    "sh bash rbash dash ash ksh ksh93 mksh zsh zsh? fish csh tcsh busybox toybox python "
    "python? python?.* pypy pypy? perl perl5* node nodejs deno bun ruby ruby?.* lua lua?.* "
    "luajit php php?.* awk gawk mawk nawk tclsh tclsh?.* expect guile java jshell dotnet mono "
    "Rscript gdb lldb make gmake vi vim vim.* nvim emacs ed sed env find xargs parallel nohup "
    "nice ionice timeout setsid stdbuf setarch taskset chrt time watch script flock setpriv "
    "unshare nsenter chroot capsh bwrap firejail start-stop-daemon run-parts ssh scp sftp "
    "rsync socat ncat nc.traditional screen tmux tar git at batch crontab systemd-run run0 "
    "systemctl machinectl pkexec sudo su runuser doas docker podman nerdctl runc crun lxc "
    "lxc-* kubectl strace ltrace ld.so ld-linux* ld-musl* prlimit choom uclampset wish wish?.* "
    "numactl cgexec dbus-run-session xvfb-run faketime fakeroot fakechroot proot newgrp sg "
    "runcon ssh-agent eatmydata tini dumb-init catatonit chpst envdir envuidgid setuidgid "
    "softlimit daemonize daemon entr rlwrap unbuffer dtach m4 bc dc psql mysql sqlite3 valgrind";

bool policy_is_interpreter(const char *name)
{
    return is_among(interpreters, name);
}
