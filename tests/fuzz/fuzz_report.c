/* Any bytes as a device's report, which the commands show: what comes of them is JSON. */
#include "../../src/app/plane_private.h"
#include "edgible/mem.h"
#include "fuzz.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const char document[] =
    "apiVersion: v3\nkind: Application\nmetadata: { name: web }\nspec:\n  workloads:\n"
    "    - { name: main, type: managed-process, command: [sleep, '1'] }\n";

static void check(struct json *take_json)
{
    CLEANUP(json) struct json *json = take_json;
    CLEANUP(free) char *text = json != NULL ? json_text(json) : NULL;
    CLEANUP(json) struct json *again = text != NULL ? json_parse(text, strlen(text), NULL) : NULL;
    assert(text == NULL || again != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config config = {.source = SOURCE_HTTPS};
    struct plane plane = {.config = &config};
    char etag[] = "\"1\"";
    char name[] = "device";
    struct plane_device device = {.name = name, .etag = etag};
    device.report = json_parse((const char *) data, size, NULL);
    plane_device_add(&device, "fuzz", document, strlen(document), 0);
    strv_add(&plane.changed, "web");
    check(plane_apps_json(&plane, &device));
    check(plane_rows_json(&plane, &device));
    check(plane_health_json(&plane, &device));
    check(plane_app_json(&plane, &device, "web"));
    for (size_t i = 0; i < device.count; i++) {
        app_spec_free(device.docs[i].spec);
        free(device.docs[i].name);
    }
    free(device.docs);
    buf_fini(&device.text);
    json_free(device.report);
    strv_fini(&plane.changed);
    return 0;
}
