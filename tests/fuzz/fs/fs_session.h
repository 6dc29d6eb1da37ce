/* fs_fuzz: what the agent does with logs and paths while the mutator is at work. */
#ifndef EDGIBLE_TESTS_FS_SESSION_H
#define EDGIBLE_TESTS_FS_SESSION_H

#include "fs_fuzz.h"

/* How far it came. */
struct counts {
    uint64_t faults;
    uint64_t opens[ARENA_COUNT], rotations[ARENA_COUNT], reads[ARENA_COUNT];
    uint64_t refusals, tails;
    uint64_t trusted, untrusted, resolved, settled;
};

void fs_say_fault(struct counts *counts, const char *what, const char *path);
/* What is in the arena before a session. */
void fs_prepare(struct ground *ground, enum arena arena);
/* One log from its opening to its end. */
void session_run_log(struct ground *ground, enum arena arena, struct counts *counts);
/* Many paths through ARENA_PLAIN or ARENA_PUBLIC; fs_paths.c. */
void session_run_paths(struct ground *ground, struct counts *counts);

#endif
