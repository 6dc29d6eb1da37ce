#include "edgible/appspec_json.h"
#include "edgible/fd.h"
#include "edgible/spec_diff.h"
#include "edgible/state_doc.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void parse(const char *text, size_t len, struct app_docs *docs)
{
    *docs = (struct app_docs){0};
    appspec_parse("app.yaml", text, len, docs);
}

/* Writes the application as JSON and reads it again: the same, and the same JSON. */
static void check_round_trip(const char *file, const struct app_spec *app)
{
    CLEANUP(json) struct json *json = appspec_to_json(app);
    CLEANUP(free) char *text = json_text(json);
    CLEANUP(app_docs) struct app_docs docs;
    parse(text, strlen(text), &docs);
    if (docs.count != 1 || docs.docs[0].spec == NULL) {
        fail_msg("%s: cannot be read again: %s", file, text);
    }
    if (spec_diff_app_is_different(app, docs.docs[0].spec)) {
        fail_msg("%s: differs after: %s", file, text);
    }
    CLEANUP(json) struct json *again = appspec_to_json(docs.docs[0].spec);
    CLEANUP(free) char *text_again = json_text(again);
    assert_string_equal(text, text_again);
}

static void what_is_written_of_each_good_document_is_read_as_the_same(void **state)
{
    (void) state;
    size_t checked = 0;
    DIR *dir = opendir(FIXTURES_DIR "/appspec/good");
    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.' || strstr(entry->d_name, ".expect") != NULL) {
            continue;
        }
        CLEANUP(free) char *data = NULL;
        size_t len = 0;
        assert_int_equal(
            fd_read_file(dirfd(dir), entry->d_name, 16UL * 1024 * 1024, &data, &len, NULL), 0);
        CLEANUP(app_docs) struct app_docs docs;
        parse(data, len, &docs);
        for (size_t i = 0; i < docs.count; i++) {
            if (docs.docs[i].spec != NULL) {
                check_round_trip(entry->d_name, docs.docs[i].spec);
                checked++;
            }
        }
    }
    (void) closedir(dir);
    assert_true(checked >= 100);
}

static struct app_spec *everything(void)
{
    CLEANUP(free) char *data = NULL;
    size_t len = 0;
    CLEANUP(app_docs) struct app_docs docs;
    assert_int_equal(fd_read_file(AT_FDCWD, FIXTURES_DIR "/appspec/good/everything.yaml", 1 << 20,
                                  &data, &len, NULL),
                     0);
    parse(data, len, &docs);
    assert_true(docs.count > 0 && docs.docs[0].spec != NULL);
    return steal_ptr(&docs.docs[0].spec);
}

static void an_application_record_keeps_all(void **state)
{
    (void) state;
    CLEANUP(app_spec) struct app_spec *app = everything();
    char source[] = "everything.yaml";
    struct app_record record = {.app = app, .generation = 7, .source = source, .removing = true};
    CLEANUP(free) char *text = app_record_text(&record);
    CLEANUP(app_record) struct app_record found = {0};
    struct err err = {0};
    assert_int_equal(app_record_read("a.json", text, strlen(text), &found, &err), STATE_DOC_READ);
    assert_int_equal(found.generation, 7);
    assert_true(found.removing);
    assert_string_equal(found.source, source);
    assert_string_equal(found.app->file, source);
    assert_false(spec_diff_app_is_different(app, found.app));
}

static void a_unit_keeps_all(void **state)
{
    (void) state;
    CLEANUP(app_spec) struct app_spec *app = everything();
    CLEANUP(strv) struct strv depends_on = {0};
    strv_add(&depends_on, "broker");
    CLEANUP(free) char *text = unit_text("app", 3, &depends_on, &app->workloads[0]);
    CLEANUP(unit) struct unit found = {0};
    struct err err = {0};
    assert_int_equal(unit_read("w.json", text, strlen(text), &found, &err), STATE_DOC_READ);
    assert_string_equal(found.application, "app");
    assert_int_equal(found.generation, 3);
    assert_true(strv_is_equal(&found.app_depends_on, &depends_on));
    assert_int_equal(spec_diff_workload(&app->workloads[0], found.spec, NULL), SPEC_SAME);
}

