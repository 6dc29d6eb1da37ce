/* Patterns of the owner's policy. */
#include "edgible/mem.h"
#include "edgible/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void patterns_match_as_they_are_documented(void **state)
{
    (void) state;
    static const struct {
        const char *pattern, *path;
        bool matches;
    } cases[] = {
        {"/opt/**",       "/opt/a",         true },
        {"/opt/**",       "/opt/a/b/c",     true },
        {"/opt/**",       "/opt",           false},
        {"/opt/**",       "/optional/a",    false},
        {"/opt/*",        "/opt/a",         true },
        {"/opt/*",        "/opt/a/b",       false},
        {"/opt/*/bin",    "/opt/a/bin",     true },
        {"/opt/*/bin",    "/opt/a/b/bin",   false},
        {"/opt/**/bin",   "/opt/a/b/bin",   true },
        {"/opt/**/bin/*", "/opt/a/bin/x",   true },
        {"/opt/**/b*/x",  "/opt/q/b/w/b/x", true },
        {"/opt/**/b*/x",  "/opt/q/b/w/x",   false},
        {"/usr/bin/env",  "/usr/bin/env",   true },
        {"/usr/bin/env",  "/usr/bin/env2",  false},
        {"/usr/bin/env",  "/usr/bin",       false},
        {"/usr/bin/e?v",  "/usr/bin/env",   true },
        {"/usr/bin?env",  "/usr/bin/env",   false},
        {"/a*b*c",        "/aXbYbZc",       true },
        {"/a*b*c",        "/aXbYbZ",        false},
        {"/**",           "/anything/else", true },
        {"**",            "/x",             true },
        {"",              "/x",             false},
        {"/a/***",        "/a/b/c",         true },
        {"/opt/[ab]",     "/opt/a",         false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (policy_pattern_matches(cases[i].pattern, cases[i].path) != cases[i].matches) {
            fail_msg("'%s' and '%s'", cases[i].pattern, cases[i].path);
        }
    }
}

static void a_hostile_pattern_costs_little(void **state)
{
    (void) state;
    char pattern[2001];
    char path[4001];
    memset(path, 'a', sizeof(path) - 1);
    path[0] = '/';
    path[sizeof(path) - 1] = '\0';
    for (size_t i = 0; i < sizeof(pattern) - 1; i++) {
        pattern[i] = i % 2 == 0 ? '*' : 'a';
    }
    pattern[0] = '/';
    pattern[sizeof(pattern) - 2] = 'b';
    pattern[sizeof(pattern) - 1] = '\0';
    assert_false(policy_pattern_matches(pattern, path));
}

static void the_plain_part_is_whole_folders(void **state)
{
    (void) state;
    assert_int_equal(policy_plain_length("/opt/**"), strlen("/opt"));
    assert_int_equal(policy_plain_length("/opt/a*b"), strlen("/opt"));
    assert_int_equal(policy_plain_length("/usr/bin/env"), strlen("/usr/bin/env"));
    assert_int_equal(policy_plain_length("/usr/"), strlen("/usr"));
    assert_int_equal(policy_plain_length("/*"), 0);
    assert_int_equal(policy_plain_length("**"), 0);
}

static void variables_that_run_something_are_known(void **state)
{
    (void) state;
    assert_true(policy_is_loading_variable("LD_PRELOAD"));
    assert_true(policy_is_loading_variable("BASH_FUNC_ls%%"));
    assert_true(policy_is_loading_variable("PYTHONWARNINGS"));
    assert_true(policy_is_loading_variable("ENV"));
    assert_true(policy_is_loading_variable("CDPATH"));
    assert_true(policy_is_loading_variable("GH_PAGER"));
    assert_false(policy_is_loading_variable("ENVIRONMENT"));
    assert_false(policy_is_loading_variable("PYTHONUNBUFFERED"));
    assert_false(policy_is_loading_variable("GIN_MODE"));
    static const char *const loading[] = {"TAR_OPTIONS",
                                          "XDG_CONFIG_HOME",
                                          "RSYNC_RSH",
                                          "SSH_ASKPASS",
                                          "WGETRC",
                                          "SYSTEM_WGETRC",
                                          "GSS_MECH_CONFIG",
                                          "LESS",
                                          "MAKEFLAGS",
                                          "VIMINIT",
                                          "R_LIBS_USER",
                                          "GUILE_LOAD_PATH",
                                          "OCAMLRUNPARAM",
                                          "JAVA_OPTS",
                                          "IBM_JAVA_OPTIONS",
                                          "ES_JAVA_OPTS",
                                          "KUBECONFIG",
                                          "AWS_CONFIG_FILE",
                                          "DOCKER_CONFIG",
                                          "npm_config_prefix",
                                          "PIP_INDEX_URL",
                                          "KRB5_CONFIG",
                                          "UBSAN_OPTIONS",
                                          "BASH_LOADABLES_PATH",
                                          "PS1",
                                          "DBUS_SESSION_BUS_ADDRESS",
                                          "WINEPREFIX"};
    static const char *const others[] = {
        "AWS_REGION", "GOMAXPROCS", "NODE_ENV", "MANAGER", "PSK",
        "LESSON",     "HGT",        "PORT",     "",        "DOTNET_ENVIRONMENT"};
    for (size_t i = 0; i < ARRAY_LEN(loading); i++) {
        if (!policy_is_loading_variable(loading[i])) {
            fail_msg("%s", loading[i]);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        if (policy_is_loading_variable(others[i])) {
            fail_msg("%s", others[i]);
        }
    }
}

static void programs_that_run_what_their_arguments_say_are_known(void **state)
{
    (void) state;
    static const char *const runs[] = {"sh",          "bash",
                                       "dash",        "python3",
                                       "python3.11",  "perl",
                                       "perl5.36.0",  "node",
                                       "ruby",        "ruby3.1",
                                       "lua",         "lua5.4",
                                       "php",         "php8.2",
                                       "awk",         "mawk",
                                       "env",         "busybox",
                                       "find",        "xargs",
                                       "ssh",         "sudo",
                                       "systemd-run", "docker",
                                       "nsenter",     "ld-linux-x86-64.so.2"};
    static const char *const others[] = {"true", "sleep",          "cat",     "nginx",
                                         "etcd", "python3-config", "perldoc", "shred"};
    for (size_t i = 0; i < ARRAY_LEN(runs); i++) {
        if (!policy_is_interpreter(runs[i])) {
            fail_msg("%s", runs[i]);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        if (policy_is_interpreter(others[i])) {
            fail_msg("%s", others[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(programs_that_run_what_their_arguments_say_are_known),
        cmocka_unit_test(patterns_match_as_they_are_documented),
        cmocka_unit_test(a_hostile_pattern_costs_little),
        cmocka_unit_test(the_plain_part_is_whole_folders),
        cmocka_unit_test(variables_that_run_something_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
