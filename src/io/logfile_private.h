/*
 * logfile, shared between its parts: the struct, and what logfile.c, logfile_rotate.c,
 * logfile_drop.c, logfile_open.c and logfile_tail.c ask of each other.
 */
#ifndef EDGIBLE_IO_LOGFILE_PRIVATE_H
#define EDGIBLE_IO_LOGFILE_PRIVATE_H

#include "edgible/log_owner.h"
#include "edgible/logfile.h"

#include <sys/stat.h>

#define LOGFILE_RETRY_MS 1000
#define LOGFILE_CHECK_MS 500

/* What is known while output is dropped. */
struct logfile_drop {
    bool active;
    bool given_up;        /* logfile_open() failed: only another one tries again */
    bool in_line;         /* the last byte dropped was not a line's end */
    unsigned quiet_ticks; /* retries since output was last dropped */
    int error;            /* why */
    char *what;           /* why, as a sentence without errno's text; owned */
    uint64_t bytes;       /* not yet reported in the log */
    uint64_t reported;    /* in the latest LOGFILE_ROOM */
    int64_t retry_ms;
};

/* Up to where a batch of bytes has come; kept where it outlives the agent. */
struct logfile_place {
    uint64_t dev, ino; /* of the file that is being written; 0: none yet */
    uint64_t size;     /* of it, before the write */
    uint64_t done;     /* bytes of the batch that were in a file before the write */
};

/* The place is replaced as a whole: the other one is filled, then `which` is changed. */
struct logfile_progress {
    struct logfile_place places[2];
    uint32_t which;
};

struct logfile {
    char *path;   /* absolute */
    bool is_null; /* PUMP_NO_LOG: nothing is opened, and what is written is dropped uncounted */
    uint64_t max_size;
    unsigned max_files;
    struct log_owner owner;
    bool is_limited; /* the path must match one of `allowed` */
    struct strv allowed;
    bool is_settled; /* opened since its limits were set: what others put there now is not moved */
    bool was_ours;   /* what the file held when it was opened came from this agent or one before */
    int fd;          /* -1: not open, and output is dropped */
    dev_t dev;
    ino_t ino;
    uint64_t size;
    uint64_t line_start;        /* where the unfinished line at the end begins; size where none */
    bool starts_line;           /* the next byte begins a line, whatever the file ends with */
    ino_t rotated_ino;          /* of the file that the run's bytes before this one are in */
    uint64_t run_bytes;         /* at the file's end, of this run */
    uint64_t rotated_run_bytes; /* at the end of the file rotated last, of this run */
    int64_t next_check_ms;      /* when the path is compared with the descriptor again */
    struct logfile_drop drop;
    struct logfile_counters counters;
    struct log_place *place; /* borrowed; NULL: nobody wants to know */
    /* Of the batch that is being written; NULL: nobody asks. */
    struct logfile_progress *progress;
    const char *batch;
    size_t batch_len;
};

/* logfile_folder.c */
/* The file's folder, made where it is missing and make is true. The caller has entered the owner.
 * Code ERR_SPEC where the policy does not allow what was opened. */
int logfile_open_dir(const struct logfile *lf, bool make, int *ret_fd, struct err *err) MUST_CHECK;
/* Gives a file in the agent's own log folder to the agent, readable by the workload's group. */
int logfile_take_file(const struct logfile *lf, int fd, struct err *err) MUST_CHECK;

/* Fails with errno value `cause`: "set the mode" or another `what` of the file. Where the file
 * system keeps no owners or modes the message says so, and what to do. */
int logfile_refuse_storage(const struct logfile *lf, int cause, const char *what,
                           struct err *err) MUST_CHECK;

/* logfile_ours.c */
/* -1 with ERR_SPEC where fd, which may be O_PATH, is on a file system of the kernel's (proc, sysfs,
 * cgroup, …). They have no blocks, and their files may act, with the writer's rights, on what is
 * written to them. */
int logfile_check_storage(const struct logfile *lf, int fd, struct err *err) MUST_CHECK;
/* Marks a file as a log of this agent's, where the file system can hold that. */
void logfile_mark(int fd);
/* Whether the file is another's than root's, the agent's or the workload's user's: that one can
 * read it, and change what is in it. */
bool logfile_is_foreign(const struct logfile *lf, const struct stat *st);
/* Whether an agent made the file: it has the mark, which anybody can set on a file of his own, or
 * is as an agent makes it. */
bool logfile_is_ours(const struct logfile *lf, int fd, const struct stat *st);
/* What a file holds, as an owner that is judged and a policy see it. */
enum logfile_content {
    LOGFILE_OWN,     /* its own output, or nothing */
    LOGFILE_OTHERS,  /* an agent's for another group, which alone may read it */
    LOGFILE_FOREIGN, /* no agent wrote it */
};
enum logfile_content logfile_judge(const struct logfile *lf, int fd, const struct stat *st);
/* logfile_is_ours() of a name in the folder. False where it is not there, or cannot be looked at.
 */
bool logfile_is_name_ours(const struct logfile *lf, int dir, const char *name);

/* logfile_open.c */
/* Opens or creates the file and takes over its identity and size; lf->fd is replaced. */
int logfile_open_at(struct logfile *lf, int dir, struct err *err) MUST_CHECK;
/* logfile_open_dir() and logfile_open_at(), removing rotated files while the disk is full; enters
 * the owner. */
int logfile_open_path(struct logfile *lf, struct err *err) MUST_CHECK;
const char *logfile_base(const struct logfile *lf);
/* Where the unfinished line at the end of the first size bytes begins; looks back at most
 * LOGFILE_LINE_BYTES and takes a longer one for the whole file. */
uint64_t logfile_find_line_start(int fd, uint64_t size);

/* logfile_rotate.c */
/* Enters the owner. */
int logfile_rotate(struct logfile *lf, struct err *err) MUST_CHECK;
/* Removes the oldest rotated file; false where there is none. */
bool logfile_remove_oldest(const struct logfile *lf);
/* The same; the caller has entered the owner. */
bool logfile_remove_oldest_entered(const struct logfile *lf);
/* Makes the name free of a file that is LOGFILE_OTHERS: as the newest rotated one it keeps its
 * group. With no rotated files to be kept, or where it is empty, it is removed. */
int logfile_set_aside(const struct logfile *lf, int dir, bool is_empty, struct err *err) MUST_CHECK;
void logfile_mend_chain(const struct logfile *lf, int dir);
/* Moves a half line at the end of `.1` to the file it was on its way to. */
void logfile_mend_line(struct logfile *lf, int dir);
/* "<base>.<n>" in a new string */
char *logfile_rotated_name(const struct logfile *lf, unsigned n);

/* logfile.c */
/* Appends with rotation. Returns how much landed; less than len means err is set. */
size_t logfile_append(struct logfile *lf, const char *data, size_t len, struct err *err);
/* Notices removal, moving and truncation by others. -1: the file is lost and cannot be made. */
int logfile_check_identity(struct logfile *lf, int64_t now_ms, unsigned *happened,
                           struct err *err) MUST_CHECK;

/* logfile_drop.c */
bool logfile_is_full_error(int error);
bool logfile_is_dropping_error(int error);
void logfile_drop_start(struct logfile *lf, const struct err *why, int64_t now_ms);
void logfile_drop_bytes(struct logfile *lf, const char *data, size_t len);
unsigned logfile_drop_write(struct logfile *lf, const char *data, size_t len, int64_t now_ms);

#endif
