/*
 * look: looks up paths that documents name, on a thread. Where a file system hangs, or somebody
 * keeps the lock of a folder, that thread waits and nobody else: it is left behind.
 *
 * At most LOOKS_MAX such threads are there at once, and at most LOOKS_OF_USER_MAX of them for one
 * user.
 */
#ifndef EDGIBLE_SVC_LOOK_H
#define EDGIBLE_SVC_LOOK_H

#include "edgible/work.h"

#include <sys/types.h>

#define LOOKS_MAX 16
#define LOOKS_OF_USER_MAX 4
/* What has not answered for so long hangs. */
#define LOOK_MS 10000

/*
 * Starts the work, and waits for its end for `wait` at most. *ret_over: its run() is over, and its
 * done() is not called. NULL where it cannot be started: EBUSY where as many are under way as may
 * be and some of them may end soon, ERR_HOST where all of them hang, else errno. Loop's thread
 * only.
 */
struct work *look_start(const struct work_params *params, uid_t user, mono_ms wait, bool *ret_over,
                        struct err *err);
/* Whether one has been under way for longer than it takes where nothing hangs. */
bool look_any_hangs(void);

#endif
