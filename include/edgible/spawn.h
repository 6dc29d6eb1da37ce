/*
 * spawn: starts one process in a session and process group of its own.
 *
 * Everything that allocates or looks anything up is done by the caller; the child makes system
 * calls only. What fails in the child comes back over the handshake, which the loop watches:
 * spawn() never waits for it.
 *
 * The child waits until spawn_release(): so its caller can write down its PID before any program
 * runs. Where the caller ends before that, the child ends too.
 */
#ifndef EDGIBLE_SPAWN_H
#define EDGIBLE_SPAWN_H

#include "edgible/creds.h"
#include "edgible/err.h"
#include "edgible/strv.h"
#include "edgible/syscall_filter.h"

#include <stdbool.h>
#include <sys/resource.h>
#include <sys/types.h>

/* Where a bare name is looked for, unless its environment says otherwise. */
#define SPAWN_DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* Once, before there are threads: this process leaves the session keyring that it was started in.
 * Children that cannot have one of their own, as their user has too many keys, stay in this one. */
void spawn_leave_keyring(void);

/* What the child was doing when it failed. */
enum spawn_stage {
    SPAWN_STAGE_CGROUP,
    SPAWN_STAGE_SIGNALS,
    SPAWN_STAGE_SESSION,
    SPAWN_STAGE_STDIO,
    SPAWN_STAGE_LIMITS,
    SPAWN_STAGE_GROUPS,
    SPAWN_STAGE_GID,
    SPAWN_STAGE_UID,
    SPAWN_STAGE_CHDIR,
    SPAWN_STAGE_RESTRICT,
    SPAWN_STAGE_EXEC,
    SPAWN_STAGE_COUNT
};

struct spawn_fault {
    enum spawn_stage stage;
    int error; /* errno */
};

#define SPAWN_RLIMITS_MAX 4

struct spawn_rlimit {
    int resource; /* RLIMIT_DATA … */
    struct rlimit limit;
};

struct spawn_request {
    char *const *argv;
    char *const *envp;
    char *const *paths; /* executables tried in order, as execvp does; NULL-terminated */
    int exec_fd;        /* the executable itself, O_PATH, instead of paths; -1: none; borrowed */
    const char *working_dir; /* NULL: "/" */
    bool is_dir_known;       /* the child must find itself in just this one: ESTALE otherwise */
    dev_t dir_dev;
    ino_t dir_ino;
    const struct creds *creds;
    int output_fd;            /* becomes stdout and stderr; borrowed */
    int cgroup_fd;            /* directory of its cgroup, -1: none; borrowed */
    bool joins_cgroup;        /* by cgroup.procs, not by clone3: see cgroup_make() */
    struct rlimit open_files; /* RLIMIT_NOFILE as the agent found it at its own start */
    struct spawn_rlimit rlimits[SPAWN_RLIMITS_MAX]; /* more */
    size_t rlimit_count;
    bool no_new_privs;                   /* no program of it gains rights on exec */
    int sandbox_fd;                      /* a Landlock ruleset; -1: none; borrowed */
    const struct syscall_filter *filter; /* beside it; NULL: none; borrowed */
};

struct spawned {
    pid_t pid;        /* also its process group and session */
    int pidfd;        /* owned by the caller; readable once it has exited */
    int handshake_fd; /* owned by the caller; non-blocking; see spawn_read_handshake() */
};

/* Lets the child go on to its program. */
void spawn_release(int handshake_fd);

/*
 * Creates the child with clone3(CLONE_PIDFD, CLONE_INTO_CGROUP), or clone and, where that knows
 * no CLONE_PIDFD, pidfd_open. Fails with ERR_HOST (EAGAIN, ENOMEM, EMFILE …: try again later).
 */
int spawn(const struct spawn_request *request, struct spawned *ret, struct err *err) MUST_CHECK;

enum spawn_outcome { SPAWN_PENDING, SPAWN_STARTED, SPAWN_FAULTED };

/* Call when handshake_fd is readable. SPAWN_FAULTED fills *ret_fault. SPAWN_STARTED is also the
 * answer where the child was killed before its exec: its pidfd says so. */
enum spawn_outcome spawn_read_handshake(int handshake_fd, struct spawn_fault *ret_fault);

/* "exec", "chdir" … */
const char *spawn_stage_name(enum spawn_stage stage);

/* True where the fault is the machine's (EAGAIN, ENOMEM, EMFILE, ENFILE …), not the workload's. */
bool spawn_fault_is_host(const struct spawn_fault *fault);

/* The executables that argv0 can mean: itself where it has a slash, else one an entry of path
 * (an entry that is empty or relative is left out: the working directory is never searched). */
void spawn_find_paths(const char *argv0, const char *path, struct strv *ret_paths);

/* Makes orphaned descendants children of this process (PR_SET_CHILD_SUBREAPER), and SIGCHLD its
 * default: ignored, it would have the kernel throw away their exit status. */
int spawn_become_subreaper(struct err *err) MUST_CHECK;

/* Raises the soft RLIMIT_NOFILE to the hard one; *ret_before is what workloads get back. */
int spawn_raise_open_files(struct rlimit *ret_before, struct rlimit *ret_now,
                           struct err *err) MUST_CHECK;

#endif
