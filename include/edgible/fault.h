/*
 * fault: named points between two durable steps at which a test can end the agent, to see what the
 * next one makes of it. Only a build with EDGIBLE_FAULT_POINTS has them.
 */
#ifndef EDGIBLE_FAULT_H
#define EDGIBLE_FAULT_H

#ifdef EDGIBLE_FAULT_POINTS
/* Where the environment's EDGIBLE_FAULT is "<name>" or "<name>:<n>": the process ends at once, with
 * exit status FAULT_EXIT, when it comes by for the n-th time. Safe from any thread. */
void fault_point(const char *name);
#define FAULT_POINT(name) fault_point(name)
#else
#define FAULT_POINT(name) ((void) 0)
#endif

#define FAULT_EXIT 86

#endif
