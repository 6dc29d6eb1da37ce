/* What a sandbox lets in is judged as it was opened. What it holds: tests/system/test_sandbox.py.
 */
#include "edgible/buf.h"
#include "edgible/sandbox.h"
#include "sys_test.h"

static char *root;

static int make_stage(void **state)
{
    (void) state;
    char name[] = "/tmp/edgible-sandbox-XXXXXX";
    if (mkdtemp(name) == NULL) {
        return -1;
    }
    root = xstrdup(name);
    CLEANUP(free) char *in = xasprintf("%s/in", root);
    CLEANUP(free) char *out = xasprintf("%s/out", root);
    CLEANUP(free) char *link = xasprintf("%s/in/link", root);
    return mkdir(in, 0700) < 0 || mkdir(out, 0700) < 0 || symlink(out, link) < 0 ? -1 : 0;
}

static int clear_stage(void **state)
{
    (void) state;
    int rc = remove_tree(root);
    free(root);
    return rc;
}

struct tried {
    const char *read, *write, *working_dir; /* below root; NULL: none */
    const char *allowed;                    /* a pattern below root; NULL: any path is allowed */
    const char *refused;                    /* how the error starts; NULL: it is opened */
};

static void add_below(struct strv *paths, const char *name)
{
    if (name != NULL) {
        strv_add_take(paths, xasprintf("%s/%s", root, name));
    }
}

static void try_one(const struct tried *tried)
{
    CLEANUP(strv) struct strv read = {0};
    CLEANUP(strv) struct strv write = {0};
    CLEANUP(strv) struct strv dir = {0};
    CLEANUP(strv) struct strv allowed = {0};
    struct err err = {0};
    add_below(&read, tried->read);
    add_below(&write, tried->write);
    add_below(&dir, tried->working_dir);
    add_below(&allowed, tried->allowed);
    struct sandbox_request request = {.read = &read,
                                      .write = &write,
                                      .working_dir = dir.count > 0 ? dir.items[0] : NULL,
                                      .program = "/bin/true",
                                      .allowed = tried->allowed != NULL ? &allowed : NULL};
    CLEANUP(close_fd) int fd = sandbox_open(&request, &err);
    if (tried->refused == NULL) {
        assert_true(fd >= 0);
        return;
    }
    assert_int_equal(fd, -1);
    assert_int_equal(err.code, ERR_SPEC);
    assert_true(strncmp(err.msg, tried->refused, strlen(tried->refused)) == 0);
    assert_non_null(strstr(err.msg, "/out' is not among the policy.readPaths"));
}

static void what_was_opened_is_judged_and_not_what_was_written(void **state)
{
    (void) state;
    static const struct tried all[] = {
        {"out",     "in",  NULL,      NULL,    NULL                    },
        {"in",      NULL,  NULL,      "in",    NULL                    },
        {NULL,      "in",  NULL,      "*",     NULL                    },
        {NULL,      NULL,  "in",      "in",    NULL                    },
        {"out",     NULL,  NULL,      "in",    "sandbox.read[0]: '"    },
        {NULL,      "out", NULL,      "in",    "sandbox.write[0]: '"   },
        {NULL,      NULL,  "out",     "in",    "sandbox: workingDir: '"},
        {"in/link", NULL,  NULL,      "in/**", "sandbox.read[0]: '"    },
        {NULL,      NULL,  "in/link", "in/**", "sandbox: workingDir: '"},
    };
    if (sandbox_version() == 0) {
        skip();
    }
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        try_one(&all[i]);
    }
}

/* The path of depth folders, made where they are missing. */
static char *make_deep(int depth)
{
    CLEANUP(buf) struct buf path = {0};
    buf_add_str(&path, root);
    for (int i = 0; i < depth; i++) {
        buf_add_str(&path, "/d");
        assert_true(mkdir(path.data, 0700) == 0 || errno == EEXIST);
    }
    return steal_ptr(&path.data);
}

/* So often in `read` and in `write`: 0, or the code that making a sandbox of it fails with. */
static int try_many(const char *path, size_t reads, const char *written, size_t writes)
{
    CLEANUP(strv) struct strv read = {0};
    CLEANUP(strv) struct strv write = {0};
    struct err err = {0};
    for (size_t i = 0; i < reads; i++) {
        strv_add(&read, path);
    }
    for (size_t i = 0; i < writes; i++) {
        strv_add(&write, written);
    }
    const struct sandbox_request request = {.read = &read, .write = &write};
    CLEANUP(close_fd) int fd = sandbox_open(&request, &err);
    assert_true(fd >= 0 || strstr(err.msg, "too many folders") != NULL);
    return fd >= 0 ? 0 : err.code;
}

static void what_is_opened_for_its_paths_is_bounded(void **state)
{
    (void) state;
    if (sandbox_version() == 0) {
        skip();
    }
    CLEANUP(free) char *in = xasprintf("%s/in", root);
    CLEANUP(free) char *deep = make_deep(230);
    CLEANUP(free) char *link = xasprintf("%s/link", deep);
    assert_int_equal(symlink(in, link), 0);
    assert_int_equal(try_many(in, 1000, in, 1000), 0); /* as many as a document may have */
    assert_int_equal(try_many(deep, 100, in, 100), 0);
    assert_int_equal(try_many(deep, 1000, in, 1), ERR_SPEC);
    assert_int_equal(try_many(in, 1, deep, 1000), ERR_SPEC);
    assert_int_equal(try_many(link, 16, in, 0), 0);
    assert_int_equal(try_many(link, 20, in, 0), ERR_SPEC);
    assert_int_equal(try_many(link, 8, in, 1), 0);
    assert_int_equal(try_many(link, 10, in, 1), ERR_SPEC); /* and what is above each link */
}

static void what_lacks_is_told(void **state)
{
    (void) state;
    static const struct {
        int version;
        bool has_filter, limit_connect;
        const char *text;
    } all[] = {
        {7, true,  true,  "landlock 7"                                                   },
        {5, true,  true,  "landlock 5, without signals"                                  },
        {3, true,  true,  "landlock 3, without connect and signals"                      },
        {7, false, false, "landlock 7, without system calls"                             },
        {3, false, true,  "landlock 3, without connect and signals, without system calls"},
        {0, true,  true,  "none"                                                         },
    };
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        char text[80];
        sandbox_describe(all[i].version, all[i].has_filter, all[i].limit_connect, text,
                         sizeof(text));
        assert_string_equal(text, all[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_opened_is_judged_and_not_what_was_written),
        cmocka_unit_test(what_is_opened_for_its_paths_is_bounded),
        cmocka_unit_test(what_lacks_is_told),
    };
    return cmocka_run_group_tests(tests, make_stage, clear_stage);
}
