/* Any bytes as a configuration: nothing breaks, and what is accepted is complete. */
#include "edgible/config.h"
#include "fuzz.h"

#include <assert.h>
#include <stdlib.h>

static void check(const struct config *config)
{
    assert(config->state_dir[0] == '/' && config->runtime_dir[0] == '/');
    assert(config->log_dir[0] == '/' && config->api_socket[0] == '/');
    assert(config->device_name != NULL);
    assert(config->defaults.restart.when != RESTART_UNSET);
    assert(config->defaults.restart.initial_delay_ms <= config->defaults.restart.max_delay_ms);
    assert(config->defaults.stop.signal > 0);
    switch (config->source) {
    case SOURCE_DIRECTORY:
        assert(config->directory[0] == '/');
        break;
    case SOURCE_HTTPS:
        assert(config->https.url != NULL && config->https.poll_interval_ms >= 1000);
        break;
    case SOURCE_ETCD:
        assert(config->etcd.endpoints.count > 0 && config->etcd.prefix[0] == '/');
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct config_env env = {
        .host_name = (char *) (uintptr_t) "host",
        .is_root = true,
    };
    CLEANUP(diag) struct diag diag = {0};
    CLEANUP(config)
    struct config *config =
        config_parse("/etc/edgible/agent.yaml", (const char *) data, size, &env, &diag);
    assert((config == NULL) == (diag.error_count > 0));
    if (config != NULL) {
        check(config);
    }
    return 0;
}
