/*
 * The inside of persist, shared by persist.c (the loop's side), persist_read.c and persist_disk.c
 * (the thread).
 */
#ifndef EDGIBLE_PERSIST_PRIVATE_H
#define EDGIBLE_PERSIST_PRIVATE_H

#include "edgible/list.h"
#include "edgible/map.h"
#include "edgible/persist.h"

#include <pthread.h>

/* One record on its way to the disk. */
struct persist_job {
    struct list link;
    char *name;
    char *text;           /* NULL: it is to be removed */
    unsigned long number; /* of all jobs */
    bool is_done;
};

struct persist {
    struct loop *loop;
    char *state_dir, *runtime_dir;
    char *pending_path; /* the file with what is not durable yet */
    int pending_fd;
    size_t pending_bytes;
    struct map *left;   /* name → text of what an earlier agent left pending; "": to be removed */
    struct map *latest; /* name → number of its latest job, while that is not durable */
    unsigned long last_number;
    bool volatile_failed;        /* said, and not said again until it works */
    struct err volatile_failure; /* the latest */
    struct map *unwritten; /* name → text of a record of this boot that found no room; owned */
    struct loop_timer *retry;
    struct loop_async *progress;

    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;  /* for the thread: jobs, or quitting */
    pthread_cond_t rests; /* for persist_flush(): nothing is left to do */
    /* guarded by the lock */
    struct list jobs; /* to do */
    struct list done; /* for the loop's thread to take note of */
    bool is_busy;
    unsigned flushes; /* persist_flush() waits: nothing is gathered */
    bool is_failing;
    bool failure_said;
    struct err failure; /* of the last round */
    bool quitting;
    bool orphaned; /* the thread hangs on a disk, and nobody is left to tell */
};

/* persist_read.c: the text of the record dir/name; the caller frees. */
int persist_read_file(const char *dir, const char *name, char **ret_text, size_t *ret_len,
                      struct err *err);

/* persist_disk.c */
void *persist_disk_main(void *arg);
void persist_job_free(struct persist_job *job);

#endif
