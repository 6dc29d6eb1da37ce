#include "edgible/buf.h"
#include "edgible/config.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FILE_NAME "/etc/edgible/agent.yaml"
#define SOURCE "controlPlane: { directory: apps }\n"

static const struct config_env root = {
    .host_name = (char *) (uintptr_t) "gateway-7",
    .is_root = true,
};

static const struct config_env user = {
    .host_name = (char *) (uintptr_t) "laptop",
    .state_home = (char *) (uintptr_t) "/home/me/.local/state",
    .runtime_home = (char *) (uintptr_t) "/run/user/1000",
    .uid = 1000,
};

static char *diag_lines(const struct diag *diag)
{
    CLEANUP(buf) struct buf out = {0};
    for (size_t i = 0; i < diag->count; i++) {
        CLEANUP(free) char *text = diag_item_text(&diag->items[i]);
        buf_printf(&out, "%s\n", text);
    }
    return buf_steal(&out);
}

/* Of a text that is right. */
static struct config *parse(const char *text, const struct config_env *env)
{
    CLEANUP(diag) struct diag diag = {0};
    struct config *config = config_parse(FILE_NAME, text, strlen(text), env, &diag);
    if (config == NULL || diag.count > 0) {
        CLEANUP(free) char *lines = diag_lines(&diag);
        fail_msg("%s", lines);
    }
    return config;
}

static void every_key_has_a_default_but_the_control_plane(void **state)
{
    (void) state;
    CLEANUP(config) struct config *c = parse(SOURCE, &root);
    assert_string_equal(c->file, FILE_NAME);
    assert_string_equal(c->device_name, "gateway-7");
    assert_null(c->device_id);
    assert_null(c->organization);
    assert_string_equal(c->state_dir, "/var/lib/edgible");
    assert_string_equal(c->runtime_dir, "/run/edgible");
    assert_string_equal(c->log_dir, "/var/log/edgible");
    assert_int_equal(c->source, SOURCE_DIRECTORY);
    assert_string_equal(c->directory, "/etc/edgible/apps");
    assert_string_equal(c->api_socket, "/run/edgible/agent.sock");
    assert_null(c->api_group);
    assert_int_equal(c->log_level, LOG_INFO);
    assert_int_equal(c->log_format, LOG_TEXT);
    assert_int_equal(c->defaults.restart.when, RESTART_ALWAYS);
    assert_int_equal(c->defaults.restart.initial_delay_ms, 500);
    assert_int_equal(c->defaults.restart.max_delay_ms, 60000);
    assert_int_equal(c->defaults.restart.rapid_after_ms, 10000);
    assert_int_equal(c->defaults.restart.max_rapid_failures, 5);
    assert_int_equal(c->defaults.restart.stable_after_ms, 60000);
    assert_int_equal(c->defaults.restart.retry_failed_after_ms, 0);
    assert_int_equal(c->defaults.stop.signal, SIGTERM);
    assert_int_equal(c->defaults.stop.grace_ms, 10000);
    assert_int_equal(c->defaults.logs.max_size_bytes, 268435456);
    assert_int_equal(c->defaults.logs.max_files, 5);
    assert_null(c->defaults.user);
    assert_false(c->policy.present);
    assert_int_equal(c->policy.max_workloads, UNSET);
    assert_int_equal(c->policy.max_log_bytes, UNSET);
    assert_false(c->policy.has_read_paths);
}

static void remote_actions_are_narrow_by_default_and_access_is_not(void **state)
{
    (void) state;
    static const char *const texts[] = {SOURCE, SOURCE "policy: {}\n",
                                        SOURCE "policy: { access: {} }\n"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        CLEANUP(config) struct config *c = parse(texts[i], &root);
        assert_int_equal(c->policy.remote_actions.count, 3);
        assert_string_equal(c->policy.remote_actions.items[0], "logs");
        assert_string_equal(c->policy.remote_actions.items[1], "why");
        assert_string_equal(c->policy.remote_actions.items[2], "events");
        assert_false(c->policy.has_hostnames);
        assert_false(c->policy.has_auth_modes);
    }
    CLEANUP(config)
    struct config *c =
        parse(SOURCE "policy: { remoteActions: [], access: { hostnames: [], auth: [] } }\n", &root);
    assert_int_equal(c->policy.remote_actions.count, 0);
    assert_true(c->policy.has_hostnames);
    assert_true(c->policy.has_auth_modes);
}

