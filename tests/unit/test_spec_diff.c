#include "edgible/spec_diff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEAD                                                                                       \
    "apiVersion: v3\nkind: Application\nmetadata: { name: app }\nspec:\n  workloads:\n"            \
    "    - name: web\n      type: managed-process\n"

static struct app_spec *parse(const char *text)
{
    CLEANUP(app_docs) struct app_docs docs = {0};
    appspec_parse("app.yaml", text, strlen(text), &docs);
    if (docs.count != 1 || docs.docs[0].spec == NULL) {
        fail_msg("not a valid document: %s", text);
    }
    return steal_ptr(&docs.docs[0].spec);
}

/* An application of one workload with these keys, in flow style. */
static struct app_spec *workload(const char *keys)
{
    CLEANUP(free)
    char *text = xasprintf(
        "{apiVersion: v3, kind: Application, metadata: {name: app}, spec: {workloads: [{name: web, "
        "type: managed-process, %s}]}}",
        keys);
    return parse(text);
}

static void each_field_says_its_path_and_whether_a_restart_is_needed(void **state)
{
    (void) state;
    static const struct {
        const char *from, *to;
        enum spec_change change;
        const char *fields;
    } cases[] = {
        {"command: [x]",                                       "command: [x]",                                                             SPEC_SAME,    ""                                                           },
        {"command: [x]",                                       "command: x",                                                               SPEC_SAME,    ""                                                           },
        {"command: [x, a, b]",                                 "command: [x, c, d]",                                                       SPEC_RESTART, "command[1] command[2] "                                     },
        {"command: [x]",                                       "command: [x, y]",                                                          SPEC_RESTART, "command "                                                   },
        {"command: [x]",                                       "command: [x], workingDir: /a",                                             SPEC_RESTART, "workingDir "                                                },
        {"command: [x], env: {A: 1, B: 2}",                    "command: [x], env: {B: 2, A: 1}",                                          SPEC_SAME,    ""                                                           },
        {"command: [x], env: {A: 1, B: 2, C: 3}",              "command: [x], env: {A: 1, B: 3, D: 4}",
         SPEC_RESTART,                                                                                                                                   "env.B env.C env.D "                                         },
        {"command: [x], env: {A: 1}",                          "command: [x], env: {AB: 1}",                                               SPEC_RESTART, "env.A env.AB "                                              },
        {"command: [x], user: a",                              "command: [x], user: b, group: c",                                          SPEC_RESTART, "user group "                                                },
        {"command: [x]",                                       "command: [x], limits: {memory: 1MiB, cpu: 1, processes: 2, openFiles: 3}",
         SPEC_RESTART,                                                                                                                                   "limits.memory limits.cpu limits.processes limits.openFiles "},
        {"command: [x]",                                       "command: [x], sandbox: {}",                                                SPEC_RESTART, "sandbox "                                                   },
        {"command: [x], sandbox: {read: [/a], connect: [1]}",
         "command: [x], sandbox: {read: [/b], write: [/c], connect: [2]}",                                                                 SPEC_RESTART,
         "sandbox.read sandbox.write sandbox.connect "                                                                                                                                                                },
        {"command: [x], sandbox: {connect: [1]}",              "command: [x], sandbox: {connect: [1, 2]}",
         SPEC_RESTART,                                                                                                                                   "sandbox.connect "                                           },
        {"command: [x], sandbox: {connect: [1]}",              "command: [x], sandbox: {connect: [1]}",
         SPEC_SAME,                                                                                                                                      ""                                                           },
        {"command: [x], logFile: /a",                          "command: [x], logFile: /b",                                                SPEC_LIVE,    "logFile "                                                   },
        {"command: [x], ports: [{name: a, containerPort: 1}]",
         "command: [x], ports: [{name: b, containerPort: 1}]",                                                                             SPEC_LIVE,    "ports[0] "                                                  },
        {"command: [x], ports: [{containerPort: 1}]",
         "command: [x], ports: [{containerPort: 1, protocol: tcp}]",                                                                       SPEC_SAME,    ""                                                           },
        {"command: [x]",                                       "command: [x], ports: [{containerPort: 1}]",                                SPEC_LIVE,    "ports "                                                     },
        {"command: [x]",
         "command: [x], restart: {policy: never, initialDelay: 1s, maxDelay: 2s, rapidAfter: 3s, "
         "maxRapidFailures: 4, stableAfter: 5s, retryFailedAfter: 6s}",                                                                    SPEC_LIVE,
         "restart.policy restart.initialDelay restart.maxDelay restart.rapidAfter "
         "restart.maxRapidFailures restart.stableAfter restart.retryFailedAfter "                                                                                                                                     },
        {"command: [x]",                                       "command: [x], stop: {signal: INT, gracePeriod: 1s}",                       SPEC_LIVE,
         "stop.signal stop.gracePeriod "                                                                                                                                                                              },
        {"command: [x]",                                       "command: [x], logs: {maxSize: 1MiB, maxFiles: 1}",                         SPEC_LIVE,
         "logs.maxSize logs.maxFiles "                                                                                                                                                                                },
        {"command: [x]",                                       "command: [x], healthCheck: {exec: [y]}",                                   SPEC_LIVE,    "healthCheck "                                               },
        {"command: [x], healthCheck: {exec: [y]}",             "command: [x], healthCheck: {exec: [z]}",
         SPEC_LIVE,                                                                                                                                      "healthCheck.exec.command "                                  },
        {"command: [x], healthCheck: {tcp: {port: 1}}",
         "command: [x], healthCheck: {tcp: {port: 2}}",                                                                                    SPEC_LIVE,    "healthCheck.tcp.port "                                      },
        {"command: [x], healthCheck: {http: {port: 1}}",
         "command: [x], healthCheck: {http: {port: 1, path: /a}, interval: 1s, timeout: 2s, "
         "startPeriod: 3s, failures: 4, successes: 5}",                                                                                    SPEC_LIVE,
         "healthCheck.http.path healthCheck.interval healthCheck.timeout healthCheck.startPeriod "
         "healthCheck.failures healthCheck.successes "                                                                                                                                                                },
        {"command: [x], user: a",                              "command: [y], user: a, logFile: /l",                                       SPEC_RESTART,
         "command[0] logFile "                                                                                                                                                                                        },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(app_spec) struct app_spec *from = workload(cases[i].from);
        CLEANUP(app_spec) struct app_spec *to = workload(cases[i].to);
        CLEANUP(strv) struct strv fields = {0};
        enum spec_change change =
            spec_diff_workload(&from->workloads[0], &to->workloads[0], &fields);
        char found[512] = "";
        for (size_t j = 0; j < fields.count; j++) {
            size_t used = strlen(found);
            (void) snprintf(found + used, sizeof(found) - used, "%s ", fields.items[j]);
        }
        assert_string_equal(found, cases[i].fields);
        assert_int_equal(change, cases[i].change);
        assert_int_equal(spec_diff_workload(&to->workloads[0], &from->workloads[0], NULL), change);
        assert_int_equal(spec_diff_app_is_different(from, to), change != SPEC_SAME);
    }
}

