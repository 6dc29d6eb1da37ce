/* Paths by no other links than those that nobody else can have made or changed. */
#include "edgible/trusted.h"
#include "sys_test.h"

#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sys/xattr.h>

#define STRANGER 12345

static char *root;

static int make_stage(void **state)
{
    (void) state;
    char name[] = "/tmp/edgible-trusted-XXXXXX";
    if (mkdtemp(name) == NULL || chmod(name, 0755) < 0) {
        return -1;
    }
    root = xstrdup(name);
    return 0;
}

static int clear_stage(void **state)
{
    (void) state;
    int rc = remove_tree(root);
    free(root);
    return rc;
}

static char *at(const char *name)
{
    return xasprintf("%s/%s", root, name);
}

static void make_folder(const char *name, mode_t mode)
{
    CLEANUP(free) char *path = at(name);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static void make_link(const char *name, const char *target)
{
    CLEANUP(free) char *path = at(name);
    assert_int_equal(symlink(target, path), 0);
}

static void give_away(const char *name)
{
    CLEANUP(free) char *path = at(name);
    assert_int_equal(lchown(path, STRANGER, STRANGER), 0);
}

/* 0, or the code that opening it fails with; where it leads to the file is told by its inode. */
static int try_path(const char *path, const struct trusted_bounds *bounds, const char *expected)
{
    const struct trusted_bounds none = {0};
    struct err err = {0};
    CLEANUP(close_fd) int fd = trusted_open(path, bounds != NULL ? bounds : &none, &err);
    if (fd < 0) {
        return err.code;
    }
    struct stat st;
    struct stat wanted;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(stat(expected, &wanted), 0);
    assert_true(st.st_dev == wanted.st_dev && st.st_ino == wanted.st_ino);
    return 0;
}

static int try_name(const char *name, const char *expected)
{
    CLEANUP(free) char *path = at(name);
    CLEANUP(free) char *target = at(expected);
    return try_path(path, NULL, target);
}

static void test_what_is_the_devices_is_followed(void **state)
{
    (void) state;
    make_folder("a", 0755);
    make_folder("a/b", 0755);
    make_folder("sticky", 01777);
    make_link("one", "a");
    make_link("two", "./one//b/..");
    make_link("sticky/three", "../two");
    make_link("loop", "loop");
    make_link("nothing", "missing");
    assert_int_equal(try_name("a/b", "a/b"), 0);
    assert_int_equal(try_name("one/b/", "a/b"), 0);
    assert_int_equal(try_name("two/b", "a/b"), 0);
    /* Another user can have moved it there, whoever made it. */
    assert_int_equal(try_name("sticky/three/b", "a/b"), ERR_SPEC);
    assert_int_equal(try_name("loop", "a"), ELOOP);
    assert_int_equal(try_name("nothing", "a"), ENOENT);
    assert_int_equal(try_path("/", NULL, "/"), 0);
    assert_int_equal(try_path("//bin/sh", NULL, "/bin/sh"), 0);
    assert_int_equal(try_path("bin", NULL, "/bin"), EINVAL);
}

static void test_what_others_can_change_is_not(void **state)
{
    (void) state;
    make_folder("a", 0755);
    make_folder("open", 0757);
    make_folder("group", 0775);
    make_link("open/link", "../a");
    make_link("group/link", "../a");
    assert_int_equal(try_name("open/link", "a"), ERR_SPEC);
    assert_int_equal(try_name("group/link", "a"), ERR_SPEC);
    if (geteuid() != 0) {
        return;
    }
    make_link("theirs", "a");
    give_away("theirs");
    make_folder("own", 0755);
    make_link("own/link", "../a");
    give_away("own");
    make_folder("sticky", 01777);
    make_link("sticky/link", "../a");
    give_away("sticky/link");
    assert_int_equal(try_name("theirs", "a"), ERR_SPEC);
    assert_int_equal(try_name("own/link", "a"), ERR_SPEC);
    assert_int_equal(try_name("sticky/link", "a"), ERR_SPEC);
    assert_int_equal(try_name("own", "own"), 0);
}

static void test_links_of_proc_and_dots_are_refused(void **state)
{
    (void) state;
    make_link("magic", "/proc/self/root");
    make_link("folder", "/usr");
    assert_int_equal(try_path("/proc/self/root/etc", NULL, "/etc"), ERR_SPEC);
    assert_int_equal(try_path("/proc/self", NULL, "/etc"), ERR_SPEC);
    assert_int_equal(try_path("/proc/version", NULL, "/proc/version"), 0);
    assert_int_equal(try_name("magic", "magic"), ERR_SPEC);
    assert_int_equal(try_path("/usr/../etc", NULL, "/etc"), ERR_SPEC);
    assert_int_equal(try_path("/usr/..", NULL, "/"), ERR_SPEC);
    CLEANUP(free) char *behind = at("folder/../etc");
    assert_int_equal(try_path(behind, NULL, "/etc"), ERR_SPEC);
    make_folder("..a", 0755);
    make_folder("..a/b..", 0755);
    assert_int_equal(try_name("..a/b..", "..a/b.."), 0);
}

static void test_nothing_below_a_bound_is_followed(void **state)
{
    (void) state;
    make_folder("in", 0755);
    make_folder("in/deep", 0755);
    make_folder("out", 0755);
    make_link("in/link", "../out");
    make_link("in/deep/link", "../../out");
    make_link("way", "in/deep");
    make_link("out/link", "../in");
    CLEANUP(free) char *in = at("in");
    struct stat st;
    assert_int_equal(stat(in, &st), 0);
    struct trusted_folder folder = {st.st_dev, st.st_ino};
    const struct trusted_bounds bounds = {.folders = &folder, .count = 1};
    const struct {
        const char *name, *expected;
        int code;
    } cases[] = {
        {"in",            "in",      0       },
        {"in/deep",       "in/deep", 0       },
        {"way",           "in/deep", 0       },
        {"out/link",      "in",      0       },
        {"in/link",       "",        ERR_SPEC},
        {"in/deep/link",  "",        ERR_SPEC},
        {"way/link",      "",        ERR_SPEC},
        {"out/link/link", "",        ERR_SPEC},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(free) char *path = at(cases[i].name);
        CLEANUP(free) char *expected = at(cases[i].expected);
        assert_int_equal(try_path(path, &bounds, expected), cases[i].code);
    }
}

static int check(const char *name)
{
    CLEANUP(free) char *path = at(name);
    struct err err = {0};
    return trusted_check_folder(path, &err) == 0 ? 0 : err.code;
}

static void test_a_folder_that_others_can_write_to_is_not_trusted(void **state)
{
    (void) state;
    make_folder("closed", 0700);
    make_folder("readable", 0755);
    make_folder("passable", 0711);
    make_folder("group", 0775);
    make_folder("others", 0757);
    make_folder("sticky", 01777);
    make_folder("sticky/inner", 0755);
    assert_int_equal(check("closed"), 0);
    assert_int_equal(check("readable//"), 0);
    assert_int_equal(check("passable"), 0);
    assert_int_equal(check("sticky/inner"), 0);
    assert_int_equal(check("group"), ERR_SPEC);
    assert_int_equal(check("others"), ERR_SPEC);
    assert_int_equal(check("sticky"), ERR_SPEC);
    assert_int_equal(trusted_check_folder("/", NULL), 0);
    assert_int_equal(check("missing"), ENOENT);
}

static void test_a_link_is_no_trusted_folder(void **state)
{
    (void) state;
    make_folder("a", 0755);
    make_folder("a/b", 0755);
    make_link("link", "a");
    make_link("nowhere", "missing");
    assert_int_equal(check("link"), ERR_SPEC);
    assert_int_equal(check("link/"), ERR_SPEC);
    assert_int_equal(check("link//"), ERR_SPEC);
    assert_int_equal(check("nowhere"), ERR_SPEC);
    assert_int_equal(check("link/b"), 0);
}

static void test_a_folder_of_others_is_not_trusted(void **state)
{
    (void) state;
    if (geteuid() != 0) {
        return;
    }
    make_folder("theirs", 0755);
    give_away("theirs");
    assert_int_equal(check("theirs"), ERR_SPEC);
    assert_int_equal(seteuid(STRANGER), 0);
    int own = check("theirs");
    int of_root = check("");
    int of_the_system = trusted_check_folder("/usr", NULL);
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(own, 0);
    assert_int_equal(of_root, 0);
    assert_int_equal(of_the_system, 0);
}

static int check_way(const char *name)
{
    CLEANUP(free) char *path = at(name);
    struct err err = {0};
    return trusted_check_way(path, &err) == 0 ? 0 : err.code;
}

static void test_the_way_to_a_folder_is_judged(void **state)
{
    (void) state;
    make_folder("open", 0757);
    make_folder("open/own", 0700);
    make_folder("open/own/deep", 0700);
    make_folder("sticky", 01777);
    make_folder("sticky/own", 0700);
    make_folder("closed", 0755);
    make_folder("closed/own", 0700);
    make_link("closed/good", "../sticky/own");
    make_link("closed/bad", "../open/own");
    make_link("open/own/back", "../../closed");
    make_link("closed/twice", "../open/own/back/own");
    assert_int_equal(check("open/own"), ERR_SPEC);
    assert_int_equal(check("open/own/deep"), ERR_SPEC);
    assert_int_equal(check("closed/bad/deep"), ERR_SPEC);
    assert_int_equal(check("open/own/back/own"), ERR_SPEC);
    assert_int_equal(check_way("closed/twice/missing"), ERR_SPEC); /* its end is good */
    assert_int_equal(check_way("open/missing/deep"), ERR_SPEC);
    assert_int_equal(check_way("closed/bad/missing"), ERR_SPEC);
    assert_int_equal(check("sticky/own"), 0);
    assert_int_equal(check("closed/own"), 0);
    assert_int_equal(check_way("closed/good/missing/deep"), 0);
    assert_int_equal(check_way("sticky/missing"), 0);
    assert_int_equal(check_way("open"), 0); /* the last one is not judged */
}

static void test_the_way_through_folders_and_links_of_others_is_not_trusted(void **state)
{
    (void) state;
    if (geteuid() != 0) {
        return;
    }
    make_folder("theirs", 0755);
    make_folder("theirs/own", 0700);
    make_folder("closed", 0755);
    make_folder("closed/own", 0700);
    make_folder("sticky", 01777);
    make_link("sticky/link", "../closed");
    give_away("theirs");
    give_away("sticky/link");
    assert_int_equal(check("theirs/own"), ERR_SPEC);
    assert_int_equal(check("sticky/link/own"), ERR_SPEC);
    assert_int_equal(check_way("sticky/link/missing"), ERR_SPEC);
    assert_int_equal(check_way("theirs/missing"), ERR_SPEC);
    assert_int_equal(check("closed/own"), 0);
}

/* Lets one more user write, which the folder's mode shows as a right of its group. False where the
 * file system has no such lists. */
static bool let_in(const char *name)
{
    static const struct {
        struct posix_acl_xattr_header header;
        struct posix_acl_xattr_entry entries[5];
    } acl = {
        {POSIX_ACL_XATTR_VERSION                  },
        { {ACL_USER_OBJ, 7, (__le32) ACL_UNDEFINED_ID},
         {ACL_USER, 7, STRANGER + 1},
         {ACL_GROUP_OBJ, 5, (__le32) ACL_UNDEFINED_ID},
         {ACL_MASK, 7, (__le32) ACL_UNDEFINED_ID},
         {ACL_OTHER, 5, (__le32) ACL_UNDEFINED_ID}}
    };
    CLEANUP(free) char *path = at(name);
    struct stat st;
    if (setxattr(path, "system.posix_acl_access", &acl, sizeof(acl), 0) < 0) {
        assert_int_equal(errno, ENOTSUP);
        return false;
    }
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0775);
    return true;
}

