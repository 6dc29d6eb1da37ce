/*
 * pump_log: copies of where a log goes, and whether two are to be judged alike.
 */
#ifndef EDGIBLE_IO_PUMP_LOG_H
#define EDGIBLE_IO_PUMP_LOG_H

#include "edgible/pump.h"

/* Points into itself: it must not be moved. */
struct pump_log_copy {
    struct pump_log log;
    char *file;
    struct strv allowed;
};

/* In place of what *to held; zeroed at first. */
void pump_log_copy(struct pump_log_copy *to, const struct pump_log *log);
void pump_log_copy_fini(struct pump_log_copy *copy);
/* The same file, with the same rights, among the same patterns. */
bool pump_log_is_judged_alike(const struct pump_log *a, const struct pump_log *b);

#endif
