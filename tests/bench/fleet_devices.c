/*
 * Many devices in one process: the real sources, reconcile, events, records and reports, on one
 * loop, with a supervisor that runs nothing (tests/fake).
 *
 *     fleet_devices CONFIG FOLDER FIRST COUNT
 *
 * CONFIG is an agent's configuration; device FIRST is called dev-FIRST. Says on stdout, a line
 * each, "applied DEVICE UNIX_MS" for each view, and ends with SIGTERM.
 */
#include "edgible/clock.h"
#include "edgible/fd.h"
#include "edgible/log.h"
#include "edgible/reconcile.h"
#include "edgible/source.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BOOT_ID "fleet"
#define MAX_CONFIG_BYTES 65536

struct device {
    struct config *config;
    struct persist *persist;
    struct events *events;
    struct reconcile *reconcile;
    struct source *source;
};

static void on_view(void *arg, const struct source_view *view)
{
    struct device *device = arg;
    reconcile_view(device->reconcile, view);
    (void) printf("applied %s %" PRId64 "\n", device->config->device_name, clock_unix_ms());
    (void) fflush(stdout);
}

static void on_term(void *arg)
{
    loop_stop(arg);
}

/* As after a boot: there is something to run from before. */
static void restore(struct device *device)
{
    static const char text[] =
        "apiVersion: v3\nkind: Application\nmetadata: { name: web }\nspec:\n  workloads:\n"
        "    - { name: main, type: managed-process, command: [/bin/sleep, '1'] }\n";
    CLEANUP(app_docs) struct app_docs docs = {0};
    appspec_parse("before", text, strlen(text), &docs);
    struct app_record record = {.app = docs.docs[0].spec, .generation = 1};
    reconcile_restore(device->reconcile, &record);
}

static int open_device(struct device *device, struct loop *loop, const char *text, size_t len,
                       const char *folder, int number, struct err *err)
{
    CLEANUP(diag) struct diag diag = {0};
    CLEANUP(free) char *name = xasprintf("dev-%d", number);
    CLEANUP(free) char *home = xasprintf("%s/%s", folder, name);
    struct config_env env = {.host_name = name, .state_home = home, .runtime_home = home};
    device->config = config_parse("/fleet.yaml", text, len, &env, &diag);
    if (device->config == NULL) {
        return err_set(err, ERR_SPEC, "%s", diag.items[0].message);
    }
    struct persist_params persist = {.loop = loop,
                                     .state_dir = device->config->state_dir,
                                     .runtime_dir = device->config->runtime_dir,
                                     .boot_id = BOOT_ID};
    if (fd_make_dirs(device->config->state_dir, 0700, err) < 0 ||
        fd_make_dirs(device->config->runtime_dir, 0700, err) < 0) {
        return -1;
    }
    device->persist = persist_new(&persist, err);
    device->events = device->persist != NULL ? events_new(loop, device->config->runtime_dir,
                                                          BOOT_ID, device->persist, err)
                                             : NULL;
    if (device->events == NULL) {
        return -1;
    }
    device->reconcile = reconcile_new(NULL, device->events, device->persist, device->config, loop);
    restore(device);
    struct source_params params = {.loop = loop,
                                   .events = device->events,
                                   .persist = device->persist,
                                   .config = device->config,
                                   .reconcile = device->reconcile,
                                   .boot_id = BOOT_ID,
                                   .on_view = on_view,
                                   .arg = device};
    device->source = source_open(&params, err);
    return device->source != NULL ? 0 : -1;
}

static void close_device(struct device *device)
{
    source_free(device->source);
    reconcile_free(device->reconcile);
    events_free(device->events);
    persist_free(device->persist);
    config_free(device->config);
}

int main(int argc, char **argv)
{
    struct err err = {0};
    char message[ERR_MSG_MAX];
    if (argc != 5) {
        return EXIT_FAILURE;
    }
    int first = (int) strtol(argv[3], NULL, 10);
    int count = (int) strtol(argv[4], NULL, 10);
    CLEANUP(free) char *text = NULL;
    size_t len = 0;
    struct loop *loop = loop_new(&err);
    struct device *devices = xcalloc((size_t) count, sizeof(*devices));
    (void) signal(SIGPIPE, SIG_IGN);
    log_set(LOG_ERROR, LOG_TEXT);
    struct loop_signal *term = loop_signal_new(loop, SIGTERM, on_term, loop);
    int rc = fd_read_file(AT_FDCWD, argv[1], MAX_CONFIG_BYTES, &text, &len, &err);
    for (int i = 0; i < count && rc == 0; i++) {
        rc = open_device(&devices[i], loop, text, len, argv[2], first + i, &err);
    }
    if (rc < 0) {
        (void) fprintf(stderr, "fleet_devices: %s\n", err_text(&err, message, sizeof(message)));
        return EXIT_FAILURE;
    }
    loop_run(loop);
    for (int i = 0; i < count; i++) {
        close_device(&devices[i]);
    }
    loop_signal_free(term);
    loop_free(loop);
    free(devices);
    return EXIT_SUCCESS;
}