static void others_than_root_have_their_own_folders(void **state)
{
    (void) state;
    CLEANUP(config) struct config *c = parse(SOURCE, &user);
    assert_string_equal(c->state_dir, "/home/me/.local/state/edgible");
    assert_string_equal(c->runtime_dir, "/run/user/1000/edgible");
    assert_string_equal(c->log_dir, "/home/me/.local/state/edgible/log");
    assert_string_equal(c->api_socket, "/run/user/1000/edgible/agent.sock");
}

static void without_a_home_the_folders_are_in_tmp(void **state)
{
    (void) state;
    static const struct config_env homeless = {.uid = 1000};
    CLEANUP(config) struct config *c = parse(SOURCE, &homeless);
    assert_string_equal(c->state_dir, "/tmp/edgible-1000/state");
    assert_string_equal(c->runtime_dir, "/tmp/edgible-1000");
    assert_null(c->device_name);
}

static void every_key_is_read(void **state)
{
    (void) state;
    static const char text[] =
        "device: { name: my-first, id: dev_a1b2c3d4, organization: org_1234 }\n"
        "stateDir: /s\nruntimeDir: /r\nlogDir: ./logs\n"
        "controlPlane:\n  directory: /d\n"
        "api: { socket: /r/x.sock, group: edgible }\n"
        "log: { level: debug, format: json }\n"
        "defaults:\n"
        "  restart: { policy: on-failure, initialDelay: 1s, maxDelay: 2s, rapidAfter: 3s, "
        "maxRapidFailures: 4, stableAfter: 5s, retryFailedAfter: 6s }\n"
        "  stop: { signal: SIGINT, gracePeriod: 7s }\n"
        "  logs: { maxSize: 1MiB, maxFiles: 8 }\n"
        "  user: edgible\n"
        "policy:\n"
        "  commands: [\"/opt/**\", \"/usr/bin/**\"]\n"
        "  users: [edgible]\n"
        "  writePaths: []\n"
        "  readPaths: [/srv/data/**]\n"
        "  maxWorkloads: 200\n"
        "  minRestartDelay: 100ms\n"
        "  maxGracePeriod: 5m\n"
        "  logs: { maxTotal: 4GiB }\n"
        "  access: { hostnames: [\"*.example.com\", a.example.org], auth: [api-key, mtls] }\n"
        "  remoteActions: [restart, logs]\n";
    CLEANUP(config) struct config *c = parse(text, &root);
    assert_string_equal(c->device_name, "my-first");
    assert_string_equal(c->device_id, "dev_a1b2c3d4");
    assert_string_equal(c->organization, "org_1234");
    assert_string_equal(c->state_dir, "/s");
    assert_string_equal(c->runtime_dir, "/r");
    assert_string_equal(c->log_dir, "/etc/edgible/logs");
    assert_string_equal(c->directory, "/d");
    assert_string_equal(c->api_socket, "/r/x.sock");
    assert_string_equal(c->api_group, "edgible");
    assert_int_equal(c->log_level, LOG_DEBUG);
    assert_int_equal(c->log_format, LOG_JSON);
    assert_int_equal(c->defaults.restart.when, RESTART_ON_FAILURE);
    assert_int_equal(c->defaults.restart.max_rapid_failures, 4);
    assert_int_equal(c->defaults.restart.retry_failed_after_ms, 6000);
    assert_int_equal(c->defaults.stop.signal, SIGINT);
    assert_int_equal(c->defaults.stop.grace_ms, 7000);
    assert_int_equal(c->defaults.logs.max_size_bytes, 1048576);
    assert_int_equal(c->defaults.logs.max_files, 8);
    assert_string_equal(c->defaults.user, "edgible");
    assert_true(c->policy.present);
    assert_true(c->policy.has_commands);
    assert_int_equal(c->policy.commands.count, 2);
    assert_true(c->policy.has_users);
    assert_true(c->policy.has_write_paths);
    assert_int_equal(c->policy.write_paths.count, 0);
    assert_true(c->policy.has_read_paths);
    assert_int_equal(c->policy.read_paths.count, 1);
    assert_int_equal(c->policy.max_workloads, 200);
    assert_int_equal(c->policy.min_restart_delay_ms, 100);
    assert_int_equal(c->policy.max_grace_ms, 300000);
    assert_int_equal(c->policy.max_log_bytes, 4LL << 30);
    assert_true(c->policy.has_hostnames);
    assert_int_equal(c->policy.hostnames.count, 2);
    assert_string_equal(c->policy.hostnames.items[0], "*.example.com");
    assert_true(c->policy.has_auth_modes);
    assert_int_equal(c->policy.auth_modes.count, 2);
    assert_int_equal(c->policy.remote_actions.count, 2);
    assert_string_equal(c->policy.remote_actions.items[0], "restart");
}

