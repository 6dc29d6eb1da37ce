/*
 * source_trust: with controlPlane.trustedKeys, what is taken from a source is one signed set: the
 * text of all documents and, as its last four lines, its minisign signature in comments. Format:
 * docs/control-planes.md.
 */
#ifndef EDGIBLE_SOURCE_TRUST_H
#define EDGIBLE_SOURCE_TRUST_H

#include "edgible/config.h"
#include "edgible/err.h"
#include "edgible/persist.h"

#include <stdbool.h>

/* The file or key that holds the set, where a source has more than one place. */
#define TRUST_SET_NAME "applications.yaml"

struct source_trust;

/* *ret is NULL where there are no keys. config and persist are borrowed; persist NULL: only to
 * look, what was accepted before is neither known nor kept. */
int trust_open(const struct config *config, struct persist *persist, struct source_trust **ret,
               struct err *err) MUST_CHECK;
void trust_free(struct source_trust *trust);

/* The set is signed by a trusted key, is for this device, and its sequence number is not lower than
 * the last one that was accepted: which this one is from now on. *ret_len is how much of the text
 * are its documents. ERR_REMOTE with the sentence that refuses it. */
int trust_accept(struct source_trust *trust, const char *text, size_t len, size_t *ret_len,
                 struct err *err) MUST_CHECK;
/* Whether one was accepted since it was opened. */
bool trust_has_accepted(const struct source_trust *trust);

#endif
