#include "edgible/appspec.h"
#include "edgible/buf.h"
#include "edgible/fd.h"
#include "edgible/map.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A document that is right, to the end of its one workload. */
#define HEAD                                                                                       \
    "apiVersion: v3\nkind: Application\nmetadata: { name: app }\nspec:\n  workloads:\n"            \
    "    - name: web\n      type: managed-process\n      command: [/bin/web]\n"

static void add_list(struct buf *out, const char *name, const struct strv *list)
{
    if (list->count == 0) {
        return;
    }
    buf_printf(out, "  %s", name);
    for (size_t i = 0; i < list->count; i++) {
        buf_add_str(out, " [");
        buf_add_json_escaped(out, list->items[i]);
        buf_add_str(out, "]");
    }
    buf_add_char(out, '\n');
}

static void add_text(struct buf *out, const char *name, const char *value)
{
    if (value != NULL) {
        buf_printf(out, "  %s ", name);
        buf_add_json_escaped(out, value);
        buf_add_char(out, '\n');
    }
}

static void add_number(struct buf *out, const char *name, int64_t value)
{
    if (value != UNSET) {
        buf_printf(out, "  %s %lld\n", name, (long long) value);
    }
}

static void dump_policies(struct buf *out, const struct workload_spec *w)
{
    static const char *const when[] = {NULL, "always", "on-failure", "never"};
    char name[32];
    add_text(out, "restart.policy", when[w->restart.when]);
    add_number(out, "restart.initialDelay", w->restart.initial_delay_ms);
    add_number(out, "restart.maxDelay", w->restart.max_delay_ms);
    add_number(out, "restart.rapidAfter", w->restart.rapid_after_ms);
    add_number(out, "restart.maxRapidFailures", w->restart.max_rapid_failures);
    add_number(out, "restart.stableAfter", w->restart.stable_after_ms);
    add_number(out, "restart.retryFailedAfter", w->restart.retry_failed_after_ms);
    add_text(out, "stop.signal",
             w->stop.signal != 0 ? signal_name(w->stop.signal, name, sizeof(name)) : NULL);
    add_number(out, "stop.gracePeriod", w->stop.grace_ms);
    add_number(out, "logs.maxSize", w->logs.max_size_bytes);
    add_number(out, "logs.maxFiles", w->logs.max_files);
}

static void dump_health(struct buf *out, const struct health_check *health)
{
    static const char *const kinds[] = {"none", "http", "tcp", "exec"};
    if (health->kind == HEALTH_NONE) {
        return;
    }
    buf_printf(out, "  healthCheck %s", kinds[health->kind]);
    if (health->port != 0) {
        buf_printf(out, " port %u", health->port);
    }
    buf_printf(out, "%s%s\n", health->path != NULL ? " path " : "",
               health->path != NULL ? health->path : "");
    add_list(out, "healthCheck.command", &health->command);
    add_number(out, "healthCheck.interval", health->interval_ms);
    add_number(out, "healthCheck.timeout", health->timeout_ms);
    add_number(out, "healthCheck.startPeriod", health->start_period_ms);
    add_number(out, "healthCheck.failures", health->failures);
    add_number(out, "healthCheck.successes", health->successes);
}

static void dump_workload(struct buf *out, const struct workload_spec *w)
{
    buf_printf(out, "workload %s %s%s\n", w->name, w->type, w->supported ? "" : " unsupported");
    add_list(out, "command", &w->command);
    add_text(out, "workingDir", w->working_dir);
    add_text(out, "logFile", w->log_file);
    add_list(out, "env", &w->env);
    for (size_t i = 0; i < w->port_count; i++) {
        buf_printf(out, "  port %s %u %s\n", w->ports[i].name != NULL ? w->ports[i].name : "-",
                   w->ports[i].container_port, w->ports[i].protocol);
    }
    add_list(out, "dependsOn", &w->depends_on);
    dump_policies(out, w);
    add_text(out, "user", w->user);
    add_text(out, "group", w->group);
    dump_health(out, &w->health);
    add_number(out, "limits.memory", w->limits.memory_bytes);
    add_number(out, "limits.cpu", w->limits.cpu_millis);
    add_number(out, "limits.processes", w->limits.processes);
    add_number(out, "limits.openFiles", w->limits.open_files);
    add_text(out, "sandbox", w->sandbox.present ? "present" : NULL);
    add_list(out, "sandbox.read", &w->sandbox.read);
    add_list(out, "sandbox.write", &w->sandbox.write);
    for (size_t i = 0; i < w->sandbox.connect_count; i++) {
        buf_printf(out, "  sandbox.connect %u\n", w->sandbox.connect[i]);
    }
}

