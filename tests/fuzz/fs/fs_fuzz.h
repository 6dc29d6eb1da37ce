/*
 * fs_fuzz, shared between its parts: the ground that all of it happens on, the canaries that must
 * stay as they are, and the mutator that moves everything else.
 */
#ifndef EDGIBLE_TESTS_FS_FUZZ_H
#define EDGIBLE_TESTS_FS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Folders in which the mutator may change every name. */
enum arena {
    ARENA_PLAIN,   /* logs with the rights of the workload's user, and paths */
    ARENA_LIMITED, /* the same under a policy that allows this folder alone */
    ARENA_LOGS,    /* the agent's log folder, with folders that an older agent gave to the user */
    ARENA_STEERED, /* logs of a workload of root in the folder of a user */
    ARENA_PUBLIC,  /* paths in a folder of root's in which everybody may make names, as in /tmp */
    ARENA_COUNT,
};

enum op {
    OP_MKDIR,
    OP_RMDIR,
    OP_UNLINK,
    OP_SYMLINK,
    OP_LINK,
    OP_LINK_CANARY,
    OP_RENAME,
    OP_EXCHANGE,
    OP_FLIP,
    OP_FIFO,
    OP_WRITE,
    OP_TRUNCATE,
    OP_CHMOD,
    OP_MARK,
    OP_SWEEP,
    OP_COUNT,
};

/* Lies in memory that both processes share. */
struct shared {
    uint32_t arena;  /* enum arena: where the agent is at work */
    uint32_t folder; /* the folder of its log there: in fs_log_folders */
    uint32_t file;   /* and the log's name: in fs_log_names */
    uint32_t is_stopping;
    uint64_t done[OP_COUNT]; /* mutations that succeeded */
};

struct ground {
    char *base; /* absolute */
    uid_t uid;  /* the workload's user, and the mutator's */
    gid_t gid;
    bool is_root; /* the agent is root, and the user another one; else both are one user */
    pid_t agent;
    char secret[48]; /* in each file that the user may not read */
    struct shared *shared;
    uint64_t random; /* the state of this process's generator */
};

extern const char *const arena_names[ARENA_COUNT];
extern const char *const op_names[OP_COUNT];
/* Relative to the arena. The first two are in all of them. */
#define FS_LOG_FOLDERS 6
extern const char *const fs_log_folders[FS_LOG_FOLDERS];
#define FS_LOG_NAMES 2
extern const char *const fs_log_names[FS_LOG_NAMES];

/* Below limit. */
uint32_t fs_random(struct ground *ground, uint32_t limit);
bool fs_chance(struct ground *ground, uint32_t percent);
/* Ends the process: the test could not do its work. */
_Noreturn void fs_die(const char *what);
/* base/relative; the caller frees. */
char *fs_path(const struct ground *ground, const char *relative);
/* Removes what is in the folder, without following links; keep names what stays, or is NULL. */
void fs_remove_below(int dir, const char *keep, int depth);
/* A folder of the arena, by names that are no links; the arena itself where that is not there. */
int fs_open_some_folder(struct ground *ground, int arena);
/* A name that logs, rotated logs or their folders have. */
const char *fs_some_name(struct ground *ground);

/* fs_canary.c */
void canaries_make(struct ground *ground);
/* The number of canaries that changed; each is said on stderr. */
unsigned canaries_check(const struct ground *ground);
/* Whether it is a canary to which only a link leads from an arena. */
bool canary_is_outside(const struct stat *st);
/* A canary that a link in the arena may lead to; valid until the next call. */
const char *canary_some_target(struct ground *ground, enum arena arena);
/* A canary that gets a second name in the arena; valid until the next call. */
const char *canary_some_hard_link(struct ground *ground, enum arena arena);
/* Whether the secret is in data. */
bool canary_is_secret(const struct ground *ground, const char *data, size_t len);

/* fs_mutator.c */
_Noreturn void mutator_run(struct ground *ground);

#endif
