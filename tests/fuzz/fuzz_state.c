/* Any text as a record of the agent's own: what is read can be written, and is the same again. */
#include "edgible/run_state.h"
#include "edgible/spec_diff.h"
#include "fuzz.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void check_unit(const char *text, size_t size)
{
    CLEANUP(unit) struct unit unit = {0};
    CLEANUP(unit) struct unit again = {0};
    struct err err = {0};
    if (unit_read("unit", text, size, &unit, &err) != STATE_DOC_READ) {
        assert(err.msg[0] != '\0');
        return;
    }
    CLEANUP(free)
    char *written = unit_text(unit.application, unit.generation, &unit.app_depends_on, unit.spec);
    assert(unit_read("again", written, strlen(written), &again, &err) == STATE_DOC_READ);
    assert(spec_diff_workload(unit.spec, again.spec, NULL) == SPEC_SAME);
    assert(unit.generation == again.generation);
}

static void check_app(const char *text, size_t size)
{
    CLEANUP(app_record) struct app_record record = {0};
    CLEANUP(app_record) struct app_record again = {0};
    struct err err = {0};
    if (app_record_read("app", text, size, &record, &err) != STATE_DOC_READ) {
        assert(err.msg[0] != '\0');
        return;
    }
    CLEANUP(free) char *written = app_record_text(&record);
    assert(app_record_read("again", written, strlen(written), &again, &err) == STATE_DOC_READ);
    assert(!spec_diff_app_is_different(record.app, again.app));
}

static void check_run_state(const char *text, size_t size)
{
    CLEANUP(run_state) struct run_state state = {0};
    CLEANUP(run_state) struct run_state again = {0};
    struct err err = {0};
    if (run_state_read("state", text, size, &state, &err) != STATE_DOC_READ) {
        assert(err.msg[0] != '\0');
        return;
    }
    CLEANUP(free) char *written = run_state_text(&state);
    assert(run_state_read("again", written, strlen(written), &again, &err) == STATE_DOC_READ);
    assert(state.pid == again.pid && state.fsm.state == again.fsm.state);
    /* Whatever it says, the machine goes on from it into a sound state. */
    static const struct restart_policy restart = {
        .when = RESTART_ALWAYS, .max_delay_ms = 1000, .retry_failed_after_ms = 10};
    static const struct stop_policy stop = {.signal = 15, .grace_ms = 1000};
    enum wl_found found = state.pid == 0 ? WL_FOUND_NOTHING : WL_FOUND_NO_LEADER;
    (void) wl_fsm_resume(&state.fsm, &restart, &stop, found, 1000);
    assert(wl_fsm_broken(&state.fsm) == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(free) char *text = xmalloc(size);
    memcpy(text, data, size);
    check_unit(text, size);
    check_app(text, size);
    check_run_state(text, size);
    return 0;
}
