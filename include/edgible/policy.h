/*
 * policy: patterns of paths, as the device's owner writes them. Pure.
 */
#ifndef EDGIBLE_POLICY_H
#define EDGIBLE_POLICY_H

#include "edgible/strv.h"

#include <stdbool.h>

/*
 * `?` is one character and `*` any number of them, within one part of the path; `**` goes over
 * parts, too. Everything else is itself. path is absolute and resolved: what it leads to, and not
 * how somebody wrote it.
 */
bool policy_pattern_matches(const char *pattern, const char *path);
bool policy_matches_any(const struct strv *patterns, const char *path);

/* How much of the pattern is no pattern: whole parts, without a slash at the end ("/opt" of
 * "/opt/a*b", all of "/usr/bin/env"). 0 where there is none. */
size_t policy_plain_length(const char *pattern);

/* Whether a program of that name runs other programs or code that its arguments name: a shell,
 * `python3.11`, `env`, `xargs`, `sudo`, `docker` and their like. */
bool policy_is_interpreter(const char *name);

/* Whether a variable of that name makes a loader, an interpreter or a library run or load
 * something that the command does not name. */
bool policy_is_loading_variable(const char *name);

#endif
