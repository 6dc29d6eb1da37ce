/* edgible-agent --config FILE --check: the configuration and the source, without running. */
#include "agent.h"
#include "check_exists.h"
#include "check_policy.h"
#include "config_file.h"
#include "documents.h"
#include "edgible/admission.h"
#include "edgible/creds.h"
#include "edgible/fd.h"
#include "edgible/map.h"
#include "edgible/source_directory.h"
#include "edgible/source_trust.h"
#include "plane.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As a source reads. */
#define SET_MAX_BYTES ((size_t) 8 * 1024 * 1024)

static void print_command(const struct workload_spec *w)
{
    (void) printf("  %s: ", w->name);
    if (!w->supported) {
        (void) printf("type '%s' is not run by this agent\n", w->type);
        return;
    }
    for (size_t i = 0; i < w->command.count; i++) {
        const char *word = w->command.items[i];
        bool plain = *word != '\0' && strpbrk(word, " \t\n\"'\\") == NULL;
        (void) printf(plain ? "%s%s" : "%s'%s'", i > 0 ? " " : "", word);
    }
    (void) printf(" (as %s)\n", w->user != NULL ? w->user : "the agent's user");
}

static void free_names(struct map *names)
{
    size_t at = 0;
    void *app = NULL;
    while (map_next(names, &at, NULL, &app)) {
        app_spec_free(app != names ? app : NULL);
    }
    map_free(names);
}
DEFINE_CLEANUP(names, struct map, free_names)

struct checking {
    const struct config *config;
    struct map *names;          /* of applications seen, to them, complete, or to itself */
    struct admission_load load; /* of them */
};

static int check_app(struct checking *checking, const struct app_spec *app)
{
    const struct config *config = checking->config;
    if (map_has(checking->names, app->name)) {
        (void) fprintf(stderr, "%s:%zu: application '%s' is in the source twice\n", app->file,
                       app->line, app->name);
        return 1;
    }
    map_put(checking->names, app->name, checking->names);
    CLEANUP(free) char *elsewhere = admission_not_for_device(config, app);
    if (elsewhere != NULL) {
        (void) printf("application %s: ignored: %s\n", app->name, elsewhere);
        return 0;
    }
    CLEANUP(app_spec) struct app_spec *complete = admission_complete(config, app);
    CLEANUP(creds) struct creds *self = creds_lookup(NULL, NULL, NULL);
    CLEANUP(free)
    char *refusal = admission_policy_refusal(&config->policy, complete,
                                             self != NULL ? self->user : "", &checking->load, true);
    if (refusal != NULL) {
        (void) fprintf(stderr, "application %s: refused: %s\n", app->name, refusal);
        return 1;
    }
    refusal = admission_log_refusal(config->log_dir, complete, checking->names);
    if (refusal != NULL) {
        (void) fprintf(stderr, "application %s: refused: %s\n", app->name, refusal);
        return 1;
    }
    map_put(checking->names, app->name, app_spec_share(complete));
    admission_add_load(&checking->load, complete, NULL);
    (void) printf("application %s (%s)\n", app->name, app->file);
    for (size_t i = 0; i < complete->workload_count; i++) {
        print_command(&complete->workloads[i]);
    }
    CLEANUP(diag) struct diag missing = {0};
    check_exists_app(complete, &missing);
    documents_print_items(&missing);
    return 0;
}

static int check_documents(struct checking *checking, const struct app_docs *docs)
{
    documents_print_diag(docs);
    int failures = app_docs_error_count(docs) > 0 ? 1 : 0;
    for (size_t i = 0; i < docs->count; i++) {
        if (docs->docs[i].spec != NULL) {
            failures += check_app(checking, docs->docs[i].spec);
        }
    }
    return failures;
}

/* With trusted keys the agent takes a signed set alone. */
static int check_set(struct checking *checking, const char *origin, const char *text, size_t len)
{
    struct source_trust *trust = NULL;
    struct err err = {0};
    char sentence[ERR_MSG_MAX];
    size_t signed_len = 0;
    int rc = trust_open(checking->config, NULL, &trust, &err);
    if (rc == 0) {
        rc = trust_accept(trust, text, len, &signed_len, &err);
    }
    trust_free(trust);
    if (rc < 0) {
        (void) fprintf(stderr, "edgible-agent: the set in %s would be refused: %s\n", origin,
                       err_text(&err, sentence, sizeof(sentence)));
        return 1;
    }
    CLEANUP(app_docs) struct app_docs docs = {0};
    appspec_parse(origin, text, signed_len, &docs);
    return check_documents(checking, &docs);
}

