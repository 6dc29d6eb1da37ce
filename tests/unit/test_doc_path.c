/* Paths of documents: what is refused, and what an open one is called. */
#include "edgible/buf.h"
#include "edgible/doc_path.h"
#include "sys_test.h"

#include <sched.h>
#include <sys/mount.h>

#define STRANGER 12345
#define USER 12346

static char *root;

static int make_stage(void **state)
{
    (void) state;
    char name[] = "/tmp/edgible-doc-path-XXXXXX";
    if (mkdtemp(name) == NULL || chmod(name, 0755) < 0) {
        return -1;
    }
    root = realpath(name, NULL);
    return root != NULL ? 0 : -1;
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

static void make_folder(const char *name)
{
    CLEANUP(free) char *path = at(name);
    assert_int_equal(mkdir(path, 0755), 0);
}

static void make_link(const char *name, const char *target)
{
    CLEANUP(free) char *path = at(name);
    assert_int_equal(symlink(target, path), 0);
}

static void give_link(const char *name, uid_t uid)
{
    CLEANUP(free) char *path = at(name);
    assert_int_equal(lchown(path, uid, uid), 0);
}

static int open_code(const char *path, const struct doc_path_rules *rules, struct err *err)
{
    CLEANUP(close_fd) int fd = doc_path_open_fd(path, rules, err);
    return fd >= 0 ? 0 : err->code;
}

static void the_text_is_judged_component_by_component(void **state)
{
    (void) state;
    static const struct {
        const char *path;
        int code;
    } cases[] = {
        {"/a/b",       0       },
        {"a/b",        0       },
        {"/..a/b../.", 0       },
        {"/a/...",     0       },
        {"..",         ERR_SPEC},
        {"../a",       ERR_SPEC},
        {"/a/..",      ERR_SPEC},
        {"/a/../b",    ERR_SPEC},
        {"/a//..//b",  ERR_SPEC},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        int code = doc_path_check(cases[i].path, &err) < 0 ? err.code : 0;
        if (code != cases[i].code) {
            fail_msg("'%s': %d", cases[i].path, code);
        }
    }
    char path[PATH_MAX + 1];
    struct err err = {0};
    memset(path, 'a', sizeof(path));
    path[PATH_MAX] = '\0';
    assert_int_equal(doc_path_check(path, &err), -1);
    assert_int_equal(err.code, ENAMETOOLONG);
    path[PATH_MAX - 1] = '\0';
    assert_int_equal(doc_path_check(path, &err), 0);
}

static void a_path_is_found_as_far_as_it_is_there(void **state)
{
    (void) state;
    const struct doc_path_rules rules = {0};
    make_link("link", "/usr/bin");
    make_link("twice", "./link/.");
    make_link("dangling", "/does/not/exist");
    make_folder("up");
    make_link("up/up", "../link/../lib");
    CLEANUP(free) char *new_file = at("new/file");
    const struct {
        const char *name, *expected; /* NULL: refused */
        int code;                    /* 0: it exists */
    } cases[] = {
        {"link/env",       "/usr/bin/env",      0       },
        {"twice//env",     "/usr/bin/env",      0       },
        {"up/up",          "/usr/lib",          0       },
        {"link/new/file",  "/usr/bin/new/file", ENOENT  },
        {"twice/new",      "/usr/bin/new",      ENOENT  },
        {"link/./new//f/", "/usr/bin/new/f",    ENOENT  },
        {"new/file",       new_file,            ENOENT  },
        {"link/../lib",    NULL,                ERR_SPEC},
        {"new/../x",       NULL,                ERR_SPEC},
        {"dangling",       NULL,                ENOENT  },
        {"dangling/x",     NULL,                ENOENT  },
        {"link/env/x",     NULL,                ENOTDIR },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(free) char *path = at(cases[i].name);
        CLEANUP(doc_path) struct doc_path found = {.fd = -1};
        struct err err = {0};
        int rc = doc_path_find(path, &rules, &found, &err);
        assert_int_equal(rc, cases[i].expected != NULL ? 0 : -1);
        if (rc == 0) {
            assert_string_equal(found.path, cases[i].expected);
            assert_int_equal(found.fd >= 0, cases[i].code == 0);
        } else {
            assert_int_equal(err.code, cases[i].code);
        }
        struct err why = {0};
        assert_int_equal(open_code(path, &rules, &why), cases[i].code);
    }
    CLEANUP(doc_path) struct doc_path found = {.fd = -1};
    assert_int_equal(doc_path_open("/", &rules, &found, NULL), 0);
    assert_string_equal(found.path, "/");
}

static void links_of_third_users_are_refused_and_named(void **state)
{
    (void) state;
    if (geteuid() != 0) {
        return;
    }
    const struct doc_path_rules agent = {0};
    const struct doc_path_rules user = {.has_user = true, .user = USER};
    const struct doc_path_rules anybody = {.any_owner = true};
    make_folder("a");
    make_folder("a/b");
    make_link("theirs", "a");
    give_link("theirs", STRANGER);
    make_link("users", "a");
    give_link("users", USER);
    make_link("way", "users/b");
    struct err err = {0};
    CLEANUP(free) char *theirs = at("theirs/b");
    CLEANUP(free) char *way = at("way");
    CLEANUP(free) char *users = at("users");
    CLEANUP(free) char *link = xasprintf("'%s/theirs'", root);
    assert_int_equal(open_code(theirs, &user, &err), ERR_SPEC);
    assert_non_null(strstr(err.msg, link));
    assert_non_null(strstr(err.msg, "the user with ID 12345"));
    assert_int_equal(open_code(theirs, &anybody, &err), 0);
    assert_int_equal(open_code(way, &user, &err), 0);
    assert_int_equal(open_code(way, &agent, &err), ERR_SPEC);
    assert_non_null(strstr(err.msg, users));
}

/* A folder of root's that the user can move by its name is no place for one, either. */
static void who_is_confined_is_led_by_links_of_root_alone(void **state)
{
    (void) state;
    const struct doc_path_rules user = {.has_user = true, .user = USER, .is_confined = true};
    const struct doc_path_rules self = {.user = getuid(), .is_confined = true};
    struct err err = {0};
    make_folder("own");
    make_folder("own/roots");
    make_link("own/link", "/usr");
    make_link("own/roots/link", "/usr");
    if (geteuid() == 0) {
        CLEANUP(free) char *own = at("own");
        assert_int_equal(chown(own, USER, USER), 0);
        give_link("own/link", USER);
    }
    static const char *const names[] = {"own/link", "own/roots/link"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        CLEANUP(free) char *path = at(names[i]);
        assert_int_equal(open_code(path, &user, &err), ERR_SPEC);
        assert_non_null(strstr(err.msg, "in a sandbox can have put it there"));
        assert_int_equal(open_code(path, &self, &err), ERR_SPEC);
    }
    CLEANUP(free) char *folder = at("own/roots");
    assert_int_equal(open_code(folder, &user, &err), 0);
    /* /proc/self is one of the kernel's; /dev/fd, /dev/stdin … are made by root. */
    struct stat st;
    if (lstat("/dev/fd", &st) == 0 && S_ISLNK(st.st_mode)) {
        (void) open_code("/dev/fd", &user, &err);
        assert_null(strstr(err.msg, "'/dev/fd'"));
        assert_int_equal(open_code("/dev/fd", &(struct doc_path_rules){.is_confined = true}, &err),
                         ERR_SPEC);
        assert_non_null(strstr(err.msg, "'/dev/fd'"));
    }
}

static void no_link_of_proc_is_followed(void **state)
{
    (void) state;
    static const char *const ways[] = {
        "/proc/self/root/usr/bin/env", "/proc/self/cwd", "/proc/self/exe", "/proc/1/root",
        "/proc/thread-self/root/usr",  "/dev/fd/0"};
    const struct doc_path_rules rules = {.any_owner = true};
    make_link("magic", "/proc/self/root");
    CLEANUP(free) char *behind = at("magic/usr");
    struct err err = {0};
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        int code = open_code(ways[i], &rules, &err);
        /* What another process works in need not even be looked at by an ordinary user. */
        if (code != ERR_SPEC && !(geteuid() != 0 && code == EACCES)) {
            fail_msg("%s: %d %s", ways[i], code, err.msg);
        }
    }
    assert_int_equal(open_code(behind, &rules, &err), ERR_SPEC);
    assert_non_null(strstr(err.msg, "/proc"));
    assert_int_equal(open_code("/proc/version", &rules, &err), 0);
}