static void the_https_source_is_read(void **state)
{
    (void) state;
    CLEANUP(config)
    struct config *c = parse(
        "controlPlane:\n  https: { url: https://cp.example.com:8443/edge//, tokenFile: token, "
        "caFile: /ca, certFile: c.pem, keyFile: k.pem, pollInterval: 5s, reportInterval: 9s "
        "}\n",
        &root);
    assert_int_equal(c->source, SOURCE_HTTPS);
    assert_string_equal(c->https.url, "https://cp.example.com:8443/edge");
    assert_string_equal(c->https.token_file, "/etc/edgible/token");
    assert_string_equal(c->https.ca_file, "/ca");
    assert_string_equal(c->https.cert_file, "/etc/edgible/c.pem");
    assert_string_equal(c->https.key_file, "/etc/edgible/k.pem");
    assert_int_equal(c->https.poll_interval_ms, 5000);
    assert_int_equal(c->https.report_interval_ms, 9000);
    assert_false(c->https.insecure);
}

static void the_etcd_source_is_read(void **state)
{
    (void) state;
    CLEANUP(config)
    struct config *c =
        parse("controlPlane:\n  etcd: { endpoints: [https://a:2379, 'http://127.0.0.1:2379/'], "
              "username: me, passwordFile: pw, caFile: ca }\n",
              &root);
    assert_int_equal(c->source, SOURCE_ETCD);
    assert_int_equal(c->etcd.endpoints.count, 2);
    assert_string_equal(c->etcd.endpoints.items[1], "http://127.0.0.1:2379");
    assert_string_equal(c->etcd.prefix, "/edgible");
    assert_string_equal(c->etcd.username, "me");
    assert_string_equal(c->etcd.password_file, "/etc/edgible/pw");
    assert_int_equal(c->etcd.report_interval_ms, 60000);
}

