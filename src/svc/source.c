#include "edgible/source.h"

#include "source_private.h"

struct source *source_open(const struct source_params *params, struct err *err)
{
    switch (params->config->source) {
    case SOURCE_DIRECTORY:
        return source_directory_open(params);
    case SOURCE_HTTPS:
        return source_https_open(params, err);
    case SOURCE_ETCD:
        return source_etcd_open(params, err);
    }
    return NULL;
}

void source_free(struct source *source)
{
    if (source != NULL) {
        source->ops->free(source);
    }
}

void source_stop(struct source *source)
{
    source->ops->stop(source);
}

bool source_set_config(struct source *source, const struct config *config)
{
    bool is_same = config_is_same_source(source->params.config, config);
    source->params.config = config;
    if (is_same) {
        source->ops->reload(source);
    }
    return is_same;
}

void source_describe(const struct source *source, struct source_state *ret)
{
    *ret = (struct source_state){.last_contact = -1, .next_contact = -1};
    source->ops->describe(source, ret);
}

void source_add_details(const struct source *source, struct json *json)
{
    if (source->ops->add_details != NULL) {
        source->ops->add_details(source, json);
    }
}

void source_each_problem(const struct source *source, source_problem_fn *fn, void *arg)
{
    source->ops->each_problem(source, fn, arg);
}