static void waiting_for_others_and_the_type_count_too(void **state)
{
    (void) state;
    static const char base[] =
        HEAD "      command: [x]\n    - name: db\n      type: %s\n      %s\n";
    CLEANUP(free) char *a = xasprintf(base, "managed-process", "command: [y]");
    CLEANUP(free) char *b = xasprintf(base, "container", "image: y");
    CLEANUP(free)
    char *c = xasprintf(base, "managed-process", "command: [y]\n      dependsOn: [web]");
    CLEANUP(app_spec) struct app_spec *own = parse(a);
    CLEANUP(app_spec) struct app_spec *other = parse(b);
    CLEANUP(app_spec) struct app_spec *waits = parse(c);
    CLEANUP(strv) struct strv fields = {0};
    assert_int_equal(spec_diff_workload(&own->workloads[1], &other->workloads[1], &fields),
                     SPEC_RESTART);
    assert_string_equal(fields.items[0], "type");
    assert_int_equal(spec_diff_workload(&own->workloads[1], &waits->workloads[1], &fields),
                     SPEC_LIVE);
    assert_string_equal(fields.items[fields.count - 1], "dependsOn");
}

static void applications_differ_in_anything_at_all(void **state)
{
    (void) state;
    static const char one[] = "{apiVersion: v3, kind: Application, metadata: {name: app}, spec: {"
                              "workloads: [{name: w, type: managed-process, command: [x], ports: "
                              "[{containerPort: 1}]}], access: [{name: a, type: tcp, target: "
                              "{workload: w}}]}}";
    static const char *const others[] = {
        "{apiVersion: v3, kind: Application, metadata: {name: app2}, spec: {workloads: [{name: w, "
        "type: managed-process, command: [x], ports: [{containerPort: 1}]}], access: [{name: a, "
        "type: tcp, target: {workload: w}}]}}",
        "{apiVersion: v3, kind: Application, metadata: {name: app}, spec: {workloads: [{name: v, "
        "type: managed-process, command: [x], ports: [{containerPort: 1}]}], access: [{name: a, "
        "type: tcp, target: {workload: v}}]}}",
        "{apiVersion: v3, kind: Application, metadata: {name: app}, spec: {workloads: [{name: w, "
        "type: managed-process, command: [x], ports: [{containerPort: 1}]}], access: [{name: a, "
        "type: tcp, target: {workload: w, port: 1}}]}}",
        "{apiVersion: v3, kind: Application, metadata: {name: app}, spec: {workloads: [{name: w, "
        "type: managed-process, command: [x], ports: [{containerPort: 1}]}]}}",
        "{apiVersion: v3, kind: Application, metadata: {name: app}, spec: {update: {rollback: "
        "true}, workloads: [{name: w, type: managed-process, command: [x], ports: [{containerPort: "
        "1}]}], access: [{name: a, type: tcp, target: {workload: w}}]}}",
    };
    CLEANUP(app_spec) struct app_spec *from = parse(one);
    CLEANUP(app_spec) struct app_spec *same = parse(one);
    assert_false(spec_diff_app_is_different(from, same));
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        CLEANUP(app_spec) struct app_spec *to = parse(others[i]);
        assert_true(spec_diff_app_is_different(from, to));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_field_says_its_path_and_whether_a_restart_is_needed),
        cmocka_unit_test(waiting_for_others_and_the_type_count_too),
        cmocka_unit_test(applications_differ_in_anything_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
