/* Documents go into the files of a directory, all or none. */
#include "../../src/svc/source_deploy.h"
#include "edgible/fd.h"
#include "sys_test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define DOCUMENT(name)                                                                             \
    "apiVersion: v3\nkind: Application\nmetadata: { name: " name " }\nspec:\n  workloads:\n"       \
    "    - { name: main, type: managed-process, command: [sleep, '1'] }\n"

static int make_folder(void **state)
{
    char *folder = xstrdup("/tmp/edgible-deploy.XXXXXX");
    *state = mkdtemp(folder);
    return *state != NULL ? 0 : -1;
}

static int remove_folder(void **state)
{
    int rc = remove_tree(*state);
    free(*state);
    return rc;
}

static void put(const char *folder, const char *name, const char *text)
{
    CLEANUP(free) char *path = xasprintf("%s/%s", folder, name);
    CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    assert_int_equal(fd_write_all(fd, text, strlen(text), NULL), 0);
}

static void check(const char *folder, const char *name, const char *wanted)
{
    CLEANUP(free) char *path = xasprintf("%s/%s", folder, name);
    CLEANUP(free) char *data = NULL;
    size_t len = 0;
    if (wanted == NULL) {
        assert_int_equal(access(path, F_OK), -1);
        return;
    }
    assert_int_equal(fd_read_file(AT_FDCWD, path, 100000, &data, &len, NULL), 0);
    assert_string_equal(data, wanted);
}

static size_t count_entries(const char *folder)
{
    DIR *dir = opendir(folder);
    size_t count = 0;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 ? 1 : 0;
    }
    (void) closedir(dir);
    return count;
}

static void set(struct source_deploy *deploy, const char *app, const char *path, const char *text)
{
    struct err err = {0};
    size_t len = text != NULL ? strlen(text) : 0;
    if (source_deploy_set(deploy, app, path, text, len, &err) < 0) {
        fail_msg("%s", err.msg);
    }
}

static void new_ones_become_files_of_their_own(void **state)
{
    const char *folder = *state;
    CLEANUP(source_deploy) struct source_deploy *deploy = source_deploy_new(folder);
    set(deploy, "a", NULL, "# why\n" DOCUMENT("a"));
    set(deploy, "b", NULL, DOCUMENT("b"));
    assert_int_equal(count_entries(folder), 0);
    assert_int_equal(source_deploy_commit(deploy, NULL), 0);
    check(folder, "a.yaml", "# why\n" DOCUMENT("a"));
    check(folder, "b.yaml", DOCUMENT("b"));
    assert_int_equal(count_entries(folder), 2);
}

static void one_of_several_is_replaced_and_its_neighbours_stay_to_the_byte(void **state)
{
    const char *folder = *state;
    CLEANUP(free) char *path = xasprintf("%s/all.yaml", folder);
    put(folder, "all.yaml",
        "# first\n" DOCUMENT("a") "---\n# second\n" DOCUMENT("b") "--- # third\n" DOCUMENT("c"));
    CLEANUP(source_deploy) struct source_deploy *deploy = source_deploy_new(folder);
    set(deploy, "b", path, "# new\n" DOCUMENT("b"));
    assert_int_equal(source_deploy_commit(deploy, NULL), 0);
    check(folder, "all.yaml",
          "# first\n" DOCUMENT("a") "---\n# new\n" DOCUMENT("b") "--- # third\n" DOCUMENT("c"));
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
}

static void taken_out_until_nothing_is_left(void **state)
{
    const char *folder = *state;
    CLEANUP(free) char *path = xasprintf("%s/all.yaml", folder);
    put(folder, "all.yaml", DOCUMENT("a") "---\n" DOCUMENT("b"));
    CLEANUP(source_deploy) struct source_deploy *one = source_deploy_new(folder);
    set(one, "a", path, NULL);
    assert_int_equal(source_deploy_commit(one, NULL), 0);
    check(folder, "all.yaml", "---\n" DOCUMENT("b"));
    CLEANUP(source_deploy) struct source_deploy *two = source_deploy_new(folder);
    set(two, "b", path, NULL);
    assert_int_equal(source_deploy_commit(two, NULL), 0);
    assert_int_equal(count_entries(folder), 0);
}

static void two_changes_of_one_file_are_both_done(void **state)
{
    const char *folder = *state;
    CLEANUP(free) char *path = xasprintf("%s/all.yaml", folder);
    put(folder, "all.yaml", DOCUMENT("a") "---\n" DOCUMENT("b"));
    CLEANUP(source_deploy) struct source_deploy *deploy = source_deploy_new(folder);
    set(deploy, "a", path, "# 1\n" DOCUMENT("a"));
    set(deploy, "b", path, "# 2\n" DOCUMENT("b"));
    assert_int_equal(source_deploy_commit(deploy, NULL), 0);
    check(folder, "all.yaml", "# 1\n" DOCUMENT("a") "---\n# 2\n" DOCUMENT("b"));
}

