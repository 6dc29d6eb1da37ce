/*
 * reporter: tells a control plane how the device is: on change, and at an interval. It makes the
 * reports and keeps what has not been told yet, also over reboots; the source carries them.
 */
#ifndef EDGIBLE_REPORTER_H
#define EDGIBLE_REPORTER_H

#include "edgible/overview.h"

struct reporter;

struct reporter_params {
    const struct source_params *source; /* borrowed, with all in it; outlives the reporter */
    const struct source *self;          /* whose problems are told; likewise */
    mono_ms interval_ms;
    /* Carries the report away; reporter_on_end() is to follow, from the loop. text is borrowed for
     * the call. */
    void (*send)(void *arg, const char *text, size_t len);
    void *arg;
};

enum report_end {
    REPORT_TAKEN,
    REPORT_FAILED,
    REPORT_UNWANTED, /* the server takes no reports */
};

/* Nothing is sent before reporter_start(). */
struct reporter *reporter_new(const struct reporter_params *params);
/* What has not been told is kept for the next agent. */
void reporter_free(struct reporter *reporter);
DEFINE_CLEANUP(reporter, struct reporter, reporter_free)

/* There was a first contact, or it was tried. Again: nothing. */
void reporter_start(struct reporter *reporter);
/* What the control plane wants now has this tag, and has been applied. */
void reporter_set_desired(struct reporter *reporter, const char *etag);
/* Sends one as soon as may be. */
void reporter_poke(struct reporter *reporter);
/* Sends the last one, of an agent that ends in order; done follows once it was taken, or not.
 * False: none is sent, as no report was taken before, or the last one was not. */
bool reporter_end(struct reporter *reporter, loop_fn done, void *arg);
/* detail: why, NULL where it was taken. retry_after_ms: what the server asks for; -1: nothing. */
void reporter_on_end(struct reporter *reporter, enum report_end end, const char *detail,
                     mono_ms retry_after_ms);

void reporter_add_details(const struct reporter *reporter, struct json *json);

#endif