static void dump_app(struct buf *out, const struct app_spec *app)
{
    buf_printf(out, "application %s line %zu\n", app->name, app->line);
    add_text(out, "id", app->id);
    add_text(out, "organization", app->organization);
    add_text(out, "deviceName", app->device_name);
    add_text(out, "deviceId", app->device_id);
    add_text(out, "strategy", app->placement_strategy);
    add_list(out, "dependsOn", &app->depends_on);
    add_text(out, "rollback", app->rollback ? "true" : NULL);
    add_number(out, "healthyAfter", app->healthy_after_ms);
    for (size_t i = 0; i < app->workload_count; i++) {
        dump_workload(out, &app->workloads[i]);
    }
    for (size_t i = 0; i < app->access_count; i++) {
        const struct access_spec *a = &app->access[i];
        buf_printf(out, "access %s %s\n", a->name, a->type);
        add_text(out, "workload", a->workload);
        add_text(out, "port", a->port);
        add_text(out, "hostname", a->hostname);
        add_text(out, "tls", a->tls_managed_by);
        add_text(out, "auth", a->auth_mode);
    }
}

static void dump_diag(struct buf *out, const struct diag *diag)
{
    for (size_t i = 0; i < diag->count; i++) {
        CLEANUP(free) char *line = diag_item_text(&diag->items[i]);
        buf_printf(out, "%s\n", line);
    }
}

/* What a fixture's .expect holds. */
static void dump(struct buf *out, const struct app_docs *docs, bool with_apps)
{
    dump_diag(out, &docs->diag);
    for (size_t i = 0; i < docs->count; i++) {
        dump_diag(out, &docs->docs[i].diag);
        if (with_apps && docs->docs[i].spec != NULL) {
            dump_app(out, docs->docs[i].spec);
        }
    }
    if (docs->count == 0 && with_apps) {
        buf_add_str(out, docs->is_empty ? "empty\n" : "no documents\n");
    }
}