static void many_changes_of_one_file_leave_the_others_in_it(void **state)
{
    const char *folder = *state;
    CLEANUP(free) char *path = xasprintf("%s/all.yaml", folder);
    put(folder, "all.yaml",
        "# 1\n" DOCUMENT("a") "---\n# 2\n" DOCUMENT("b") "--- # 3\n" DOCUMENT("c") "---\n"
                                                                                   "# 4\n" DOCUMENT(
                                                                                       "d"));
    CLEANUP(source_deploy) struct source_deploy *deploy = source_deploy_new(folder);
    set(deploy, "c", path, NULL);
    set(deploy, "e", path, "# 5\n" DOCUMENT("e"));
    set(deploy, "d", path, "# four, which is longer\n" DOCUMENT("d"));
    set(deploy, "a", path, "# one, which is longer\n" DOCUMENT("a"));
    assert_int_equal(source_deploy_commit(deploy, NULL), 0);
    check(folder, "all.yaml",
          "# one, which is longer\n" DOCUMENT("a") "---\n# 2\n" DOCUMENT(
              "b") "---\n# four, which is longer\n" DOCUMENT("d") "---\n# 5\n" DOCUMENT("e"));
}

/* By hand, since the source looked. */
static void a_file_that_holds_another_by_now_is_not_removed(void **state)
{
    const char *folder = *state;
    CLEANUP(free) char *path = xasprintf("%s/a.yaml", folder);
    put(folder, "a.yaml", DOCUMENT("other"));
    CLEANUP(source_deploy) struct source_deploy *deploy = source_deploy_new(folder);
    set(deploy, "a", path, NULL);
    assert_int_equal(source_deploy_commit(deploy, NULL), 0);
    check(folder, "a.yaml", DOCUMENT("other"));
}

static void a_file_that_somebody_changes_meanwhile_is_a_conflict(void **state)
{
    const char *folder = *state;
    struct err err = {0};
    CLEANUP(free) char *path = xasprintf("%s/a.yaml", folder);
    put(folder, "a.yaml", DOCUMENT("a"));
    CLEANUP(source_deploy) struct source_deploy *deploy = source_deploy_new(folder);
    set(deploy, "a", path, "# mine\n" DOCUMENT("a"));
    set(deploy, "b", NULL, DOCUMENT("b"));
    put(folder, "a.yaml", "# theirs\n" DOCUMENT("a"));
    assert_int_equal(source_deploy_commit(deploy, &err), -1);
    assert_int_equal(err.code, EBUSY);
    check(folder, "a.yaml", "# theirs\n" DOCUMENT("a"));
    assert_int_equal(count_entries(folder), 1);
}

static void what_cannot_be_cut_safely_is_refused(void **state)
{
    const char *folder = *state;
    static const char *const files[] = {
        "[ {apiVersion: v3, kind: Application, metadata: {name: a}, spec: {workloads: []}},\n"
        "  {apiVersion: v3, kind: Application, metadata: {name: b}, spec: {workloads: []}} ]\n",
        DOCUMENT("a") "---\n{ never closed\n",
    };
    CLEANUP(free) char *path = xasprintf("%s/a.yaml", folder);
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        struct err err = {0};
        put(folder, "a.yaml", files[i]);
        CLEANUP(source_deploy) struct source_deploy *deploy = source_deploy_new(folder);
        assert_int_equal(
            source_deploy_set(deploy, "a", path, DOCUMENT("a"), strlen(DOCUMENT("a")), &err), -1);
        assert_int_equal(err.code, EEXIST);
        check(folder, "a.yaml", files[i]);
    }
}

static void a_file_of_others_is_not_overwritten(void **state)
{
    const char *folder = *state;
    struct err err = {0};
    put(folder, "a.yaml", DOCUMENT("other"));
    CLEANUP(source_deploy) struct source_deploy *deploy = source_deploy_new(folder);
    assert_int_equal(
        source_deploy_set(deploy, "a", NULL, DOCUMENT("a"), strlen(DOCUMENT("a")), &err), -1);
    assert_int_equal(err.code, EEXIST);
}

static char *make_victim(const char *folder)
{
    char *victim = xasprintf("%s/victim", folder);
    assert_int_equal(mkdir(victim, 0700), 0);
    put(victim, "precious", "x");
    put(victim, "other.gone", "x");
    return victim;
}

static void try_commit(const char *directory, int code)
{
    struct err err = {0};
    CLEANUP(source_deploy) struct source_deploy *deploy = source_deploy_new(directory);
    set(deploy, "a", NULL, DOCUMENT("a"));
    assert_int_equal(source_deploy_commit(deploy, &err), code == 0 ? 0 : -1);
    assert_int_equal(err.code, code);
    check(directory, "a.yaml", code == 0 ? DOCUMENT("a") : NULL);
}

