#include "pump_log.h"

#include <stdlib.h>
#include <string.h>

void pump_log_copy(struct pump_log_copy *to, const struct pump_log *log)
{
    pump_log_copy_fini(to);
    to->log = *log;
    to->log.file = to->file = xstrdup(log->file);
    if (log->allowed != NULL) {
        strv_copy(&to->allowed, log->allowed);
        to->log.allowed = &to->allowed;
    }
}

void pump_log_copy_fini(struct pump_log_copy *copy)
{
    free(copy->file);
    strv_fini(&copy->allowed);
    *copy = (struct pump_log_copy){0};
}

bool pump_log_is_judged_alike(const struct pump_log *a, const struct pump_log *b)
{
    bool is_allowed_alike = a->allowed == NULL || b->allowed == NULL
                                ? a->allowed == b->allowed
                                : strv_is_equal(a->allowed, b->allowed);
    return is_allowed_alike && strcmp(a->file, b->file) == 0 &&
           log_owner_equals(&a->owner, &b->owner);
}
