#include "edgible/docread.h"

#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* The policies that documents and the configuration's defaults share. */

static void read_when(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const char *const names[] = {"always", "on-failure", "never"};
    static const enum restart_when values[] = {RESTART_ALWAYS, RESTART_ON_FAILURE, RESTART_NEVER};
    const char *text = docread_text(reader, spot);
    enum restart_when *ret = target;
    char hint[64];
    if (text == NULL) {
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(names[i], text) == 0) {
            *ret = values[i];
            return;
        }
    }
    docread_error(reader, spot, "'%.40s' is none of always, on-failure, never%s", text,
                  docread_suggest(text, names, ARRAY_LEN(names), hint, sizeof(hint)));
}

static void check_delays(struct doc_reader *reader, const struct doc_spot *spot,
                         const struct restart_policy *policy)
{
    if (policy->initial_delay_ms != UNSET && policy->max_delay_ms != UNSET &&
        policy->initial_delay_ms > policy->max_delay_ms) {
        docread_error(reader, spot, "initialDelay is above maxDelay");
    }
}

void docread_restart(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct restart_policy, when, "policy", read_when),
        DOC_FIELD(struct restart_policy, initial_delay_ms, "initialDelay", docread_duration),
        DOC_FIELD(struct restart_policy, max_delay_ms, "maxDelay", docread_duration, .min = 1),
        DOC_FIELD(struct restart_policy, rapid_after_ms, "rapidAfter", docread_duration),
        DOC_FIELD(struct restart_policy, max_rapid_failures, "maxRapidFailures", docread_int,
                  .max = 1000000),
        DOC_FIELD(struct restart_policy, stable_after_ms, "stableAfter", docread_duration),
        DOC_FIELD(struct restart_policy, retry_failed_after_ms, "retryFailedAfter",
                  docread_duration),
        DOC_FIELDS_END,
    };
    docread_mapping(reader, spot, fields, target);
    check_delays(reader, spot, target);
}

static void read_signal(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    const char *text = docread_text(reader, spot);
    int *ret = target;
    if (text == NULL) {
        return;
    }
    int number = signal_from_name(text);
    if (number < 0) {
        docread_error(reader, spot, "'%.40s' is not a signal such as SIGTERM", text);
    } else if (number == SIGSTOP) {
        docread_error(reader, spot, "SIGSTOP halts a process and does not end it");
    } else {
        *ret = number;
    }
}

void docread_stop(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct stop_policy, signal, "signal", read_signal),
        DOC_FIELD(struct stop_policy, grace_ms, "gracePeriod", docread_duration),
        DOC_FIELDS_END,
    };
    docread_mapping(reader, spot, fields, target);
}

void docread_logs(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct log_policy, max_size_bytes, "maxSize", docread_size,
                  .min = DOCREAD_MIN_LOG_BYTES),
        DOC_FIELD(struct log_policy, max_files, "maxFiles", docread_int,
                  .max = DOCREAD_MAX_LOG_FILES),
        DOC_FIELDS_END,
    };
    static const struct doc_field recorded[] = {
        DOC_FIELD(struct log_policy, max_size_bytes, "maxSize", docread_size, .min = 1),
        DOC_FIELD(struct log_policy, max_files, "maxFiles", docread_int, .max = 1000),
        DOC_FIELDS_END,
    };
    struct log_policy *logs = target;
    docread_mapping(reader, spot, reader->is_record ? recorded : fields, logs);
    if (logs->max_size_bytes != UNSET && logs->max_size_bytes < DOCREAD_MIN_LOG_BYTES) {
        logs->max_size_bytes = DOCREAD_MIN_LOG_BYTES;
    }
    if (logs->max_files > DOCREAD_MAX_LOG_FILES) {
        logs->max_files = DOCREAD_MAX_LOG_FILES;
    }
}

void docread_user_name(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    const char *text = docread_text(reader, spot);
    char **ret = target;
    if (text == NULL) {
        return;
    }
    /* What the system's own tools accept differs; these no account can have in /etc/passwd. */
    if (strpbrk(text, ": \t\n/,") != NULL || text[0] == '-' || strlen(text) > 255) {
        docread_error(reader, spot, "'%.80s' is not a name of a user or group", text);
        return;
    }
    free(*ret);
    *ret = xstrdup(text);
}