/* In mounts of its own, something else has the name of a program. */
_Noreturn static void play_other_mounts(const void *arg)
{
    const int *ready = arg;
    CLEANUP(free) char *other = at("other");
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) {
        (void) mount(other, "/usr/bin/env", NULL, MS_BIND, NULL);
    }
    (void) !write(ready[1], "x", 1);
    for (;;) {
        (void) pause();
    }
}

static void the_mounts_of_another_process_name_nothing(void **state)
{
    (void) state;
    int ready[2];
    char byte = 0;
    const struct doc_path_rules rules = {.any_owner = true};
    CLEANUP(free) char *other = at("other");
    CLEANUP(close_fd) int file = open(other, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    assert_true(file >= 0 && pipe2(ready, O_CLOEXEC) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        play_other_mounts(ready);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    CLEANUP(free) char *path = xasprintf("/proc/%d/root/usr/bin/env", (int) pid);
    struct err err = {0};
    int code = open_code(path, &rules, &err);
    (void) kill(pid, SIGKILL);
    (void) waitpid(pid, NULL, 0);
    (void) close(ready[0]);
    (void) close(ready[1]);
    assert_true(code == ERR_SPEC || (geteuid() != 0 && code == EACCES));
}

static void what_links_lead_through_is_bounded(void **state)
{
    (void) state;
    const struct doc_path_rules rules = {0};
    struct err err = {0};
    char target[PATH_MAX - 1];
    make_link("loop", "./loop");
    CLEANUP(free) char *loop = at("loop");
    assert_int_equal(open_code(loop, &rules, &err), ELOOP);
    memset(target, '/', sizeof(target) - 1);
    target[sizeof(target) - 1] = '\0';
    target[sizeof(target) - 2] = 'x';
    for (size_t i = 1; i < sizeof(target) - 3; i += 2) {
        target[i] = '.';
    }
    memcpy(target, "./", 2);
    make_link("x", target);
    CLEANUP(free) char *x = at("x");
    assert_int_equal(open_code(x, &rules, &err), ELOOP);
    char name[NAME_MAX + 2];
    memset(name, 'a', sizeof(name));
    name[NAME_MAX + 1] = '\0';
    CLEANUP(free) char *wide = at(name);
    assert_int_equal(open_code(wide, &rules, &err), ENAMETOOLONG);
    assert_int_equal(open_code("usr", &rules, &err), EINVAL);
}

static void what_a_walk_opens_is_bounded(void **state)
{
    (void) state;
    unsigned left = 270;
    const struct doc_path_rules rules = {0};
    const struct doc_path_rules shared = {.steps_left = &left};
    struct err err = {0};
    CLEANUP(buf) struct buf path = {0};
    buf_add_str(&path, root);
    for (int i = 0; i < 250; i++) {
        buf_add_str(&path, "/d");
        assert_int_equal(mkdir(path.data, 0755), 0);
    }
    assert_int_equal(open_code(path.data, &rules, &err), 0);
    CLEANUP(free) char *link = xasprintf("%s/top", path.data);
    CLEANUP(free) char *longer = xasprintf("%s/d/d/d", link);
    assert_int_equal(symlink(root, link), 0);
    assert_int_equal(open_code(longer, &rules, &err), ERR_SPEC);
    assert_non_null(strstr(err.msg, "leads through too many folders"));
    assert_int_equal(open_code(path.data, &shared, &err), 0);
    assert_int_equal(left, 270 - 16); /* sixteen of its 253 components count as one */
    make_link("up", ".");
    CLEANUP(free) char *linked = xasprintf("%s/up%s", root, path.data + strlen(root));
    assert_int_equal(open_code(linked, &shared, &err), 0);
    assert_int_equal(left, 0); /* "/", "tmp", root's own, "up" and 250 more */
    assert_int_equal(open_code(path.data, &shared, &err), ERR_SPEC);
    assert_int_equal(left, 0);
    CLEANUP(free) char *sixteen = at("up/up/up/up/up/up/up/up/up/up/up/up/up/up/up/up");
    CLEANUP(free) char *more = xasprintf("%s/up", sixteen);
    assert_int_equal(open_code(sixteen, &rules, &err), 0);
    assert_int_equal(open_code(more, &rules, &err), ELOOP);
}

static int count_own(const void *context, const struct doc_path_spot *spot, struct err *err)
{
    struct buf *seen = *(struct buf *const *) context;
    (void) err;
    buf_printf(seen, "%s@%s ", spot->name, spot->place);
    return 0;
}

static int make_missing(const void *context, const struct doc_path_spot *spot, struct err *err)
{
    (void) context;
    return mkdirat(spot->folder, spot->name, 0755) == 0 ? 0 : err_set(err, errno, "make");
}

static void the_caller_is_asked_about_the_paths_own_components(void **state)
{
    (void) state;
    CLEANUP(buf) struct buf seen = {0};
    struct buf *context = &seen;
    struct err err = {0};
    make_folder("a");
    make_folder("a/b");
    make_link("link", "./a/./b");
    CLEANUP(free) char *path = at("link//c/./d/file");
    struct doc_path_rules rules = {.end = strrchr(path, '/') + 1,
                                   .context = &context,
                                   .on_own = count_own,
                                   .make = make_missing};
    assert_int_equal(open_code(path, &rules, &err), 0);
    const char *begin = strstr(seen.data, "link@");
    assert_non_null(begin);
    assert_string_equal(begin, "link@link//c/./d/file c@c/./d/file d@d/file ");
    CLEANUP(free) char *made = at("a/b/c/d");
    assert_int_equal(access(made, F_OK), 0);
    assert_int_not_equal(access(path, F_OK), 0);
}

static void a_path_is_settled_where_only_root_and_the_user_can_change_it(void **state)
{
    (void) state;
    assert_true(doc_path_is_settled("/usr/bin/env", 0));
    assert_false(doc_path_is_settled("/tmp/program", 0)); /* others may write to /tmp */
}

#define STAGED(name) cmocka_unit_test_setup_teardown(name, make_stage, clear_stage)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_text_is_judged_component_by_component),
        STAGED(a_path_is_found_as_far_as_it_is_there),
        STAGED(links_of_third_users_are_refused_and_named),
        STAGED(who_is_confined_is_led_by_links_of_root_alone),
        STAGED(no_link_of_proc_is_followed),
        STAGED(the_mounts_of_another_process_name_nothing),
        STAGED(what_links_lead_through_is_bounded),
        STAGED(what_a_walk_opens_is_bounded),
        STAGED(the_caller_is_asked_about_the_paths_own_components),
        cmocka_unit_test(a_path_is_settled_where_only_root_and_the_user_can_change_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
