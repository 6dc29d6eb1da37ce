/* fs_fuzz: what the agent does with logs and paths while the mutator is at work. */
#ifndef EDGIBLE_TESTS_FS_SESSION_H
#define EDGIBLE_TESTS_FS_SESSION_H

#include "fs_fuzz.h"

/* How far it came: each must be more than 0 at the end, except faults and those that say so. */
struct counts {
    uint64_t faults;
    uint64_t opens[ARENA_COUNT], rotations[ARENA_COUNT], reads[ARENA_COUNT];
    uint64_t refusals, tails;
    uint64_t trusted, untrusted, resolved, settled;
};

/* One log from its opening to its end. */
void session_run_log(struct ground *ground, enum arena arena, struct counts *counts);
/* Many paths through ARENA_PLAIN. */
void session_run_paths(struct ground *ground, struct counts *counts);

#endif
