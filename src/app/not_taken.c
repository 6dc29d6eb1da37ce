#include "not_taken.h"

#include "client.h"
#include "edgible/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *not_taken_errors(const struct json *app)
{
    const struct json *errors = json_get(app, "errors");
    const char *first = json_item_string(json_first(errors));
    size_t count = json_count(errors);
    if (first == NULL) {
        return NULL;
    }
    return count > 1 ? xasprintf("%s; and %zu more", first, count - 1) : xstrdup(first);
}

static bool is_wanted(const struct json *problem, enum not_taken which, const struct strv *names)
{
    const char *application = json_string(problem, "application");
    const char *status = json_string(problem, "status");
    bool is_ignored = status != NULL && strcmp(status, "ignored") == 0;
    if (names != NULL && (application == NULL || !strv_has(names, application))) {
        return false;
    }
    return which == NOT_TAKEN_ALL || is_ignored ||
           (which == NOT_TAKEN_UNLISTED && application == NULL);
}

static void print_problem(const struct json *problem)
{
    const char *status = json_string(problem, "status");
    const char *application = json_string(problem, "application");
    const char *message = json_string(problem, "message");
    CLEANUP(free)
    char *line = xasprintf("%s: %s%s%s", status != NULL ? status : "",
                           application != NULL ? application : "", application != NULL ? ": " : "",
                           message != NULL ? message : "");
    CLEANUP(free) char *clean = client_clean(line);
    (void) printf("%s\n", clean);
}

void not_taken_print(const struct json *agent, enum not_taken which, const struct strv *names)
{
    const struct json *documents = json_get(agent, "documents");
    double rejected = json_number(documents, "rejected", 0);
    double ignored = json_number(documents, "ignored", 0);
    double shown = 0;
    for (const struct json *problem = json_first(json_get(documents, "problems")); problem != NULL;
         problem = json_next(problem)) {
        shown++;
        if (is_wanted(problem, which, names)) {
            print_problem(problem);
        }
    }
    if (names == NULL && shown > 0 && shown < rejected + ignored) {
        (void) printf("in all %.0f document%s rejected and %.0f ignored\n", rejected,
                      rejected == 1 ? " is" : "s are", ignored);
    }
}

int not_taken_show(const struct command_options *options, enum not_taken which,
                   const struct strv *names)
{
    CLEANUP(json) struct json *agent = NULL;
    if (options->json || options->plane != NULL) {
        return EXIT_OK;
    }
    int code = client_get(options, "/v1/agent", &agent);
    if (code == EXIT_OK) {
        not_taken_print(agent, which, names);
    }
    return code;
}