static const char *const left[] = {".edgible-deploy.new", ".edgible-deploy"};

static void a_link_in_the_place_of_its_folders_is_not_followed(void **state)
{
    const char *folder = *state;
    CLEANUP(free) char *victim = make_victim(folder);
    for (size_t i = 0; i < ARRAY_LEN(left); i++) {
        struct err err = {0};
        CLEANUP(free) char *link = xasprintf("%s/%s", folder, left[i]);
        assert_int_equal(symlink(victim, link), 0);
        try_commit(folder, ERR_SPEC);
        assert_int_equal(source_deploy_recover(folder, &err), -1);
        assert_int_equal(err.code, ERR_SPEC);
        assert_non_null(strstr(err.msg, folder));
        assert_int_equal(count_entries(victim), 2);
        assert_int_equal(unlink(link), 0);
    }
    assert_int_equal(count_entries(folder), 1);
    try_commit(folder, 0);
}

/* Where its owner and its mode do not say that the agent made it. */
static void a_folder_that_others_can_have_made_is_not_taken(void **state)
{
    const char *folder = *state;
    for (size_t i = 0; i < ARRAY_LEN(left); i++) {
        CLEANUP(free) char *path = xasprintf("%s/%s", folder, left[i]);
        assert_int_equal(mkdir(path, 0700), 0);
        put(path, "b.yaml", "x");
        for (int k = 0; k < (geteuid() == 0 ? 2 : 1); k++) {
            assert_int_equal(chmod(path, k == 0 ? 0755 : 0700), 0);
            assert_int_equal(k == 0 ? 0 : chown(path, 12345, 12345), 0);
            assert_int_equal(source_deploy_recover(folder, NULL), -1);
            try_commit(folder, ERR_SPEC);
            assert_int_equal(count_entries(path), 1);
            assert_int_equal(count_entries(folder), 1);
        }
        assert_int_equal(remove_tree(path), 0);
    }
}

static void what_an_agent_left_is_finished_before_the_next_change(void **state)
{
    const char *folder = *state;
    for (size_t i = 0; i < ARRAY_LEN(left); i++) {
        CLEANUP(free) char *path = xasprintf("%s/%s", folder, left[i]);
        assert_int_equal(mkdir(path, 0700), 0);
        put(path, i == 0 ? "b.yaml" : "c.yaml", DOCUMENT("c"));
    }
    try_commit(folder, 0);
    check(folder, "c.yaml", DOCUMENT("c"));
    assert_int_equal(count_entries(folder), 2);
}

static void nothing_is_put_into_a_directory_that_others_can_write_to(void **state)
{
    CLEANUP(free) char *folder = xasprintf("%s/documents", (const char *) *state);
    CLEANUP(free) char *victim = make_victim(*state);
    CLEANUP(free) char *link = xasprintf("%s/.edgible-deploy.new", folder);
    CLEANUP(free) char *decided = xasprintf("%s/.edgible-deploy", folder);
    static const mode_t modes[] = {0757, 01777, 0755};
    assert_int_equal(mkdir(folder, 0755), 0);
    for (size_t i = 0; i < (geteuid() == 0 ? 3 : 2); i++) {
        assert_int_equal(chown(folder, i < 2 ? geteuid() : 12345, (gid_t) -1), 0);
        assert_int_equal(chmod(folder, modes[i]), 0);
        assert_int_equal(source_deploy_recover(folder, NULL), 0);
        try_commit(folder, ERR_SPEC);
        assert_int_equal(count_entries(folder), 0);
        assert_int_equal(symlink(victim, link), 0);
        assert_int_equal(mkdir(decided, 0700), 0);
        put(decided, "b.yaml", "x");
        assert_int_equal(source_deploy_recover(folder, NULL), -1);
        try_commit(folder, ERR_SPEC);
        assert_int_equal(count_entries(victim), 2);
        assert_int_equal(count_entries(decided), 1);
        assert_int_equal(unlink(link), 0);
        assert_int_equal(remove_tree(decided), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(new_ones_become_files_of_their_own, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(
            one_of_several_is_replaced_and_its_neighbours_stay_to_the_byte, make_folder,
            remove_folder),
        cmocka_unit_test_setup_teardown(taken_out_until_nothing_is_left, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(two_changes_of_one_file_are_both_done, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(many_changes_of_one_file_leave_the_others_in_it,
                                        make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_file_that_holds_another_by_now_is_not_removed,
                                        make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_file_that_somebody_changes_meanwhile_is_a_conflict,
                                        make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(what_cannot_be_cut_safely_is_refused, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(a_file_of_others_is_not_overwritten, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(a_link_in_the_place_of_its_folders_is_not_followed,
                                        make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_folder_that_others_can_have_made_is_not_taken,
                                        make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(what_an_agent_left_is_finished_before_the_next_change,
                                        make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(nothing_is_put_into_a_directory_that_others_can_write_to,
                                        make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