static char *read_file(const char *path, size_t *ret_len)
{
    char *data = NULL;
    struct err err = {0};
    if (fd_read_file(AT_FDCWD, path, 16UL * 1024 * 1024, &data, ret_len, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    return data;
}

/* Parses a copy that ends where the data ends, so that the sanitizer sees a read behind it. */
static void parse_exactly(const char *file, const char *data, size_t len, struct app_docs *docs)
{
    CLEANUP(free) char *exact = xmalloc(len);
    memcpy(exact, data, len);
    appspec_parse(file, exact, len, docs);
}

/* Each document of the folder says what its .expect says; returns how many there are. */
static size_t check_folder(const char *folder, bool is_good)
{
    CLEANUP(free) char *path = xasprintf("%s/appspec/%s", FIXTURES_DIR, folder);
    size_t checked = 0;
    size_t wrong = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        const char *dot = strrchr(entry->d_name, '.');
        if (entry->d_name[0] == '.' || dot == NULL || strcmp(dot, ".expect") == 0) {
            continue;
        }
        size_t len = 0;
        size_t expected_len = 0;
        CLEANUP(free) char *file = xasprintf("%s/%s", path, entry->d_name);
        CLEANUP(free)
        char *expect =
            xasprintf("%s/%.*s.expect", path, (int) (dot - entry->d_name), entry->d_name);
        CLEANUP(free) char *data = read_file(file, &len);
        CLEANUP(free) char *expected = read_file(expect, &expected_len);
        CLEANUP(app_docs) struct app_docs docs = {0};
        CLEANUP(buf) struct buf found = {0};
        parse_exactly(entry->d_name, data, len, &docs);
        dump(&found, &docs, is_good);
        if (strcmp(expected, buf_str(&found)) != 0 ||
            (app_docs_error_count(&docs) == 0) != is_good) {
            print_error("%s/%s\n--- expected\n%s--- found\n%s", folder, entry->d_name, expected,
                        buf_str(&found));
            wrong++;
        }
        checked++;
    }
    (void) closedir(dir);
    assert_int_equal(wrong, 0);
    return checked;
}

static void good_fixtures_are_read_as_expected(void **state)
{
    (void) state;
    assert_true(check_folder("good", true) >= 50);
}

static void bad_fixtures_say_all_that_is_wrong_and_where(void **state)
{
    (void) state;
    assert_true(check_folder("bad", false) >= 100);
}

static void parse(struct app_docs *docs, const char *text)
{
    parse_exactly("app.yaml", text, strlen(text), docs);
}

static void an_invalid_document_keeps_its_name_and_no_spec(void **state)
{
    (void) state;
    CLEANUP(app_docs) struct app_docs docs = {0};
    parse(&docs, "apiVersion: v3\nkind: Application\nmetadata: { name: web }\nspec: {}\n");
    assert_int_equal(docs.count, 1);
    assert_string_equal(docs.docs[0].name, "web");
    assert_null(docs.docs[0].spec);
    assert_int_equal(docs.docs[0].diag.error_count, 1);
    assert_int_equal(app_docs_error_count(&docs), 1);
}

static void a_syntax_error_loses_neither_what_is_before_nor_what_is_behind(void **state)
{
    (void) state;
    CLEANUP(app_docs) struct app_docs docs = {0};
    CLEANUP(free)
    char *text = xasprintf("%s---\nx: [\n---\n%s", HEAD,
                           "apiVersion: v3\nkind: Application\n"
                           "metadata: { name: b }\nspec: { workloads: [{ name: w, "
                           "type: managed-process, command: x }] }\n");
    parse(&docs, text);
    assert_int_equal(docs.count, 2);
    assert_non_null(docs.docs[0].spec);
    assert_non_null(docs.docs[1].spec);
    assert_string_equal(docs.docs[1].name, "b");
    assert_int_equal(docs.diag.error_count, 1);
}

static void the_second_of_two_documents_with_one_name_is_wrong(void **state)
{
    (void) state;
    CLEANUP(app_docs) struct app_docs docs = {0};
    parse(&docs, HEAD "---\n" HEAD);
    assert_int_equal(docs.count, 2);
    assert_non_null(docs.docs[0].spec);
    assert_null(docs.docs[1].spec);
}

static void a_document_knows_where_it_stands_in_the_text(void **state)
{
    (void) state;
    static const char text[] = "# first\n" HEAD "--- # second\n{}\n...\n# behind\n";
    CLEANUP(app_docs) struct app_docs docs = {0};
    parse(&docs, text);
    assert_int_equal(docs.count, 2);
    assert_int_equal(docs.docs[0].offset, 0);
    assert_int_equal(docs.docs[0].length, strlen("# first\n" HEAD));
    assert_int_equal(docs.docs[0].line, 2);
    assert_int_equal(docs.docs[1].offset, strlen("# first\n" HEAD));
    assert_int_equal(docs.docs[1].length, strlen("--- # second\n{}\n...\n"));
    assert_false(docs.docs[1].is_in_list);
}

static void items_of_a_list_are_documents(void **state)
{
    (void) state;
    CLEANUP(app_docs) struct app_docs docs = {0};
    parse(&docs, "[{}, {}]");
    assert_int_equal(docs.count, 2);
    assert_true(docs.docs[1].is_in_list);
    assert_int_equal(docs.docs[1].length, 8);
}

static void a_double_key_costs_one_document_of_a_list(void **state)
{
    (void) state;
    static const char item[] = "{apiVersion: v3, kind: Application, metadata: {name: %s}, spec: "
                               "{workloads: [{name: w, type: managed-process, command: x%s}]}}";
    static const char *const keys[3][3] = {
        {", user: a, user: b", "",                   ""                  },
        {"",                   ", user: a, user: b", ""                  },
        {"",                   "",                   ", user: a, user: b"},
    };
    for (size_t wrong = 0; wrong < 3; wrong++) {
        CLEANUP(app_docs) struct app_docs docs = {0};
        CLEANUP(buf) struct buf text = {0};
        CLEANUP(free) char *a = xasprintf(item, "a", keys[wrong][0]);
        CLEANUP(free) char *b = xasprintf(item, "b", keys[wrong][1]);
        CLEANUP(free) char *c = xasprintf(item, "c", keys[wrong][2]);
        buf_printf(&text, "[%s, %s, %s]", a, b, c);
        parse(&docs, buf_str(&text));
        assert_int_equal(docs.count, 3);
        assert_int_equal(app_docs_error_count(&docs), 1);
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(docs.docs[i].spec == NULL, i == wrong);
        }
    }
}