static int check_set_file(struct checking *checking)
{
    CLEANUP(free) char *path = xasprintf("%s/" TRUST_SET_NAME, checking->config->directory);
    CLEANUP(free) char *text = NULL;
    size_t len = 0;
    struct err err = {0};
    char sentence[ERR_MSG_MAX];
    if (fd_read_file(AT_FDCWD, path, SET_MAX_BYTES, &text, &len, &err) < 0) {
        (void) fprintf(stderr,
                       "edgible-agent: with controlPlane.trustedKeys a signed set is "
                       "wanted: %s\n",
                       err_text(&err, sentence, sizeof(sentence)));
        return 1;
    }
    return check_set(checking, path, text, len);
}

static int check_file(struct checking *checking, const char *path)
{
    CLEANUP(strv) struct strv names = {0};
    CLEANUP(app_docs) struct app_docs docs = {0};
    struct err err = {0};
    char text[ERR_MSG_MAX];
    strv_add(&names, path);
    if (documents_read(&names, DOCUMENTS_MAX_BYTES, NULL, &docs, &err) < 0) {
        (void) fprintf(stderr, "edgible-agent: %s\n", err_text(&err, text, sizeof(text)));
        return 1;
    }
    return check_documents(checking, &docs);
}

static int is_taken(const struct dirent *entry)
{
    return source_directory_takes(entry->d_name) ? 1 : 0;
}

static int check_directory(const struct config *config)
{
    struct dirent **entries = NULL;
    int count = scandir(config->directory, &entries, is_taken, alphasort);
    if (count < 0) {
        (void) fprintf(stderr, "edgible-agent: controlPlane.directory '%s': %s\n",
                       config->directory, strerror(errno));
        return 1;
    }
    CLEANUP(names) struct map *names = map_new();
    struct checking checking = {.config = config, .names = names};
    bool is_signed = config->trusted_keys.count > 0;
    int failures = is_signed ? check_set_file(&checking) : 0;
    for (int i = 0; i < count; i++) {
        CLEANUP(free) char *path = xasprintf("%s/%s", config->directory, entries[i]->d_name);
        failures += is_signed ? 0 : check_file(&checking, path);
        free(entries[i]);
    }
    free(entries);
    return failures;
}

/* What the control plane holds for this device just now. One that does not answer is no fault of
 * the configuration: the agent would start all the same. */
static int check_plane(const struct config *config)
{
    struct command_options options = {.config = config->file};
    int code = EXIT_OK;
    CLEANUP(plane) struct plane *plane = plane_open(&options, &code);
    CLEANUP(buf) struct buf text = {0};
    CLEANUP(names) struct map *names = map_new();
    struct checking checking = {.config = config, .names = names};
    code = code == EXIT_OK ? plane_get_documents(plane, &text) : code;
    if (code == EXIT_NO_ANSWER) {
        (void) printf("what would run is not known: the control plane did not answer\n");
        return 0;
    }
    if (code != EXIT_OK) {
        return 1;
    }
    if (config->trusted_keys.count > 0) {
        return check_set(&checking, "the control plane", buf_str(&text), text.len);
    }
    CLEANUP(app_docs) struct app_docs docs = {0};
    appspec_parse("the control plane", buf_str(&text), text.len, &docs);
    return check_documents(&checking, &docs);
}

/* NULL after it has been said what is wrong with it. */
static struct config *load_config(const char *path)
{
    CLEANUP(diag) struct diag diag = {0};
    struct err err = {0};
    char text[ERR_MSG_MAX];
    struct config *config = config_file_load(path, &diag, &err);
    documents_print_items(&diag);
    if (config == NULL) {
        (void) fprintf(stderr, "edgible-agent: %s\n", err_text(&err, text, sizeof(text)));
    }
    return config;
}

int agent_check_config(const char *config_path)
{
    CLEANUP(config) struct config *config = load_config(config_path);
    return config != NULL ? EXIT_SUCCESS : EXIT_FAILURE;
}

int agent_check(const char *config_path)
{
    CLEANUP(config) struct config *config = load_config(config_path);
    if (config == NULL) {
        return EXIT_FAILURE;
    }
    check_print_policy(&config->policy);
    CLEANUP(diag) struct diag missing = {0};
    check_exists_config(config, &missing);
    documents_print_items(&missing);
    int failures =
        config->source == SOURCE_DIRECTORY ? check_directory(config) : check_plane(config);
    (void) printf(failures > 0 ? "not OK: %s\n" : "OK: %s\n", config->file);
    return failures > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
