/* The small agent (EDGIBLE_SOURCES=directory): commands speak to agents alone. */
#include "../plane.h"

#include "../client.h"
#include "../config_file.h"

#include <stdlib.h>

static int refuse(void)
{
    return client_fail(EXIT_NOT_OK, "this edgible-agent is built without control planes that are "
                                    "reached by network (EDGIBLE_SOURCES=directory)");
}

static bool is_remote(const struct command_options *options)
{
    if (options->config == NULL || options->socket != NULL) {
        return options->control_plane != NULL;
    }
    CLEANUP(diag) struct diag diag = {0};
    CLEANUP(config) struct config *config = config_file_load(options->config, &diag, NULL);
    return config != NULL && config->source != SOURCE_DIRECTORY;
}

struct plane *plane_open(const struct command_options *options, int *ret_code)
{
    *ret_code = is_remote(options) ? refuse() : EXIT_OK;
    return NULL;
}

void plane_free(struct plane *plane)
{
    (void) plane;
}

/* Without a plane none of these is called. */

void plane_learn(struct plane *plane, const struct app_docs *docs)
{
    (void) plane;
    (void) docs;
    abort();
}

int plane_get_documents(struct plane *plane, struct buf *text)
{
    (void) plane;
    (void) text;
    return refuse();
}

int plane_call(struct plane *plane, const char *method, const char *path, const struct buf *body,
               struct json **ret)
{
    (void) plane;
    (void) method;
    (void) path;
    (void) body;
    (void) ret;
    return refuse();
}

int plane_find(struct plane *plane, const char *path, long *ret_status, struct json **ret)
{
    (void) plane;
    (void) path;
    (void) ret_status;
    (void) ret;
    return refuse();
}