static void an_alias_in_a_list_hides_no_error(void **state)
{
    (void) state;
    CLEANUP(app_docs) struct app_docs docs = {0};
    parse(&docs, "- &a {x: 1, x: 2}\n- {}\n- *a\n");
    assert_int_equal(docs.count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_null(docs.docs[i].spec);
    }
}

/* A list of 1,000 aliases of one document would have 20,000 else. */
static void the_errors_of_a_list_stand_with_its_first_document(void **state)
{
    (void) state;
    CLEANUP(app_docs) struct app_docs docs = {0};
    parse(&docs, "- &a {x: 1, x: 2, y: 1, y: 2, z: 1, z: 2}\n- *a\n- *a\n");
    assert_int_equal(docs.count, 3);
    size_t first = docs.docs[0].diag.error_count;
    assert_int_equal(docs.docs[1].diag.error_count, first - 2);
    assert_int_equal(docs.docs[2].diag.error_count, first - 2);
}

/* They are not kept. */
static void annotations_do_not_count_as_memory_of_the_source(void **state)
{
    (void) state;
    CLEANUP(buf) struct buf text = {0};
    for (int app = 0; app < 8; app++) {
        buf_printf(&text,
                   "---\napiVersion: v3\nkind: Application\nmetadata: {name: app-%d, annotations: "
                   "{a: %0900000d}, labels: {b: c}}\n"
                   "spec: {workloads: [{name: w, type: managed-process, command: x}]}\n",
                   app, 1);
    }
    CLEANUP(app_docs) struct app_docs docs = {0};
    parse(&docs, buf_str(&text));
    assert_int_equal(docs.count, 8);
    assert_int_equal(app_docs_error_count(&docs), 0);
    assert_true(docs.memory_bytes > 0 && docs.memory_bytes < 64 * 1024UL);
}

/* 9 KB that has 21 errors of up to 1 KiB for each of its documents. */
static void the_errors_of_all_documents_are_bounded(void **state)
{
    (void) state;
    CLEANUP(buf) struct buf text = {0};
    buf_add_str(&text, "- &a {");
    for (int i = 0; i < 30; i++) {
        buf_printf(&text, "%0100d: 1, %0100d: 1, ", i, i);
    }
    buf_add_str(&text, "metadata: {name: a}}\n");
    for (int i = 0; i < 150; i++) {
        buf_add_str(&text, "- *a\n");
    }
    CLEANUP(app_docs) struct app_docs docs = {0};
    parse(&docs, buf_str(&text));
    assert_int_equal(docs.count, 151);
    assert_int_equal(docs.faulty, 151);
    size_t items = 0;
    for (size_t i = 0; i < docs.count; i++) {
        size_t count = docs.docs[i].diag.count;
        assert_true(docs.docs[i].spec == NULL && count <= (i < 20 ? DIAG_MAX + 1 : 2));
        assert_true(docs.docs[i].diag.items[0].severity == DIAG_ERROR);
        items += count;
    }
    assert_true(items <= 20 * (DIAG_MAX + 1) + 2 * 971);
    assert_int_equal(docs.docs[0].diag.count, DIAG_MAX + 1);
}

/* Of any type: each takes memory. */
static void the_workloads_of_a_source_are_bounded(void **state)
{
    (void) state;
    CLEANUP(buf) struct buf text = {0};
    for (int app = 0; app < 6; app++) {
        buf_printf(&text,
                   "---\napiVersion: v3\nkind: Application\nmetadata: {name: app-%d}\n"
                   "spec: {workloads: [",
                   app);
        for (int i = 0; i < 999; i++) {
            buf_printf(&text, "{name: w%d, type: other},", i);
        }
        buf_add_str(&text, "]}\n");
    }
    /* The source has 4 elsewhere: the sixth application does not fit. */
    CLEANUP(app_docs) struct app_docs docs = {.workload_count = 4};
    appspec_parse("many.yaml", text.data, text.len, &docs);
    assert_int_equal(docs.count, 6);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(docs.docs[i].diag.error_count, i < 5 ? 0 : 1);
    }
    const struct app_doc *last = &docs.docs[5];
    assert_non_null(docs.docs[4].spec);
    assert_null(last->spec);
    assert_string_equal(last->name, "app-5");
    assert_int_equal(docs.workload_count, 4 + 5 * 999);
    for (size_t i = 0; i < last->diag.count; i++) {
        if (last->diag.items[i].severity == DIAG_ERROR) {
            assert_string_equal(last->diag.items[i].path, "spec.workloads");
        }
    }
}

