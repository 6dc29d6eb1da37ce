/* Who a workload runs as. As root all of it; as an ordinary user, what one may. */
#include "edgible/creds.h"
#include "sys_test.h"

#include <grp.h>
#include <pwd.h>

static bool has_group(const struct creds *creds, gid_t gid)
{
    for (size_t i = 0; i < creds->group_count; i++) {
        if (creds->groups[i] == gid) {
            return true;
        }
    }
    return false;
}

static void without_a_user_it_is_the_agents_own(void **state)
{
    (void) state;
    struct err err = {0};
    CLEANUP(creds) struct creds *creds = creds_lookup(NULL, NULL, &err);
    assert_non_null(creds);
    assert_int_equal(creds->uid, geteuid());
    assert_int_equal(creds->change, geteuid() == 0);
    assert_true(has_group(creds, creds->gid));
    assert_true(creds->user[0] != '\0');
    assert_int_equal(creds->home[0], '/');
    assert_int_equal(creds->shell[0], '/');
}

static void the_agents_own_user_by_name_is_the_same(void **state)
{
    (void) state;
    const struct passwd *own = getpwuid(geteuid());
    if (own == NULL) {
        skip();
    }
    CLEANUP(free) char *name = xstrdup(own->pw_name);
    CLEANUP(creds) struct creds *creds = creds_lookup(name, NULL, NULL);
    assert_non_null(creds);
    assert_int_equal(creds->uid, geteuid());
    assert_string_equal(creds->user, name);
}

static void who_does_not_exist_is_a_fault_of_the_specification(void **state)
{
    (void) state;
    static const char *const users[] = {"no-such-user", "",   "4294967295", "4294967294999", "12x",
                                        "-1",           " 0", "4242424242", "root:x"};
    for (size_t i = 0; i < ARRAY_LEN(users); i++) {
        struct err err = {0};
        assert_null(creds_lookup(users[i], NULL, &err));
        assert_int_equal(err.code, ERR_SPEC);
        assert_non_null(strstr(err.msg, "does not exist"));
        err = (struct err){0};
        assert_null(creds_lookup(NULL, users[i], &err));
        assert_int_equal(err.code, ERR_SPEC);
        assert_non_null(strstr(err.msg, "does not exist"));
    }
}

static void another_user_has_exactly_its_own_groups(void **state)
{
    (void) state;
    if (geteuid() != 0) {
        skip();
    }
    CLEANUP(creds) struct creds *creds = creds_lookup("nobody", NULL, NULL);
    assert_non_null(creds);
    assert_true(creds->change);
    assert_int_equal(creds->uid, 65534);
    assert_true(has_group(creds, creds->gid));
    assert_false(has_group(creds, 0));
    assert_int_equal(creds->group_count, 1);
    CLEANUP(creds) struct creds *by_number = creds_lookup("65534", NULL, NULL);
    assert_non_null(by_number);
    assert_string_equal(by_number->user, "nobody");
}

static void a_group_replaces_the_primary_group(void **state)
{
    (void) state;
    const struct group *daemon = getgrnam("daemon");
    if (geteuid() != 0 || daemon == NULL) {
        skip();
    }
    gid_t gid = daemon->gr_gid;
    CLEANUP(creds) struct creds *creds = creds_lookup("nobody", "daemon", NULL);
    assert_non_null(creds);
    assert_int_equal(creds->gid, gid);
    assert_true(has_group(creds, gid));
    assert_false(has_group(creds, 65534));
    assert_false(has_group(creds, 0));
    CLEANUP(free) char *number = xasprintf("%u", gid);
    CLEANUP(creds) struct creds *by_number = creds_lookup("nobody", number, NULL);
    assert_non_null(by_number);
    assert_int_equal(by_number->gid, gid);
}

static int play_ordinary_user(const void *arg)
{
    (void) arg;
    struct err err = {0};
    if (geteuid() == 0) {
        CHECK(syscall(SYS_setgroups, 0, NULL) == 0);
        CHECK(syscall(SYS_setresgid, 65534, 65534, 65534) == 0);
        CHECK(syscall(SYS_setresuid, 65534, 65534, 65534) == 0);
    }
    CHECK(creds_lookup("root", NULL, &err) == NULL);
    CHECK(err.code == ERR_SPEC);
    CHECK(strstr(err.msg, "may not start workloads as user 'root'") != NULL);
    CHECK(creds_lookup(NULL, "root", &err) == NULL);
    CHECK(err.code == ERR_SPEC);
    CHECK(strstr(err.msg, "in group 'root'") != NULL);
    CLEANUP(creds) struct creds *own = creds_lookup(NULL, NULL, &err);
    CHECK(own != NULL && !own->change && own->uid == geteuid() && own->gid == getegid());
    CHECK(has_group(own, getegid()) && !has_group(own, 0));
    return 0;
}

static void an_ordinary_user_may_not_become_another(void **state)
{
    (void) state;
    assert_int_equal(run_scenario(play_ordinary_user, NULL), 0);
}

static int play_user_without_entry(const void *arg)
{
    (void) arg;
    CHECK(syscall(SYS_setresuid, 4242424, 4242424, 4242424) == 0);
    CLEANUP(creds) struct creds *own = creds_lookup(NULL, NULL, NULL);
    CHECK(own != NULL);
    CHECK(strcmp(own->user, "4242424") == 0);
    CHECK(strcmp(own->home, "/") == 0);
    CHECK(strcmp(own->shell, "/bin/sh") == 0);
    return 0;
}

static void an_agent_whose_user_has_no_entry_still_runs(void **state)
{
    (void) state;
    if (geteuid() != 0) {
        skip();
    }
    assert_int_equal(run_scenario(play_user_without_entry, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_user_it_is_the_agents_own),
        cmocka_unit_test(the_agents_own_user_by_name_is_the_same),
        cmocka_unit_test(who_does_not_exist_is_a_fault_of_the_specification),
        cmocka_unit_test(another_user_has_exactly_its_own_groups),
        cmocka_unit_test(a_group_replaces_the_primary_group),
        cmocka_unit_test(an_ordinary_user_may_not_become_another),
        cmocka_unit_test(an_agent_whose_user_has_no_entry_still_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