static void a_text_that_is_no_record_is_refused_with_its_cause(void **state)
{
    (void) state;
    static const struct {
        const char *text;
        enum state_doc_result result;
        const char *cause;
    } cases[] = {
        {"",                                                                                     STATE_DOC_CORRUPT, "'u.json' holds no document"                         },
        {"{\"version\":1,\"applic",                                                              STATE_DOC_CORRUPT, "u.json:1:"                                          },
        {"[]",                                                                                   STATE_DOC_CORRUPT, "'u.json' does not say its version"                  },
        {"{}",                                                                                   STATE_DOC_CORRUPT, "'u.json' does not say its version"                  },
        {"{\"version\":0}",                                                                      STATE_DOC_CORRUPT, "'u.json' does not say its version"                  },
        {"{\"version\":\"x\"}",                                                                  STATE_DOC_CORRUPT, "'u.json' does not say its version"                  },
        {"{\"version\":1}",                                                                      STATE_DOC_CORRUPT, "is required"                                        },
        {"{\"version\":1,\"application\":\"a\",\"generation\":1,\"workload\":{\"name\":\"w\"}}",
         STATE_DOC_CORRUPT,                                                                                         "workload.type"                                      },
        {"{\"version\":2}",                                                                      STATE_DOC_NEWER,   "has version 2, and this agent reads up to version 1"},
        {"{\"version\":99,\"what\":{\"is\":[\"this\"]}}",                                        STATE_DOC_NEWER,   "has version 99"                                     },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(unit) struct unit unit = {0};
        struct err err = {0};
        enum state_doc_result result =
            unit_read("u.json", cases[i].text, strlen(cases[i].text), &unit, &err);
        if (result != cases[i].result || strstr(err.msg, cases[i].cause) == NULL) {
            fail_msg("%s: result %d, '%s'", cases[i].text, (int) result, err.msg);
        }
    }
}

static void what_an_older_version_accepted_is_no_error(void **state)
{
    (void) state;
    static const char text[] =
        "{\"version\":1,\"application\":\"a\",\"generation\":1,\"workload\":{"
        "\"name\":\"w\",\"type\":\"managed-process\",\"command\":[\"x\"],"
        "\"logFile\":\"/srv/../x.log\",\"logs\":{\"maxSize\":1,\"maxFiles\":1000}}}";
    CLEANUP(unit) struct unit unit = {0};
    struct err err = {0};
    assert_int_equal(unit_read("u.json", text, strlen(text), &unit, &err), STATE_DOC_READ);
    assert_int_equal(unit.spec->logs.max_size_bytes, 65536);
    assert_int_equal(unit.spec->logs.max_files, 100);
    assert_string_equal(unit.spec->log_file, "/srv/../x.log");
}

static void members_that_are_not_known_are_passed_over(void **state)
{
    (void) state;
    static const char text[] =
        "{\"version\":1,\"application\":\"a\",\"generation\":1,\"later\":1,\"workload\":{"
        "\"name\":\"w\",\"type\":\"managed-process\",\"command\":[\"x\"],\"later\":{}}}";
    CLEANUP(unit) struct unit unit = {0};
    struct err err = {0};
    assert_int_equal(unit_read("u.json", text, strlen(text), &unit, &err), STATE_DOC_READ);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_of_each_good_document_is_read_as_the_same),
        cmocka_unit_test(an_application_record_keeps_all),
        cmocka_unit_test(a_unit_keeps_all),
        cmocka_unit_test(a_text_that_is_no_record_is_refused_with_its_cause),
        cmocka_unit_test(what_an_older_version_accepted_is_no_error),
        cmocka_unit_test(members_that_are_not_known_are_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
