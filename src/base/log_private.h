/*
 * The inside of the log, shared by log.c (formats and writes) and log_kept.c (keeps the last
 * lines).
 */
#ifndef EDGIBLE_LOG_PRIVATE_H
#define EDGIBLE_LOG_PRIVATE_H

#include "edgible/log.h"

/* From any thread. */
void log_keep(enum log_level level, const char *subsystem, const struct buf *line);

#endif