/* Those that are no documents at all included, and before they are read. */
static void the_documents_of_a_source_are_bounded(void **state)
{
    (void) state;
    static const struct {
        const char *text;
        size_t elsewhere, count;
        bool is_single, is_too_many;
    } cases[] = {
        {"[1, 1]",             998, 2, false, false},
        {"[1, 1]",             999, 0, false, true },
        {"---\n{}\n---\n{}\n", 998, 2, false, false},
        {"---\n{}\n---\n{}\n", 999, 1, false, true },
        {"---\n{}\n---\n{}\n", 0,   1, true,  true },
        {"[1, 1]",             0,   0, true,  true },
        {"[1]",                0,   1, true,  false},
        {"{}",                 999, 1, true,  false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(app_docs)
        struct app_docs docs = {.document_count = cases[i].elsewhere,
                                .is_single = cases[i].is_single};
        appspec_parse("a.yaml", cases[i].text, strlen(cases[i].text), &docs);
        assert_int_equal(docs.count, cases[i].count);
        assert_int_equal(docs.document_count, cases[i].elsewhere + cases[i].count);
        assert_int_equal(docs.is_too_many, cases[i].is_too_many);
        assert_int_equal(docs.is_short_of_room, cases[i].is_too_many);
        assert_int_equal(docs.diag.error_count, cases[i].is_too_many ? 1 : 0);
    }
}

/* As those of documents: what the streams of many keys or files have wrong is kept in short. */
static void the_errors_of_streams_are_bounded_with_those_of_documents(void **state)
{
    (void) state;
    CLEANUP(buf) struct buf text = {0};
    for (int i = 0; i < 50; i++) {
        buf_add_str(&text, "---\n{a: [\n");
    }
    size_t faulty = 0;
    for (int i = 0; i < 30; i++) {
        CLEANUP(app_docs) struct app_docs docs = {.faulty = faulty};
        appspec_parse("a.yaml", text.data, text.len, &docs);
        assert_int_equal(docs.count, 0);
        assert_int_equal(docs.faulty, faulty + 1);
        assert_true(docs.diag.count <= (i < APPSPEC_MAX_FAULTY ? DIAG_MAX + 1 : 2));
        faulty = docs.faulty;
    }
}

/* Twice: by aliases of one word, and by as many words as a command may have. */
static void the_memory_of_a_source_is_bounded(void **state)
{
    (void) state;
    for (int way = 0; way < 2; way++) {
        CLEANUP(buf) struct buf text = {0};
        for (int app = 0; app < 200; app++) {
            buf_printf(&text,
                       "---\napiVersion: v3\nkind: Application\nmetadata: {name: app-%d}\n"
                       "spec: {workloads: [{name: w, type: managed-process, command: [/x",
                       app);
            buf_printf(&text, way == 0 ? ", &a %0900d" : ", %d", 1);
            for (int i = 0; i < (way == 0 ? 900 : 3900); i++) {
                buf_add_str(&text, way == 0 ? ", *a" : ",x");
            }
            buf_add_str(&text, "]}]}\n");
        }
        CLEANUP(app_docs) struct app_docs docs = {0};
        appspec_parse("much.yaml", text.data, text.len, &docs);
        assert_int_equal(docs.count, 200);
        size_t kept = 0;
        for (size_t i = 0; i < docs.count; i++) {
            kept += docs.docs[i].spec != NULL ? docs.docs[i].spec->memory_bytes : 0;
            assert_non_null(docs.docs[i].name);
        }
        assert_true(kept <= APPSPEC_MAX_SOURCE_BYTES && kept > APPSPEC_MAX_SOURCE_BYTES / 2);
        assert_true(docs.is_short_of_room);
        assert_string_equal(docs.docs[199].diag.items[0].path, "spec");
    }
}

static void no_data_at_all_is_empty(void **state)
{
    (void) state;
    CLEANUP(app_docs) struct app_docs docs = {0};
    appspec_parse("app.yaml", NULL, 0, &docs);
    assert_true(docs.is_empty);
}

static void nothing_is_another_thing_than_an_empty_list(void **state)
{
    (void) state;
    static const struct {
        const char *text;
        bool is_empty;
    } cases[] = {
        {"",                true },
        {" \t\r\n\n",       true },
        {"\xef\xbb\xbf",    true },
        {"\xef\xbb\xbf \n", true },
        {"[]",              false},
        {"---\n",           false},
        {"---\n---\n...\n", false},
        {"# nothing yet\n", false},
        {"\n\n# x",         false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(app_docs) struct app_docs docs = {0};
        parse(&docs, cases[i].text);
        assert_int_equal(docs.count, 0);
        assert_int_equal(docs.is_empty, cases[i].is_empty);
        assert_int_equal(app_docs_error_count(&docs), 0);
    }
}

static void a_copy_is_the_same_and_its_own(void **state)
{
    (void) state;
    size_t len = 0;
    CLEANUP(free) char *data = read_file(FIXTURES_DIR "/appspec/good/everything.yaml", &len);
    CLEANUP(app_docs) struct app_docs docs = {0};
    CLEANUP(buf) struct buf original = {0};
    CLEANUP(buf) struct buf copied = {0};
    appspec_parse("everything.yaml", data, len, &docs);
    assert_non_null(docs.docs[0].spec);
    dump_app(&original, docs.docs[0].spec);
    CLEANUP(app_spec) struct app_spec *copy = app_spec_copy(docs.docs[0].spec);
    app_docs_fini(&docs);
    dump_app(&copied, copy);
    assert_string_equal(buf_str(&original), buf_str(&copied));
    assert_non_null(app_spec_find_workload(copy, "collector"));
    assert_null(app_spec_find_workload(copy, "nobody"));
    app_spec_free(NULL);
}

static const struct workload_defaults defaults = {
    .restart = {.when = RESTART_ALWAYS,
                .initial_delay_ms = 500,
                .max_delay_ms = 60000,
                .rapid_after_ms = 10000,
                .max_rapid_failures = 5,
                .stable_after_ms = 60000},
    .stop = {.signal = SIGTERM, .grace_ms = 10000},
    .logs = {.max_size_bytes = 1024,                       .max_files = 5    },
    .user = (char *) (uintptr_t) "edgible",
};

static void defaults_fill_what_is_left_out(void **state)
{
    (void) state;
    CLEANUP(app_docs) struct app_docs docs = {0};
    parse(&docs, HEAD "      healthCheck: { exec: [x], failures: 7 }\n");
    struct workload_spec *w = &docs.docs[0].spec->workloads[0];
    workload_spec_apply_defaults(w, &defaults);
    assert_int_equal(w->restart.when, RESTART_ALWAYS);
    assert_int_equal(w->restart.initial_delay_ms, 500);
    assert_int_equal(w->restart.max_delay_ms, 60000);
    assert_int_equal(w->restart.retry_failed_after_ms, 0);
    assert_int_equal(w->stop.signal, SIGTERM);
    assert_int_equal(w->stop.grace_ms, 10000);
    assert_int_equal(w->logs.max_files, 5);
    assert_string_equal(w->user, "edgible");
    assert_int_equal(w->health.interval_ms, 10000);
    assert_int_equal(w->health.failures, 7);
    assert_int_equal(w->limits.memory_bytes, UNSET);
}

static void defaults_leave_what_is_said(void **state)
{
    (void) state;
    CLEANUP(app_docs) struct app_docs docs = {0};
    parse(&docs, HEAD "      restart: { policy: never, maxRapidFailures: 0 }\n"
                      "      stop: { signal: INT, gracePeriod: 0s }\n"
                      "      logs: { maxFiles: 0 }\n      user: me\n");
    struct workload_spec *w = &docs.docs[0].spec->workloads[0];
    workload_spec_apply_defaults(w, &defaults);
    assert_int_equal(w->restart.when, RESTART_NEVER);
    assert_int_equal(w->restart.max_rapid_failures, 0);
    assert_int_equal(w->stop.signal, SIGINT);
    assert_int_equal(w->stop.grace_ms, 0);
    assert_int_equal(w->logs.max_files, 0);
    assert_string_equal(w->user, "me");
    assert_int_equal(w->health.interval_ms, UNSET);
}

static void a_delay_that_is_said_moves_the_default_of_the_other(void **state)
{
    (void) state;
    static const struct {
        const char *restart;
        mono_ms initial, max;
    } cases[] = {
        {"initialDelay: 2m",                 120000, 120000},
        {"maxDelay: 100ms",                  100,    100   },
        {"maxDelay: 1s, initialDelay: 10ms", 10,     1000  },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(app_docs) struct app_docs docs = {0};
        CLEANUP(free) char *text = xasprintf(HEAD "      restart: { %s }\n", cases[i].restart);
        parse(&docs, text);
        struct workload_spec *w = &docs.docs[0].spec->workloads[0];
        workload_spec_apply_defaults(w, &defaults);
        assert_int_equal(w->restart.initial_delay_ms, cases[i].initial);
        assert_int_equal(w->restart.max_delay_ms, cases[i].max);
    }
}

static void signals_are_known_by_name_and_number(void **state)
{
    (void) state;
    static const struct {
        const char *name;
        int number;
    } cases[] = {
        {"SIGTERM",    SIGTERM},
        {"TERM",       SIGTERM},
        {"15",         15     },
        {"SIGIO",      SIGIO  },
        {"POLL",       SIGIO  },
        {"64",         64     },
        {"65",         -1     },
        {"0",          -1     },
        {"-1",         -1     },
        {"",           -1     },
        {"SIG",        -1     },
        {"SIGSIGTERM", -1     },
        {"term",       -1     },
        {"RTMIN-1",    -1     },
        {"RTMIN+99",   -1     },
        {"SIGRTMINX",  -1     },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(signal_from_name(cases[i].name), cases[i].number);
    }
    assert_int_equal(signal_from_name("SIGRTMIN"), SIGRTMIN);
    assert_int_equal(signal_from_name("RTMIN+3"), SIGRTMIN + 3);
    assert_int_equal(signal_from_name("SIGRTMAX-2"), SIGRTMAX - 2);
    assert_int_equal(signal_from_name("SIGRTMAX"), SIGRTMAX);
}

static void a_signal_is_found_again_by_its_name(void **state)
{
    (void) state;
    char name[32];
    for (int number = 1; number <= SIGRTMAX; number++) {
        signal_name(number, name, sizeof(name));
        if (strncmp(name, "SIG", 3) == 0) {
            assert_int_equal(signal_from_name(name), number);
        } else {
            /* Two numbers that the C library keeps for itself. */
            assert_true(number > 31 && number < SIGRTMIN);
        }
    }
    assert_string_equal(signal_name(SIGKILL, name, sizeof(name)), "SIGKILL");
    assert_string_equal(signal_name(99, name, sizeof(name)), "signal 99");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_fixtures_are_read_as_expected),
        cmocka_unit_test(bad_fixtures_say_all_that_is_wrong_and_where),
        cmocka_unit_test(an_invalid_document_keeps_its_name_and_no_spec),
        cmocka_unit_test(a_syntax_error_loses_neither_what_is_before_nor_what_is_behind),
        cmocka_unit_test(the_second_of_two_documents_with_one_name_is_wrong),
        cmocka_unit_test(a_document_knows_where_it_stands_in_the_text),
        cmocka_unit_test(items_of_a_list_are_documents),
        cmocka_unit_test(a_double_key_costs_one_document_of_a_list),
        cmocka_unit_test(an_alias_in_a_list_hides_no_error),
        cmocka_unit_test(the_errors_of_a_list_stand_with_its_first_document),
        cmocka_unit_test(the_workloads_of_a_source_are_bounded),
        cmocka_unit_test(the_documents_of_a_source_are_bounded),
        cmocka_unit_test(the_errors_of_streams_are_bounded_with_those_of_documents),
        cmocka_unit_test(the_memory_of_a_source_is_bounded),
        cmocka_unit_test(annotations_do_not_count_as_memory_of_the_source),
        cmocka_unit_test(the_errors_of_all_documents_are_bounded),
        cmocka_unit_test(no_data_at_all_is_empty),
        cmocka_unit_test(nothing_is_another_thing_than_an_empty_list),
        cmocka_unit_test(a_copy_is_the_same_and_its_own),
        cmocka_unit_test(defaults_fill_what_is_left_out),
        cmocka_unit_test(defaults_leave_what_is_said),
        cmocka_unit_test(a_delay_that_is_said_moves_the_default_of_the_other),
        cmocka_unit_test(signals_are_known_by_name_and_number),
        cmocka_unit_test(a_signal_is_found_again_by_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
