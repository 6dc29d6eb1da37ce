#include "edgible/mem.h"
#include "edgible/report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static enum status judge(const enum status *parts, size_t count)
{
    struct workload_report workloads[8] = {0};
    struct app_report app = {.workloads = workloads, .workload_count = count, .generation = 1};
    for (size_t i = 0; i < count; i++) {
        workloads[i].status = parts[i];
    }
    app_report_judge(&app);
    return app.status;
}

static void an_application_takes_the_worst_of_its_parts(void **state)
{
    (void) state;
    static const struct {
        enum status parts[3];
        enum status whole;
    } cases[] = {
        {{STATUS_RUNNING, STATUS_RUNNING, STATUS_RUNNING},             STATUS_RUNNING    },
        {{STATUS_RUNNING, STATUS_STARTING, STATUS_RUNNING},            STATUS_STARTING   },
        {{STATUS_RUNNING, STATUS_BACKOFF, STATUS_STARTING},            STATUS_BACKOFF    },
        {{STATUS_UNHEALTHY, STATUS_BACKOFF, STATUS_STARTING},          STATUS_UNHEALTHY  },
        {{STATUS_UNHEALTHY, STATUS_FAILED, STATUS_STARTING},           STATUS_FAILED     },
        {{STATUS_REJECTED, STATUS_UNHEALTHY, STATUS_RUNNING},          STATUS_REJECTED   },
        {{STATUS_COMPLETED, STATUS_RUNNING, STATUS_UNSUPPORTED},       STATUS_RUNNING    },
        {{STATUS_COMPLETED, STATUS_COMPLETED, STATUS_COMPLETED},       STATUS_COMPLETED  },
        {{STATUS_STOPPED, STATUS_STOPPED, STATUS_STOPPED},             STATUS_STOPPED    },
        {{STATUS_STOPPED, STATUS_STOPPING, STATUS_STOPPED},            STATUS_STOPPING   },
        {{STATUS_UNSUPPORTED, STATUS_UNSUPPORTED, STATUS_UNSUPPORTED}, STATUS_UNSUPPORTED},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(judge(cases[i].parts, 3), cases[i].whole);
    }
}

static void one_that_was_never_accepted_is_rejected(void **state)
{
    (void) state;
    struct app_report app = {.generation = 0};
    app_report_judge(&app);
    assert_int_equal(app.status, STATUS_REJECTED);
}

static void a_stopped_application_is_called_suspended(void **state)
{
    (void) state;
    assert_string_equal(status_name(STATUS_STOPPED), "stopped");
    assert_string_equal(status_name_of_app(STATUS_STOPPED), "suspended");
    assert_string_equal(status_name_of_app(STATUS_RUNNING), "running");
}

static char *text_of(const struct workload_report *report)
{
    CLEANUP(json) struct json *json = workload_report_json(report);
    return json_text(json);
}

static void what_does_not_apply_is_left_out(void **state)
{
    (void) state;
    char name[] = "web";
    char type[] = "managed-process";
    struct workload_report report = {
        .name = name, .type = type, .status = STATUS_STOPPED, .supported = true, .uptime_ms = -1};
    CLEANUP(free) char *text = text_of(&report);
    assert_string_equal(text,
                        "{\"name\":\"web\",\"type\":\"managed-process\",\"status\":\"stopped\","
                        "\"restarts\":0,\"rapidFailures\":0}\n");
}

static void a_workload_in_backoff_reads_as_the_contract_has_it(void **state)
{
    (void) state;
    char name[] = "collector";
    char type[] = "managed-process";
    char reason[] = "exited with status 1 after 0.8 s";
    char log[] = "/var/log/c.log";
    struct port_spec spec = {.name = name, .container_port = 9090, .protocol = type};
    struct port_report port = {.spec = &spec, .is_known = true, .listening = true};
    struct workload_report report = {
        .name = name,
        .type = type,
        .status = STATUS_BACKOFF,
        .reason = reason,
        .supported = true,
        .uptime_ms = -1,
        .restarts = 3,
        .rapid_failures = 3,
        .next_start_unix_ms = 1,
        .last_exit =
            {.present = true, .at_unix_ms = 1, .uptime_ms = 800, .has_code = true, .code = 1},
        .ports = &port,
        .port_count = 1,
        .has_resources = true,
        .processes = 2,
        .memory_bytes = 12345678,
        .cpu_ms = 1500,
        .log_file = log,
        .log_bytes_written = 123,
    };
    CLEANUP(free) char *text = text_of(&report);
    assert_string_equal(
        text, "{\"name\":\"collector\",\"type\":\"managed-process\",\"status\":\"backoff\","
              "\"reason\":\"exited with status 1 after 0.8 s\",\"restarts\":3,\"rapidFailures\":3,"
              "\"nextStartAt\":\"1970-01-01T00:00:00.001Z\",\"lastExit\":{\"at\":"
              "\"1970-01-01T00:00:00.001Z\",\"uptimeSeconds\":0.8,\"code\":1},\"ports\":[{\"name\":"
              "\"collector\",\"containerPort\":9090,\"protocol\":\"managed-process\",\"listening\":"
              "true}],\"resources\":{\"processes\":2,\"memoryBytes\":12345678,\"cpuSeconds\":1.5},"
              "\"log\":{\"file\":\"/var/log/c.log\",\"bytesWritten\":123,\"bytesDropped\":0,"
              "\"rotations\":0}}\n");
}

static void a_number_beyond_all_bounds_is_held(void **state)
{
    (void) state;
    static const char text[] = "{\"above\": 1e308, \"below\": -1e308, \"in\": 7.5}";
    CLEANUP(json) struct json *json = json_parse(text, sizeof(text) - 1, NULL);
    assert_true(json_number(json, "above", 0) == JSON_NUMBER_MAX);
    assert_true(json_number(json, "below", 0) == -JSON_NUMBER_MAX);
    assert_true(json_number(json, "in", 0) == 7.5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_beyond_all_bounds_is_held),
        cmocka_unit_test(an_application_takes_the_worst_of_its_parts),
        cmocka_unit_test(one_that_was_never_accepted_is_rejected),
        cmocka_unit_test(a_stopped_application_is_called_suspended),
        cmocka_unit_test(what_does_not_apply_is_left_out),
        cmocka_unit_test(a_workload_in_backoff_reads_as_the_contract_has_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
