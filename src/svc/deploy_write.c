/* The files of a deploy, written beside the loop. */
#include "deploy_private.h"
#include "source_deploy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct change {
    char *application;
    char *file; /* that has its document; NULL: none */
    char *text; /* NULL: it is to go */
    size_t len;
};

struct deploy_write {
    char *directory;
    struct change *changes;
    size_t count;
    bool is_done;
    struct err err;
};

struct deploy_write *deploy_write_new(size_t max_changes)
{
    struct deploy_write *write = xcalloc(1, sizeof(*write));
    write->changes = xcalloc(max_changes, sizeof(*write->changes));
    return write;
}

void deploy_write_free(void *arg)
{
    struct deploy_write *write = arg;
    for (size_t i = 0; write != NULL && i < write->count; i++) {
        free(write->changes[i].application);
        free(write->changes[i].file);
        free(write->changes[i].text);
    }
    if (write != NULL) {
        free(write->directory);
        free(write->changes);
        free(write);
    }
}

void deploy_write_add(struct deploy_write *write, const char *application, char *take_text,
                      size_t len)
{
    write->changes[write->count++] =
        (struct change){.application = xstrdup(application), .text = take_text, .len = len};
}

void deploy_write_find_files(struct deploy_write *write, const struct overview *view)
{
    const struct source_directory *source = source_as_directory(view->source);
    write->directory = xstrdup(view->config->directory);
    for (size_t i = 0; i < write->count; i++) {
        struct change *change = &write->changes[i];
        change->file = xstrdup_or_null(source_directory_file_of(source, change->application));
    }
}

static int set_all(struct source_deploy *deploy, struct deploy_write *write)
{
    for (size_t i = 0; i < write->count; i++) {
        const struct change *change = &write->changes[i];
        if (source_deploy_set(deploy, change->application, change->file, change->text, change->len,
                              &write->err) < 0) {
            return -1;
        }
    }
    return 0;
}

void deploy_write_run(void *arg)
{
    struct deploy_write *write = arg;
    CLEANUP(source_deploy) struct source_deploy *deploy = source_deploy_new(write->directory);
    write->is_done = set_all(deploy, write) == 0 && source_deploy_commit(deploy, &write->err) == 0;
}

bool deploy_write_is_done(const struct deploy_write *write, struct deploy_refusal *refusal)
{
    char text[ERR_MSG_MAX];
    unsigned status = 500;
    struct err said = write->err;
    if (write->is_done) {
        return true;
    }
    if (said.code == EEXIST || said.code == EBUSY || said.code == ERR_SPEC) {
        status = 409;
    } else if (said.code == EACCES || said.code == EPERM || said.code == EROFS) {
        status = 403;
    }
    /* "File exists" behind a sentence that says it all would only confuse. */
    said.code = status == 409 ? ERR_HOST : said.code;
    deploy_refuse(refusal, status, "%s", err_text(&said, text, sizeof(text)));
    return false;
}

int deploy_remove(const struct overview *view, const char *application, struct deploy_write **ret,
                  struct deploy_refusal *refusal)
{
    struct reconcile_app now = {0};
    *ret = NULL;
    if (!deploy_check_source(view, refusal)) {
        return -1;
    }
    if (reconcile_find_app(view->reconcile, application, &now) && now.is_blocked) {
        deploy_refuse(refusal, 409, "application '%s' cannot be changed: %s", application,
                      now.refused);
        return -1;
    }
    bool has_file =
        source_directory_file_of(source_as_directory(view->source), application) != NULL;
    if (!has_file && !now.is_leaving) {
        deploy_refuse(
            refusal, 409,
            "no valid document of application '%s' is in '%s'; remove or correct the file "
            "by hand",
            application, view->config->directory);
        return -1;
    }
    if (has_file) {
        *ret = deploy_write_new(1);
        deploy_write_add(*ret, application, NULL, 0);
        deploy_write_find_files(*ret, view);
    }
    return 0;
}
