#include "edgible/source.h"

#include "edgible/log.h"
#include "edgible/source_trust.h"
#include "source_private.h"

static struct source *open_kind(const struct source_params *params, struct err *err)
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

struct source *source_open(const struct source_params *params, struct err *err)
{
    struct source_trust *trust = NULL;
    if (trust_open(params->config, params->persist, &trust, err) < 0) {
        return NULL;
    }
    struct source *source = open_kind(params, err);
    if (source == NULL) {
        trust_free(trust);
        return NULL;
    }
    source->trust = trust; /* nothing is read before the loop's next turn */
    return source;
}

void source_say_untrusted(const struct source *source, const char *origin, const char *sentence)
{
    struct event event = {
        .type = EVENT_POLICY_REFUSED,
        .level = LOG_ERROR,
        .fields = (struct log_field[]){{"source", origin}, {"reason", sentence}, {0}},
    };
    events_emit(source->params.events, &event,
                "the set in '%s' is refused: %s; everything goes on as it is", origin, sentence);
}

bool source_waits_for_set(struct source *source, const char *place)
{
    if (source->trust == NULL || trust_has_accepted(source->trust)) {
        return false;
    }
    if (!source->wait_said) {
        source->wait_said = true;
        log_warn("source", "no signed set was accepted yet from '%s'; everything goes on as it is",
                 place);
    }
    return true;
}

bool source_is_signed(const struct source *source)
{
    return source->trust != NULL;
}

void source_free(struct source *source)
{
    if (source != NULL) {
        struct source_trust *trust = source->trust;
        source->ops->free(source);
        trust_free(trust);
    }
}

void source_stop(struct source *source)
{
    source->ops->stop(source);
}

bool source_end(struct source *source, loop_fn done, void *arg)
{
    return source->ops->end != NULL && source->ops->end(source, done, arg);
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
