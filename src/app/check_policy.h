/*
 * check_policy: the policy as --check prints it.
 */
#ifndef EDGIBLE_CHECK_POLICY_H
#define EDGIBLE_CHECK_POLICY_H

#include "edgible/config.h"

/* Prints one line for each key that the policy sets, and what holds without a policy. */
void check_print_policy(const struct policy_config *policy);

#endif
