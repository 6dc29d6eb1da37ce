#include "edgible/reason.h"

#include "edgible/buf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *reason_errno_name(int error, char *buf, size_t size)
{
    const char *name = strerrorname_np(error);
    if (name != NULL) {
        return name;
    }
    (void) snprintf(buf, size, "error %d", error);
    return buf;
}

char *reason_of_exit(const struct proc_exit *end, mono_ms uptime_ms)
{
    char uptime[48];
    char name[32];
    (void) format_duration(uptime_ms, uptime, sizeof(uptime));
    if (!end->known) {
        return xasprintf("ended after %s; its status is not known", uptime);
    }
    if (end->oom_killed) {
        return xasprintf("was killed by the kernel for want of memory (OOM, SIGKILL) after %s",
                         uptime);
    }
    if (end->signaled) {
        return xasprintf("was killed by %s%s after %s", signal_name(end->code, name, sizeof(name)),
                         end->core_dumped ? " (core dumped)" : "", uptime);
    }
    return xasprintf("exited with status %d after %s", end->code, uptime);
}

static void add_exec_cause(struct buf *text, int error, const char *program, const char *user)
{
    bool is_bare = strchr(program, '/') == NULL;
    if (error == ENOENT && is_bare) {
        buf_printf(text, "no program of that name is in its PATH");
    } else if (error == ELIBACC) {
        buf_printf(text, "the file is there, but not the interpreter or loader that it names");
    } else if (error == ENOENT || error == ENOTDIR) {
        buf_printf(text, "there is no such file");
    } else if (error == EACCES || error == EPERM) {
        buf_printf(text,
                   "user '%s' may not execute it; check its mode, its folders' modes and "
                   "the mount's noexec",
                   user);
    } else if (error == ENOEXEC) {
        buf_printf(text, "it is neither a program for this machine nor a script that begins "
                         "with #!");
    } else if (error == E2BIG) {
        buf_printf(text, "its arguments and environment are larger than the kernel allows");
    } else if (error == ELOOP) {
        buf_printf(text, "its path leads through a link of /proc, or through too many links");
    } else {
        buf_printf(text, "%s", strerror(error));
    }
}

static void add_chdir_cause(struct buf *text, int error, const char *user)
{
    if (error == ENOENT) {
        buf_printf(text, "the directory does not exist");
    } else if (error == ENOTDIR) {
        buf_printf(text, "it is not a directory");
    } else if (error == EACCES) {
        buf_printf(text, "user '%s' may not enter it", user);
    } else if (error == ELOOP) {
        buf_printf(text, "it leads through a link of /proc, or through too many links");
    } else if (error == ESTALE) {
        buf_printf(text, "it is not the directory that the policy was asked about");
    } else {
        buf_printf(text, "%s", strerror(error));
    }
}

char *reason_of_fault(const struct spawn_fault *fault, const struct workload_spec *spec,
                      const char *user)
{
    CLEANUP(buf) struct buf text = {0};
    char name[32];
    if (fault->stage == SPAWN_STAGE_EXEC) {
        buf_printf(&text, "cannot start '%s': ", spec->command.items[0]);
        add_exec_cause(&text, fault->error, spec->command.items[0], user);
    } else if (fault->stage == SPAWN_STAGE_CHDIR) {
        buf_printf(&text, "cannot enter its workingDir '%s': ",
                   spec->working_dir != NULL ? spec->working_dir : "/");
        add_chdir_cause(&text, fault->error, user);
    } else {
        buf_printf(&text, "cannot be started: %s", strerror(fault->error));
    }
    buf_printf(&text, " (%s: %s)", spawn_stage_name(fault->stage),
               reason_errno_name(fault->error, name, sizeof(name)));
    return buf_steal(&text);
}
