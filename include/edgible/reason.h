/*
 * reason: why a workload is not running, as a sentence for people.
 */
#ifndef EDGIBLE_REASON_H
#define EDGIBLE_REASON_H

#include "edgible/appspec.h"
#include "edgible/proc.h"
#include "edgible/spawn.h"

/* "ENOENT" for an errno; "error 999" for one without a name (buf is used then). */
const char *reason_errno_name(int error, char *buf, size_t size);

/* "exited with status 1 after 0.8 s", "was killed by SIGSEGV (core dumped) after 3 s". The caller
 * frees, as in the next one. */
char *reason_of_exit(const struct proc_exit *end, mono_ms uptime_ms);

/* "cannot start '/opt/x': there is no such file (exec: ENOENT)". Looks at the file system for the
 * cause, at what the kernel itself just looked at. user is the name it runs as. */
char *reason_of_fault(const struct spawn_fault *fault, const struct workload_spec *spec,
                      const char *user);

#endif
