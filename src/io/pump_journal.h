/*
 * pump_journal: where a lane's batch is between the pipe that it was read from and the file that it
 * is written to, so that kill -9 at any moment loses no line and doubles none. For src/io only.
 *
 * The batch lies in a file that is mapped, <dir>/lane-<n>, so it outlives the agent. What is in it
 * is told by a head: nothing; being read, length not known yet; or held, and how much of it the log
 * file has already. A read that the agent's death cut off has either happened whole or not at all
 * (the kernel copies to a pipe's reader without a break). Its length is known before, since nobody
 * else reads from the pipe. Whether it has happened is told by the batch's beginning: random bytes
 * before, or, where less is read than those, a byte that differs from the pipe's first one, which
 * tee(2) shows without taking it.
 */
#ifndef EDGIBLE_IO_PUMP_JOURNAL_H
#define EDGIBLE_IO_PUMP_JOURNAL_H

#include "edgible/err.h"
#include "edgible/logfile.h"

#include <stdbool.h>
#include <stddef.h>

#define PUMP_JOURNAL_MARK 16

struct journal_head;
struct pump;

struct pump_journal {
    char *path; /* owned; NULL: the batch is in plain memory, and an agent's death loses it */
    struct journal_head *head; /* mapped; NULL while there is no work */
    char *batch;               /* behind the head */
    size_t dirty;              /* bytes at its start that are not JOURNAL_FILL */
    int side[2];               /* a pipe for the first byte; -1: none */
    char random[PUMP_JOURNAL_MARK];
};

/* dir may be NULL. Opens nothing yet. */
void pump_journal_init(struct pump_journal *journal, const char *dir, size_t number);
void pump_journal_fini(struct pump_journal *journal);

/* Maps the batch where it is not; a full disk makes it plain memory. */
void pump_journal_map(struct pump_journal *journal);
/* Gives memory and disk back until the next map. Nothing is held. */
void pump_journal_unmap(struct pump_journal *journal);

/* Before the read of at most max bytes from the pipe fd: what comes is for this file. Returns how
 * much is to be read. */
size_t pump_journal_begin(struct pump_journal *journal, struct logfile *lf, int fd, size_t max);
/* After it: so many bytes are in the batch. */
void pump_journal_hold(struct pump_journal *journal, struct logfile *lf, size_t len);
/* All of it is in the file, or dropped and counted. */
void pump_journal_end(struct pump_journal *journal, struct logfile *lf);

/* Who is told of what cannot be written; pump: of whom. */
typedef void pump_refused_fn(struct pump *pump, uint64_t bytes, const struct err *err);
/* Writes what earlier agents' batches in dir still hold to their files, where today's policy lets
 * it: allowed is as in struct pump_log. Blocks on the disk. */
void pump_journal_recover(const char *dir, const struct strv *allowed, pump_refused_fn *refused,
                          struct pump *pump);

#endif
