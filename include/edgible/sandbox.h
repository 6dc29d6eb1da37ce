/*
 * sandbox: what files a workload may reach and which TCP ports it may connect to, by Landlock, as
 * far as the kernel has it (Linux 5.13; connections 6.7), and by Linux 6.12 that it signals nobody
 * outside, and connects to no abstract Unix socket. Made before the fork; the child enters it by
 * spawn_request.sandbox_fd.
 */
#ifndef EDGIBLE_SANDBOX_H
#define EDGIBLE_SANDBOX_H

#include "edgible/err.h"
#include "edgible/strv.h"

#include <stdbool.h>
#include <stdint.h>

struct sandbox_request {
    const struct strv *read, *write; /* absolute paths, with all below them */
    const uint16_t *connect;         /* ports */
    size_t connect_count;
    bool limit_connect;         /* no other port than those */
    const char *program;        /* may be read and executed; NULL: none known */
    const char *working_dir;    /* may be read; NULL: none */
    const struct strv *allowed; /* patterns that `read`, `write` and working_dir must match, as they
                                   were opened; NULL: any */
};

/* The Landlock version of this kernel; 0: it has none, or it is switched off. */
int sandbox_version(void);

/* A ruleset: the caller closes it. -1 with ERR_SPEC where a path of `read` or `write` does not
 * exist, or any path leads by a link that somebody else, or what is in the sandbox, can have put
 * there (trusted.h), through too many folders, or is not allowed; ENOSYS where sandbox_version() is
 * 0. */
int sandbox_open(const struct sandbox_request *request, struct err *err) MUST_CHECK;

/* "landlock 7", "landlock 5, without signals", "landlock 3, without connect and signals", "landlock
 * 7, without system calls" (see syscall_filter.h), "none". */
void sandbox_describe(int version, bool has_filter, bool limit_connect, char *buf, size_t size);

#endif
