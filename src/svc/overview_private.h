/*
 * The inside of the overview, shared by overview.c (reports) and overview_look.c (what the system
 * tells, in turns).
 */
#ifndef EDGIBLE_OVERVIEW_PRIVATE_H
#define EDGIBLE_OVERVIEW_PRIVATE_H

#include "edgible/overview.h"

struct probe;

void overview_fill_from_system(struct probe *probe, unsigned what, const struct workload *w,
                               struct workload_report *report);
/* Nothing where it is another process by now. */
void overview_fill_from_look(const struct overview_look *look, const char *application,
                             struct workload_report *report);

#endif