static int try_to_write(const char *name)
{
    CLEANUP(free) char *path = at(name);
    struct err err = {0};
    CLEANUP(close_fd) int fd = trusted_open_to_write(path, &err);
    return fd >= 0 ? 0 : err.code;
}

static void test_a_group_may_write_where_it_is_the_users_alone(void **state)
{
    (void) state;
    bool is_root = geteuid() == 0;
    make_folder("private", 0775);
    make_folder("listed", 0755);
    bool has_lists = let_in("listed");
    if (is_root) {
        assert_int_equal(check_way("private/missing"), ERR_SPEC);
        assert_int_equal(try_to_write("private"), ERR_SPEC);
        give_away("private");
        give_away("listed");
        assert_int_equal(seteuid(STRANGER), 0);
    }
    bool is_private = is_root || getgid() == getuid();
    int way = check_way("private/missing");
    int folder = try_to_write("private");
    int listed_way = check_way("listed/missing");
    int listed = try_to_write("listed");
    assert_int_equal(seteuid(getuid()), 0);
    assert_int_equal(way, is_private ? 0 : ERR_SPEC);
    assert_int_equal(folder, way);
    assert_int_equal(listed_way, has_lists ? ERR_SPEC : 0);
    assert_int_equal(listed, listed_way);
}

