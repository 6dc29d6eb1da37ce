/*
 * persist: the agent's records: durable ones below stateDir, and those of this boot below
 * runtimeDir. A record is one file, named by a path such as `units/app/web.json`, mode 0600.
 *
 * The loop never waits for a disk. A durable record is there for the next agent at once (in the
 * file <runtimeDir>/pending, without fsync), and a thread makes it durable: temporary file, fsync,
 * rename, fsync of the folder. What fails, as on a full disk, is tried again until it works.
 * Records of this boot are written by the loop's thread itself: runtimeDir is meant to be in
 * memory.
 */
#ifndef EDGIBLE_PERSIST_H
#define EDGIBLE_PERSIST_H

#include "edgible/err.h"
#include "edgible/loop.h"
#include "edgible/mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct persist;

struct persist_params {
    struct loop *loop;
    const char *state_dir, *runtime_dir; /* copied */
    const char *boot_id;                 /* records in runtimeDir of another boot are thrown away */
};

struct persist *persist_new(const struct persist_params *params, struct err *err);
/* Waits for the disk, a second at most; what is not durable then is in pending still. */
void persist_free(struct persist *persist);
DEFINE_CLEANUP(persist, struct persist, persist_free)

/* text is copied. */
void persist_put(struct persist *persist, const char *name, const char *text);
void persist_remove(struct persist *persist, const char *name);
void persist_put_volatile(struct persist *persist, const char *name, const char *text);
void persist_remove_volatile(struct persist *persist, const char *name);

/* Calls fn for each durable record below the folder ("applications", "units"), as it was put last.
 * text is borrowed for the call. One that cannot be read comes with text NULL and why. */
typedef void persist_fn(void *arg, const char *name, const char *text, size_t len,
                        const struct err *err);
void persist_each(struct persist *persist, const char *folder, persist_fn *fn, void *arg);
/* The text of one record of this boot; NULL where there is none. The caller frees. */
char *persist_read_volatile(struct persist *persist, const char *name, size_t *ret_len,
                            struct err *err);

/* When the newest durable record was written, by the time of day of then, in ms since 1970; 0:
 * there is none. */
int64_t persist_newest_ms(const struct persist *persist);

/* True where records do not get to the disk just now, with the latest reason. */
bool persist_has_trouble(struct persist *persist, struct err *ret);
/* The same of records of this boot, in runtimeDir. */
bool persist_has_volatile_trouble(const struct persist *persist, struct err *ret);

/* Waits until all is durable, max_wait_ms at most. */
int persist_flush(struct persist *persist, int max_wait_ms, struct err *err) MUST_CHECK;

#endif
