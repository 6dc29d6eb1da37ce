/*
 * sdnotify: what a service says to the service manager that started it: sd_notify(3)'s datagrams,
 * written here as that manual recommends, so that libsystemd is not needed.
 *
 * Nothing waits: a manager that does not read makes a message fail with EAGAIN.
 */
#ifndef EDGIBLE_SDNOTIFY_H
#define EDGIBLE_SDNOTIFY_H

#include "edgible/err.h"
#include "edgible/mem.h"
#include "edgible/parse.h"

struct sdnotify;

/* Takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of the environment, so that nothing that
 * is started later has them. NULL where no manager asks (err->code 0), or where it asks in a way
 * that is not understood (err says how). */
struct sdnotify *sdnotify_take(struct err *err);
void sdnotify_free(struct sdnotify *notify);
DEFINE_CLEANUP(sdnotify, struct sdnotify, sdnotify_free)

/* Sends lines of NAME=VALUE in one message. */
int sdnotify_send(const struct sdnotify *notify, const char *lines, struct err *err) MUST_CHECK;

/* The manager acts when it hears no WATCHDOG=1 for so long; 0: it does not watch. */
mono_ms sdnotify_watchdog_ms(const struct sdnotify *notify);

/* Puts the variables back, for a program that takes this one's place by exec; sdnotify_hide()
 * takes that back. */
void sdnotify_show(const struct sdnotify *notify);
void sdnotify_hide(void);

#endif