static void make_file(const char *name, mode_t mode)
{
    CLEANUP(free) char *path = at(name);
    CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fchmod(fd, mode), 0);
}

static int try_file(const char *folder, const char *name)
{
    struct err err = {0};
    CLEANUP(free) char *path = at(folder);
    CLEANUP(close_fd) int fd = trusted_open_file(path, name, &err);
    return fd >= 0 ? 0 : err.code;
}

static void test_files_of_a_folder_that_is_ours_are_opened(void **state)
{
    (void) state;
    make_folder("a", 0755);
    make_file("secret", 0600);
    make_file("a/file", 0600);
    make_link("a/link", "../secret");
    make_link("a/nothing", "missing");
    assert_int_equal(try_file("a", "file"), 0);
    assert_int_equal(try_file("a/../a", "file"), 0);
    assert_int_equal(try_file("a", "link"), 0);
    assert_int_equal(try_file("a", "nothing"), ENOENT);
    assert_int_equal(try_file("a", "missing"), ENOENT);
    assert_int_equal(try_file("missing", "file"), ENOENT);
}

static void try_foreign_folder(const char *name, bool is_given)
{
    static const char *const files[] = {"own", "second", "secret", "all", "link"};
    const int codes[] = {is_given ? 0 : ERR_SPEC, ERR_SPEC, ERR_SPEC, 0, ERR_SPEC};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        CLEANUP(free) char *path = xasprintf("%s/%s", name, files[i]);
        if (i == 1) {
            CLEANUP(free) char *to = at(path);
            CLEANUP(free) char *from = at("outside");
            assert_int_equal(link(from, to), 0);
        } else if (i == 4) {
            make_link(path, "all");
        } else {
            make_file(path, i == 3 ? 0644 : 0600);
        }
        if (is_given && i == 0) {
            give_away(path);
        }
        assert_int_equal(try_file(name, files[i]), codes[i]);
    }
}