static void plain_http_reaches_loopback_alone_unless_allowed(void **state)
{
    (void) state;
    static const struct {
        const char *url;
        bool is_good;
    } cases[] = {
        {"http://localhost:8080",        true },
        {"http://LOCALHOST",             true },
        {"http://127.0.0.1:1/x",         true },
        {"http://127.9.9.9",             true },
        {"http://[::1]:80",              true },
        {"https://[2001:db8::1]:80/x",   true },
        {"https://a.example.com",        true },
        {"http://a.example.com",         false},
        {"http://127.0.0.1.example.com", false},
        {"http://localhost.example.com", false},
        {"http://[2001:db8::1]",         false},
        {"http://10.0.0.1",              false},
        {"ftp://localhost",              false},
        {"localhost",                    false},
        {"https://",                     false},
        {"https:///x",                   false},
        {"https://a:0",                  false},
        {"https://a:99999",              false},
        {"https://a:b",                  false},
        {"https://[::1",                 false},
        {"https://[::1]x",               false},
        {"https://me:secret@a",          false},
        {"https://a/x?token=1",          false},
        {"https://a/x y",                false},
        {"https://a/\xc3\xa9",           false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(free)
        char *text = xasprintf("controlPlane: { https: { url: '%s' } }\n", cases[i].url);
        CLEANUP(diag) struct diag diag = {0};
        CLEANUP(config)
        struct config *c = config_parse(FILE_NAME, text, strlen(text), &root, &diag);
        if ((c != NULL) != cases[i].is_good) {
            fail_msg("%s", cases[i].url);
        }
    }
    CLEANUP(config)
    struct config *c =
        parse("controlPlane: { https: { url: 'http://10.0.0.1', insecure: true } }\n", &root);
    assert_true(c->https.insecure);
}

static void what_is_wrong_is_said_with_its_place(void **state)
{
    (void) state;
    static const struct {
        const char *text, *lines;
    } cases[] = {
        {"",                                                                      FILE_NAME ": the file is empty: controlPlane is required\n"            },
        {"# nothing\n",                                                           FILE_NAME ": the file is empty: controlPlane is required\n"            },
        {"{}",                                                                    FILE_NAME ":1:1: controlPlane: is required\n"                          },
        {"[]",                                                                    FILE_NAME ":1:1: expected a mapping, found a list\n"                   },
        {"a",                                                                     FILE_NAME ":1:1: expected a mapping, found a string\n"                 },
        {SOURCE "---\na: 1\n",                                                    FILE_NAME ":3:1: a second document: the configuration is one\n"        },
        {SOURCE "stateDri: /x\n",
         FILE_NAME ":2:1: stateDri: unknown key, did you mean 'stateDir'?\n"                                                                             },
        {SOURCE "log: { levle: info }\n",
         FILE_NAME ":2:8: log.levle: unknown key, did you mean 'level'?\n"                                                                               },
        {SOURCE "log: { level: loud, format: xml }\n",
         FILE_NAME ":2:15: log.level: 'loud' is none of error, warn, info, debug\n" FILE_NAME
                   ":2:29: log.format: 'xml' is none of text, json\n"                                                                                    },
        {SOURCE "log: { level: [a], format: {} }\n",
         FILE_NAME ":2:15: log.level: expected a string, found a list\n" FILE_NAME
                   ":2:28: log.format: expected a string, found a mapping\n"                                                                             },
        {SOURCE "stateDir:\n",                                                    FILE_NAME ":2:10: stateDir: expected a string, found null\n"           },
        {SOURCE "stateDir: ''\n",                                                 FILE_NAME ":2:11: stateDir: is empty\n"                                },
        {SOURCE "device: { name: a/b }\n",
         FILE_NAME ":2:17: device.name: 'a/b' is not a name: at most 128 letters, digits, _, - and "
                   "., no . first\n"                                                                                                                     },
        {SOURCE "device: { id: }\n",                                              FILE_NAME ":2:15: device.id: expected a string, found null\n"          },
        {"controlPlane:\n",
         FILE_NAME ":1:14: controlPlane: needs exactly one of directory, https, etcd, has 0\n"                                                           },
        {"controlPlane: { directory: /a, etcd: { endpoints: [https://a] } }\n",
         FILE_NAME ":1:15: controlPlane: needs exactly one of directory, https, etcd, has 2\n"                                                           },
        {"controlPlane: /a\n",
         FILE_NAME ":1:15: controlPlane: expected a mapping, found a string\n"                                                                           },
        {"controlPlane: { https: { tokenFile: t } }\n",
         FILE_NAME ":1:24: controlPlane.https.url: is required\n"                                                                                        },
        {"controlPlane: { https: { url: https://a, token: t } }\n",
         FILE_NAME ":1:42: controlPlane.https.token: unknown key\n"                                                                                      },
        {"controlPlane: { https: { url: https://a, certFile: c } }\n",
         FILE_NAME ":1:24: controlPlane.https.keyFile: is required with certFile\n"                                                                      },
        {"controlPlane: { https: { url: https://a, pollInterval: 10ms } }\n",
         FILE_NAME ":1:56: controlPlane.https.pollInterval: '10ms' is below 1 s\n"                                                                       },
        {"controlPlane: { https: { url: 'https://u:p@a' } }\n",
         FILE_NAME ":1:31: controlPlane.https.url: a name or password does not belong into a "
                   "URL\n"                                                                                                                               },
        {"controlPlane: { https: { url: 'http://a' } }\n",
         FILE_NAME ":1:31: controlPlane.https.url: http:// to another host than loopback can be "
                   "read and changed by others: use https://, or set insecure: true\n"                                                                   },
        {"controlPlane: { etcd: { endpoints: [] } }\n",
         FILE_NAME ":1:36: controlPlane.etcd.endpoints: is empty\n"                                                                                      },
        {"controlPlane: { etcd: { endpoints: https://a } }\n",
         FILE_NAME ":1:36: controlPlane.etcd.endpoints: expected a list, found a string\n"                                                               },
        {"controlPlane: { etcd: { endpoints: [https://a, b] } }\n",
         FILE_NAME ":1:48: controlPlane.etcd.endpoints[1]: 'b' does not start with https://\n"                                                           },
        {"controlPlane: { etcd: { endpoints: [https://a], prefix: /x/ } }\n",
         FILE_NAME ":1:57: controlPlane.etcd.prefix: '/x/' is not a prefix such as /edgible\n"                                                           },
        {"controlPlane: { etcd: { endpoints: [https://a], prefix: [] } }\n",
         FILE_NAME ":1:57: controlPlane.etcd.prefix: expected a string, found a list\n"                                                                  },
        {"controlPlane: { etcd: { endpoints: [https://a], passwordFile: x } }\n",
         FILE_NAME ":1:23: controlPlane.etcd.username: is required with passwordFile\n"                                                                  },
        {SOURCE "policy:\n",                                                      FILE_NAME ":2:8: policy: expected a mapping, found null\n"             },
        {SOURCE "policy: { commands: }\n",
         FILE_NAME ":2:21: policy.commands: expected a list, found null\n"                                                                               },
        {SOURCE "policy: { commands: [bin] }\n",
         FILE_NAME ":2:22: policy.commands[0]: 'bin' is not an absolute path\n"                                                                          },
        {SOURCE "policy: { readPaths: [data] }\n",
         FILE_NAME ":2:23: policy.readPaths[0]: 'data' is not an absolute path\n"                                                                        },
        {SOURCE "policy: { logs: }\n",
         FILE_NAME ":2:17: policy.logs: expected a mapping, found null\n"                                                                                },
        {SOURCE "policy: { logs: { maxTotal: all } }\n",                          FILE_NAME
         ":2:29: policy.logs.maxTotal: 'all' is not a size such as 4096, 64KiB, 256MiB or 1GiB\n"},
        {SOURCE "policy: { access: }\n",
         FILE_NAME ":2:19: policy.access: expected a mapping, found null\n"                                                                              },
        {SOURCE "policy: { access: { hostname: [] } }\n",
         FILE_NAME ":2:21: policy.access.hostname: unknown key, did you mean 'hostnames'?\n"                                                             },
        {SOURCE "policy: { access: { hostnames: ['*', 'a.*.b', 'x y'] } }\n",
         FILE_NAME ":2:33: policy.access.hostnames[0]: '*' is not a host name such as "
                   "a.example.com or *.example.com\n" FILE_NAME
                   ":2:38: policy.access.hostnames[1]: 'a.*.b' is not a host name such as "
                   "a.example.com or *.example.com\n" FILE_NAME
                   ":2:47: policy.access.hostnames[2]: 'x y' is not a host name such as "
                   "a.example.com or *.example.com\n"                                                                                                    },
        {SOURCE "policy: { access: { auth: [apikey] } }\n",
         FILE_NAME ":2:28: policy.access.auth[0]: unknown mode 'apikey', did you mean "
                   "'api-key'?\n"                                                                                                                        },
        {SOURCE "policy: { remoteActions: [restart, shell, log] }\n",
         FILE_NAME ":2:36: policy.remoteActions[1]: unknown action 'shell'\n" FILE_NAME
                   ":2:43: policy.remoteActions[2]: unknown action 'log', did you mean 'logs'?\n"                                                        },
        {SOURCE "policy: { remoteActions: logs }\n",
         FILE_NAME ":2:26: policy.remoteActions: expected a list, found a string\n"                                                                      },
        {SOURCE "policy: { maxWorkloads: -1 }\n",
         FILE_NAME ":2:25: policy.maxWorkloads: -1 is not from 0 to 1000000\n"                                                                           },
        {SOURCE "defaults: { restart: { initialDelay: 2m } }\n",
         FILE_NAME ":2:22: defaults.restart: initialDelay is above maxDelay\n"                                                                           },
        {SOURCE "api: { group: 'a:b' }\n",
         FILE_NAME ":2:15: api.group: 'a:b' is not a name of a user or group\n"                                                                          },
        {SOURCE "log: {}\nlog: {}\n",
         FILE_NAME ":3:1: the key 'log' stands twice, first at line 2, column 1\n"                                                                       },
        {SOURCE "log: [\n",
         FILE_NAME ":3:1: did not find expected node content while parsing a flow node that starts "
                   "at line 3, column 1\n"                                                                                                               },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(diag) struct diag diag = {0};
        CLEANUP(config)
        struct config *c =
            config_parse(FILE_NAME, cases[i].text, strlen(cases[i].text), &root, &diag);
        CLEANUP(free) char *lines = diag_lines(&diag);
        assert_null(c);
        assert_string_equal(lines, cases[i].lines);
    }
}

static void a_socket_path_that_is_too_long_is_refused(void **state)
{
    (void) state;
    char path[200];
    memset(path, 'x', sizeof(path) - 1);
    path[0] = '/';
    path[sizeof(path) - 1] = '\0';
    CLEANUP(free) char *text = xasprintf(SOURCE "api: { socket: %s }\n", path);
    CLEANUP(diag) struct diag diag = {0};
    CLEANUP(config) struct config *c = config_parse(FILE_NAME, text, strlen(text), &root, &diag);
    assert_null(c);
    assert_string_equal(diag.items[0].path, "api.socket");
}

static void sections_may_be_commented_out(void **state)
{
    (void) state;
    CLEANUP(config)
    struct config *c =
        parse(SOURCE "device:\n# name: x\nlog:\napi:\ndefaults:\n  restart:\n", &root);
    assert_string_equal(c->device_name, "gateway-7");
    config_free(NULL);
}

/* The folder of the file has no links: a `..` is taken off, and none is left for the folders. */
static void relative_paths_may_go_up(void **state)
{
    (void) state;
    static const char *const cases[][2] = {
        {"../state",       "/etc/state"          },
        {"../../state",    "/state"              },
        {"../../../state", "/state"              },
        {"./state",        "/etc/edgible/state"  },
        {"..state",        "/etc/edgible/..state"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(free)
        char *text = xasprintf("device: {name: d}\ncontrolPlane: {directory: /d}\nstateDir: %s\n",
                               cases[i][0]);
        CLEANUP(config) struct config *c = parse(text, &root);
        assert_string_equal(c->state_dir, cases[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_has_a_default_but_the_control_plane),
        cmocka_unit_test(remote_actions_are_narrow_by_default_and_access_is_not),
        cmocka_unit_test(relative_paths_may_go_up),
        cmocka_unit_test(others_than_root_have_their_own_folders),
        cmocka_unit_test(without_a_home_the_folders_are_in_tmp),
        cmocka_unit_test(every_key_is_read),
        cmocka_unit_test(the_https_source_is_read),
        cmocka_unit_test(the_etcd_source_is_read),
        cmocka_unit_test(plain_http_reaches_loopback_alone_unless_allowed),
        cmocka_unit_test(what_is_wrong_is_said_with_its_place),
        cmocka_unit_test(a_socket_path_that_is_too_long_is_refused),
        cmocka_unit_test(sections_may_be_commented_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