/* Neither by a link, nor by a second name, nor by a file that was moved there. */
static void test_what_others_can_put_there_tells_them_nothing(void **state)
{
    (void) state;
    make_file("outside", 0600);
    make_folder("open", 0757);
    make_folder("group", 0775);
    try_foreign_folder("open", false);
    try_foreign_folder("group", false);
    if (geteuid() == 0) {
        make_folder("theirs", 0755);
        give_away("theirs");
        try_foreign_folder("theirs", true);
        make_folder("ours", 0755);
        make_file("ours/file", 0600);
        make_link("way", "ours");
        assert_int_equal(try_file("way", "file"), 0);
        give_away("way");
        assert_int_equal(try_file("way", "file"), ERR_SPEC);
    }
}

/* In a folder above it others can rename: it may be another one of ours by then. */
static void test_a_folder_that_can_be_exchanged_is_like_one_of_others(void **state)
{
    (void) state;
    make_folder("above", 0755);
    make_folder("above/docs", 0755);
    make_file("above/docs/secret", 0600);
    make_file("above/docs/all", 0644);
    make_link("above/docs/link", "secret");
    make_link("way", "above/docs");
    static const char *const folders[] = {"above/docs", "above/../above/docs", "way"};
    for (size_t step = 0; step < 3; step++) {
        CLEANUP(free) char *above = at("above");
        bool is_open = step == 1 || (step == 2 && geteuid() == 0);
        assert_int_equal(chmod(above, step == 1 ? 0757 : 0755), 0);
        if (is_open && step == 2) {
            give_away("above");
        }
        for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
            int code = is_open ? ERR_SPEC : 0;
            assert_int_equal(try_to_write(folders[i]), code);
            assert_int_equal(try_file(folders[i], "secret"), code);
            /* Behind `..` no link is followed. */
            assert_int_equal(try_file(folders[i], "link"), i == 1 ? ERR_SPEC : code);
            assert_int_equal(try_file(folders[i], "all"), 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_is_the_devices_is_followed, make_stage,
                                        clear_stage),
        cmocka_unit_test_setup_teardown(test_what_others_can_change_is_not, make_stage,
                                        clear_stage),
        cmocka_unit_test_setup_teardown(test_links_of_proc_and_dots_are_refused, make_stage,
                                        clear_stage),
        cmocka_unit_test_setup_teardown(test_a_folder_that_others_can_write_to_is_not_trusted,
                                        make_stage, clear_stage),
        cmocka_unit_test_setup_teardown(test_a_link_is_no_trusted_folder, make_stage, clear_stage),
        cmocka_unit_test_setup_teardown(test_a_folder_of_others_is_not_trusted, make_stage,
                                        clear_stage),
        cmocka_unit_test_setup_teardown(test_the_way_to_a_folder_is_judged, make_stage,
                                        clear_stage),
        cmocka_unit_test_setup_teardown(
            test_the_way_through_folders_and_links_of_others_is_not_trusted, make_stage,
            clear_stage),
        cmocka_unit_test_setup_teardown(test_a_group_may_write_where_it_is_the_users_alone,
                                        make_stage, clear_stage),
        cmocka_unit_test_setup_teardown(test_files_of_a_folder_that_is_ours_are_opened, make_stage,
                                        clear_stage),
        cmocka_unit_test_setup_teardown(test_what_others_can_put_there_tells_them_nothing,
                                        make_stage, clear_stage),
        cmocka_unit_test_setup_teardown(test_a_folder_that_can_be_exchanged_is_like_one_of_others,
                                        make_stage, clear_stage),
        cmocka_unit_test_setup_teardown(test_nothing_below_a_bound_is_followed, make_stage,
                                        clear_stage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
